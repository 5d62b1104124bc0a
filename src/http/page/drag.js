// Moving tiles in the hand: with a finger or a mouse, or by keys.

import { current, updateUi } from './app.js';
import { laidOut } from './hand.js';

const DRAG_FROM_PX = 12;

let drag = null;

/** True while a tile is being moved, so that the click at the end does not choose it. */
export const dragging = () => Boolean(drag?.moved);

/** Follows a pointer that was pressed on the tile `id`. */
export function dragStart(event, id) {
  if (event.button) return;
  drag = { x: event.clientX, y: event.clientY, moved: false };
  const move = ({ clientX, clientY }) => {
    if (!drag.moved && Math.hypot(clientX - drag.x, clientY - drag.y) < DRAG_FROM_PX) return;
    drag.moved = true;
    const over = document.elementFromPoint(clientX, clientY)?.closest('[data-piece]')?.dataset.piece;
    if (over && over !== id) moveTile(id, over);
  };
  const end = () => {
    document.removeEventListener('pointermove', move);
    document.removeEventListener('pointerup', end);
    document.removeEventListener('pointercancel', end);
    setTimeout(() => { drag = null; }); // after the click that ends a drag
  };
  document.addEventListener('pointermove', move);
  document.addEventListener('pointerup', end);
  document.addEventListener('pointercancel', end);
}

/** Puts the tile `id` where the tile `to` lies. */
export function moveTile(id, to) {
  const { room, ui } = current();
  const order = laidOut(room, ui.order).map((piece) => piece.id);
  const target = order.indexOf(to);
  order.splice(order.indexOf(id), 1);
  order.splice(target, 0, id);
  updateUi({ order });
}
