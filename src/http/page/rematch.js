// One table for all who play again: who presses first opens it and names it at the old table; the others follow there.

import { current, update } from './app.js';
import { createRoom, joinRoom } from './lobby.js';
import { furnish, send, whenHeard } from './room.js';

/** So long the old table may take to say which table counts. */
const ANSWER_WITHIN_MS = 4000;

let opened = null; // the table we have opened and named: {id, sit, late}

/** Goes to the table where the same people meet again, or opens it. */
export function playAgain() {
  const { room, lobby, ui } = current();
  if (ui.entering) return;
  update({ name: room.you, lobby: { ...lobby, error: null } });
  if (room.rematch) joinRoom(room.rematch.id, () => open(room, room.rematch.id));
  else open(room, null);
}

/** Opens a table with the same bots; the seats of persons stay free. With bots alone the game begins at once. */
function open(room, insteadOf) {
  const own = room.players.findIndex((player) => player?.name === room.you);
  const others = [1, 2, 3].map((i) => room.players[(own + i) % 4]);
  const bots = others.map((player, i) => ({ bot: player?.bot, seat: i + 1, level: player?.level ?? 'normal' })).filter(({ bot }) => bot);
  const friends = bots.length < others.length;
  createRoom(true, (id, sit) => {
    const sitDown = () => {
      sit();
      furnish(bots, !friends);
    };
    const alone = !friends || !send('rematch', insteadOf ? { room_id: id, instead_of: insteadOf } : { room_id: id });
    if (alone) sitDown();
    else opened = { id, sit: sitDown, late: setTimeout(settle, ANSWER_WITHIN_MS) };
  });
}

/** The old table has said which table counts: ours, or the one that somebody named before. */
function settle() {
  if (!opened) return;
  const { id, sit, late } = opened;
  opened = null;
  clearTimeout(late);
  const named = current().room?.rematch?.id ?? id;
  if (named === id) sit();
  else joinRoom(named, sit);
}

whenHeard('rematch', settle);
