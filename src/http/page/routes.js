// Addresses of the places, all below the base path that the server wrote into the page.

const base = () => new URL(document.baseURI);

/** The full address of a path below the base path. */
export const address = (path) => new URL(path, base()).href;

/** The place that an address names. */
export function routeOf(url, root = base().pathname) {
  const [first, id, more] = url.pathname.slice(root.length).split('/').map(decoded);
  if ((first === 'room' || first === 'game') && !more && /^[0-9A-Fa-f]{6}$/.test(id ?? '')) return { place: 'room', id: id.toUpperCase() };
  if ((first === 'replay' && id) || (first === 'game' && id && more === 'replay')) return { place: 'replay', id };
  if (first === 'player' && id) return { place: 'player', name: id };
  if (first === 'history' || first === 'leaderboard') return { place: first };
  return { place: 'door' };
}

/** A part of a path in plain text; one that no page writes stays as it is. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

let arrive = () => {};

/** `fn({watch, sit})` is called whenever the address has changed. */
export function whenArriving(fn) {
  arrive = fn;
  globalThis.addEventListener('popstate', () => fn({}));
}

/**
 * Goes to a path. `how.watch` means: look at the table without taking a seat; `how.sit`: take one; `how.stay`: the
 * address stands for the place where we already are, so Back does not lead to it twice.
 */
export function go(path, how = {}) {
  if (how.stay) history.replaceState(history.state, '', address(path));
  else history.pushState({ from: location.pathname }, '', address(path));
  arrive(how);
}

/** Goes back to the door: by the way we came, or in place of the present address. */
export function goToDoor() {
  if (history.state?.from === base().pathname) history.back();
  else go('', { stay: true });
}

/** Changes what the address says about the place where we are. */
export const note = (query) => history.replaceState(history.state, '', `${location.pathname}?${query}`);
