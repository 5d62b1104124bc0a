// From a description of the page to the page: `h` describes an element, `render` changes the document until it fits
// the description. Elements that stay keep their focus, scroll position and running animations; that is the reason
// for comparing at all. Elements with a `flip` name glide when they turn up in another place.

const SVG = 'http://www.w3.org/2000/svg';

/** Describes an element. Children may be texts, numbers, elements, arrays of them; null and false are left out. */
export function h(tag, props, ...children) {
  const list = [];
  flatten(children, list);
  return { tag, props: props ?? {}, children: list, key: props?.key };
}

function flatten(children, into) {
  for (const child of children) {
    if (Array.isArray(child)) flatten(child, into);
    else if (child !== null && child !== undefined && child !== false && child !== true) {
      into.push(typeof child === 'object' ? child : String(child));
    }
  }
}

/** Makes the children of `root` what `view` describes. */
export function render(root, view) {
  const before = places(root);
  const focused = document.activeElement;
  patchChildren(root, [view].flat(), false);
  if (focused !== document.activeElement && root.contains(focused)) focused.focus(); // an element that moves loses it
  // An element that goes, such as a tile that was played, leaves it to the place where the player is.
  if (focused !== document.body && !focused?.isConnected && document.activeElement === document.body) root.querySelector('[data-home]')?.focus({ preventScroll: true });
  glide(root, before);
}

const calm = globalThis.matchMedia?.('(prefers-reduced-motion: reduce)');

/** True when the player asked his system for less motion. */
export const prefersCalm = () => Boolean(calm?.matches);

function places(root) {
  const found = new Map();
  if (prefersCalm()) return found;
  for (const element of root.querySelectorAll('[data-flip]')) {
    found.set(element.dataset.flip, element.getBoundingClientRect());
  }
  return found;
}

function glide(root, before) {
  if (before.size === 0) return;
  for (const element of root.querySelectorAll('[data-flip]')) {
    const from = before.get(element.dataset.flip);
    if (!from || from.width === 0) continue;
    const to = element.getBoundingClientRect();
    const dx = from.left - to.left;
    const dy = from.top - to.top;
    if (to.width === 0 || Math.abs(dx) + Math.abs(dy) < 3) continue;
    element.animate(
      [{ transform: `translate(${dx}px, ${dy}px) scale(${from.width / to.width})`, transformOrigin: '0 0' }, { transform: 'none', transformOrigin: '0 0' }],
      { duration: 220, easing: 'cubic-bezier(.2,.7,.3,1)' },
    );
  }
}

function patchChildren(parent, wanted, svg) {
  const keyed = new Map();
  for (const node of parent.childNodes) {
    if (node.viewKey !== undefined) keyed.set(node.viewKey, node);
  }
  const stay = new Set(wanted.map((view) => view.key));
  let next = parent.firstChild;
  for (const view of wanted) {
    // What goes, goes first: so that those who stay need not move, which would restart their animations.
    while (next && next.viewKey !== undefined && !stay.has(next.viewKey)) {
      const gone = next;
      next = next.nextSibling;
      gone.remove();
    }
    let node;
    if (typeof view === 'object' && view.key !== undefined) {
      node = keyed.get(view.key);
      if (node && node.localName !== view.tag) node = undefined;
      keyed.delete(view.key);
    } else if (next && next.viewKey === undefined && fits(next, view)) {
      node = next;
    }
    const fresh = !node;
    if (fresh) node = create(view, svg);
    if (node === next) next = next.nextSibling;
    else parent.insertBefore(node, next);
    if (typeof view === 'string') {
      if (node.data !== view) node.data = view;
    } else {
      patchElement(node, view, svg);
      if (fresh) view.props.created?.(node);
    }
  }
  while (next) {
    const gone = next;
    next = next.nextSibling;
    gone.remove();
  }
}

const fits = (node, view) => (typeof view === 'string' ? node.nodeType === 3 : node.localName === view.tag);

function create(view, svg) {
  if (typeof view === 'string') return document.createTextNode(view);
  const node = svg || view.tag === 'svg' ? document.createElementNS(SVG, view.tag) : document.createElement(view.tag);
  node.viewKey = view.key;
  node.viewProps = {};
  return node;
}

function patchElement(node, view, svg) {
  const old = node.viewProps ?? {};
  node.viewProps = view.props;
  for (const name of Object.keys(old)) {
    if (!(name in view.props)) setProp(node, name, undefined, old[name]);
  }
  // Children first: a select takes its value only when its options are there.
  const inSvg = svg || view.tag === 'svg';
  if (!view.props.opaque) patchChildren(node, view.children, inSvg);
  for (const [name, value] of Object.entries(view.props)) {
    if (value !== old[name] || name === 'value') setProp(node, name, value, old[name]);
  }
}

function setProp(node, name, value, old) {
  if (name === 'key' || name === 'created' || name === 'opaque') return;
  if (name.startsWith('on')) {
    const event = name.slice(2).toLowerCase();
    if (old) node.removeEventListener(event, old);
    if (value) node.addEventListener(event, value);
  } else if (name === 'vars') {
    // Custom properties through the object model: a style attribute would break the Content-Security-Policy.
    for (const key of Object.keys(old ?? {})) if (!value || !(key in value)) node.style.removeProperty(`--${key}`);
    for (const key of Object.keys(value ?? {})) node.style.setProperty(`--${key}`, value[key]);
  } else if (name === 'value' || name === 'checked') {
    if (node[name] !== value && value !== undefined) node[name] = value;
  } else if (name === 'flip') {
    if (value) node.dataset.flip = value;
    else delete node.dataset.flip;
  } else if (value === undefined || value === null || value === false) {
    node.removeAttribute(name);
  } else {
    node.setAttribute(name, value === true ? '' : value);
  }
}

/** Class names from those entries that are not empty. */
export const cls = (...names) => names.filter(Boolean).join(' ');
