// Addresses of the places, all below the base path that the server wrote into the page.

const base = () => new URL(document.baseURI);

/** The full address of a path below the base path. */
export const address = (path) => new URL(path, base()).href;

/** The place that an address names. */
export function routeOf(url, root = base().pathname) {
  const path = decodeURIComponent(url.pathname.slice(root.length));
  const [first, id, more] = path.split('/');
  if ((first === 'room' || first === 'game') && !more && /^[0-9A-Fa-f]{6}$/.test(id ?? '')) return { place: 'room', id: id.toUpperCase() };
  if ((first === 'replay' && id) || (first === 'game' && id && more === 'replay')) return { place: 'replay', id };
  if (first === 'player' && id) return { place: 'player', name: id };
  if (first === 'history' || first === 'leaderboard') return { place: first };
  return { place: 'door' };
}

let arrive = () => {};

/** `fn({watch})` is called whenever the address has changed. */
export function whenArriving(fn) {
  arrive = fn;
  globalThis.addEventListener('popstate', () => fn({}));
}

/** Goes to a path. `how.watch` means: look at the table without taking a seat. */
export function go(path, how = {}) {
  history.pushState(null, '', address(path));
  arrive(how);
}

/** Changes what the address says about the place where we are. */
export const note = (query) => history.replaceState(null, '', `${location.pathname}?${query}`);
