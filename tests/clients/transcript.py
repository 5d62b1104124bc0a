#!/usr/bin/env python3
"""Repeats the client's side of recorded traffic and compares the shape of the answers with the recorded ones.

    transcript.py --url http://127.0.0.1:8000 RECORDING.jsonl [RECORDING.jsonl ...]

A recording is one JSON object a line: `path` of the socket, `dir` (open, out, in, close), `msg` the frame. What the
recorded client said is said again, frame by frame in its wording and order: only room, name, declared value and chosen
pieces are put in, because the game takes another course. A recorded close in the middle of a game is made at the same
kind of moment (the phase, and how many plays lay on the table), and then the socket opened again.

Every shape (event, or phase of a phase_change) in which the recorded server answered must also be seen, with every field
that the recorded client reads. Recorded fields that are missing but that nobody reads are listed, not counted as wrong. Besides the
recorded moment the page is reloaded once in every phase, with every number of plays on the table.

Without a recording only the order of a room entry is walked. Exit code: 0 all well, 1 not, 2 no server.
"""

import argparse
import asyncio
import json
import time
import uuid

import client
import ws

NOT_OURS = {"error", "rate_limit_warning"}
"""Recorded, but faults or limits of the recorded server."""
DROPPED = {"host_changed", "player_disconnected", "player_reconnected"}
"""Said by the recorded server about a change of page, where nobody left. They must not be said then."""
READ = {
    "room_list_update": {"rooms[].room_id", "rooms[].players[].name", "rooms[].host_name", "rooms[].started"},
    "room_created": {"room_id"},
    "room_update": {"players[].name", "players[].is_bot", "players[].is_host", "host_name", "room_id", "started"},
    "game_started": {"room_id", "success"},
    "pong": {"timestamp"},
    "turn_complete": {
        "winner", "winning_play.type", "next_starter", "all_hands_empty", "turn_players_data[].name",
        "turn_players_data[].captured_piles", "turn_players_data[].declared",
    },
}
PLAYER = {f"players.*.{name}" for name in (
    "hand_size", "name", "is_bot", "avatar_color", "score", "declared", "captured_piles", "zero_declares_in_a_row")}
READ_IN_PHASE = {
    "preparation": {"dealing_cards", "redeal_multiplier"},
    "round_start": {"current_starter", "starter_reason"},
    "declaration": {"declaration_order", "current_declarer", "declarations"},
    "turn": {"current_turn_starter", "current_player", "turn_order", "required_piece_count", "turn_plays",
             "current_turn_number", "pile_counts"},
    "turn_results": set(),
    "scoring": {"round_scores", "total_scores", "redeal_multiplier", "winners"} | {
        f"scoring_players_data[].{name}" for name in ("name", "is_bot", "pile_count", "captured_piles")},
    "game_over": {f"final_rankings[].{name}" for name in ("name", "score", "rank", "turns_won", "perfect_rounds")} | {
        "game_stats.total_rounds", "game_stats.game_duration"},
}
BY_NAME = {"players", "declarations", "turn_plays", "pile_counts", "round_scores", "total_scores", "player_piles",
           "player_stats", "all_plays", "redeal_decisions", "slots"}
"""Objects whose keys are names."""


def shape(value, path=""):
    """The paths of all fields; items of an array as `[]`, entries by name as `*`."""
    if isinstance(value, dict):
        last = path.rsplit(".", 1)[-1].removesuffix("[]")
        for name, inner in value.items():
            here = f"{path}.{'*' if last in BY_NAME and not path.endswith('[]') else name}".lstrip(".")
            yield here
            yield from shape(inner, here)
    elif isinstance(value, list):
        for inner in value:
            yield from shape(inner, path + "[]")


def kind_of(event, data):
    return f"phase_change: {data['phase']}" if event == "phase_change" else event


def must_have(kind):
    event, _, phase = kind.partition(": ")
    if event == "phase_change":
        return {"phase", "round"} | PLAYER | {f"phase_data.{name}" for name in READ_IN_PHASE[phase]}
    return READ.get(event, set())


class Replayer(client.Client):
    """A client whose every frame is a recorded one with the blanks filled in."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.templates = {}
        self.shapes = {}
        self.page = None

    async def open(self, page, **options):
        self.page = page
        await super().open(page, **options)

    def learn(self, lines):
        for line in lines:
            if line["dir"] == "out":
                self.templates.setdefault((line["msg"]["event"], line["path"] == "/ws/lobby"), line["msg"])

    def send(self, event, data=None, **more):
        template = self.templates.get((event, self.page == "lobby"))
        if template is None:
            return super().send(event, data, **more)
        data = data or {}
        self.sequence += 1
        filled = {name: data.get(name, value) for name, value in template["data"].items()}
        frame = {name: None for name in template} | {
            "event": event, "data": filled, "sequence": self.sequence, "timestamp": int(time.time() * 1000), "id": str(uuid.uuid4()),
        }
        self.socket.send_text(json.dumps(frame))
        return None

    async def next(self, timeout=None):
        event, data = await super().next(timeout)
        if event != "unreadable":
            self.shapes.setdefault(kind_of(event, data), set()).update(shape(data))
        return event, data


async def replay(path, options, report):
    lines = []
    if path:
        with open(path, encoding="utf-8") as source:
            lines = [json.loads(line) for line in source if line.strip()]
    player = Replayer(client.Browser(options.url), client.fresh_name("T"), report, seed=options.seed, pace=options.pace,
                      patience=options.patience)
    player.learn(lines)
    await player.browser.load_page(report)

    # The moments of a recorded close within the game: phase and number of plays at that time.
    moments, phase, plays, in_game = [], None, 0, False
    for line in lines:
        if line["dir"] == "in" and line["msg"]["event"] == "phase_change":
            data = line["msg"]["data"]
            phase, plays = data["phase"], len(data["phase_data"].get("turn_plays", {}))
        elif line["dir"] == "in" and line["msg"]["event"] == "game_started":
            in_game = "leaving"
        elif line["dir"] in ("close", "open") and line["path"] != "/ws/lobby":
            if in_game == "leaving" and line["dir"] == "open":
                in_game = "game"
            elif in_game == "game" and phase != "game_over" and (line["dir"] == "open"):
                moments.append((phase, plays))

    moments += [("round_start", 0), ("declaration", 0), ("turn", 0), ("turn", 1), ("turn", 2), ("turn", 3), ("turn", 4),
                ("turn_results", 0), ("scoring", 0), ("preparation", 0)]

    # Somebody else's room, so that the lobby's list is not empty.
    neighbour = client.Client(client.Browser(options.url), client.fresh_name("N"), report, patience=options.patience)
    await neighbour.open_lobby()
    await neighbour.create_room()
    await neighbour.open_room()

    await player.open_lobby()
    await player.create_room()
    began = ws.now()
    await player.open_room()
    answered = ws.now() - began
    # The page's listener may come late: the answer is repeated after about 150, 500 and 1500 ms.
    repeats = []
    try:
        while ws.now() - began < 2.5:
            event, _ = await player.next(max(0.01, 2.5 - (ws.now() - began)))
            if event == "room_update":
                repeats.append(ws.now() - began)
    except client.Stalled:
        pass
    print(f"room_update after {answered * 1000:.0f} ms, again after {[f'{1000 * at:.0f}' for at in repeats]} ms")
    for index, due in enumerate((0.15, 0.5, 1.5)):
        if len(repeats) <= index or not due * 0.7 <= repeats[index] <= due * 1.3 + 0.1:
            report.violation(player.name, f"room_update is not repeated about {due} s after get_room_state: {repeats}")
            break
    player.send("start_game")
    await player.wait_for("game_started")
    await player.leave_page()
    await asyncio.sleep(0.05)
    await player.open_game()
    while True:
        event, data = await player.next()
        if event in DROPPED:
            report.violation(player.name, f"{event} although nobody left, only the page changed", json.dumps(data))
        if event != "phase_change":
            continue
        now = (data["phase"], len(data["phase_data"].get("turn_plays", {})))
        if moments and now == moments[0] and data["round"] >= 1:
            moments.pop(0)
            report.counts[f"reloads in {now[0]} with {now[1]} plays on the table"] += 1
            player.socket.vanish()
            await player.open_game()
            _, data = await player.wait_for("phase_change", "room_not_found", "room_closed")
            if "phase" not in data:
                raise client.Gone(f"after a reload in {now}: {data}")
        await player.act(data)
        if player.next_ping < ws.now():
            player.next_ping = ws.now() + 1
            player.ping()
        if data["phase"] == "game_over":
            break
    # Fields read by the page after a reload, or in any phase, are all required already; here the shapes.
    await player.stay_after_game()
    rooms = await player.open_lobby()
    if player.room_id in [room["room_id"] for room in rooms]:
        report.violation(player.name, "a game that is over is in the lobby's list")
    await player.leave_page()
    neighbour.socket.vanish()

    recorded = {}
    for line in lines:
        if line["dir"] == "in":
            message = line["msg"]
            recorded.setdefault(kind_of(message["event"], message["data"]), set()).update(shape(message["data"]))
    for kind, fields in sorted(recorded.items()):
        if kind in NOT_OURS | DROPPED:
            continue
        ours = player.shapes.get(kind)
        if ours is None:
            if kind == "room_state_update":
                print(f"not sent (optional): {kind}")
            else:
                report.violation(player.name, f"recorded and never seen here: {kind}")
            continue
        missing = must_have(kind) - ours
        if missing:
            report.violation(player.name, f"{kind} lacks {sorted(missing)}")
        unread = {field for field in fields - ours - must_have(kind) if not field.startswith("slots")}
        if unread:
            print(f"{kind}: recorded, unread and not sent: {' '.join(sorted(unread))}")
        new = ours - fields
        if new:
            print(f"{kind}: new: {' '.join(sorted(new))}")
    report.counts["games played"] += 1


async def main(options, report):
    for path in options.recordings or [None]:
        print(f"--- {path or 'no recording'}")
        try:
            async with asyncio.timeout(options.timeout):
                await replay(path, options, report)
        except (client.Stalled, client.Gone, ws.Closed, ws.ServerFault, TimeoutError) as fault:
            report.violation("game", f"unfinished: {type(fault).__name__} {fault}")


if __name__ == "__main__":
    parser = client.arguments(argparse.ArgumentParser(description=__doc__.split("\n")[0]))
    parser.add_argument("recordings", nargs="*", help="recorded traffic")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds for each")
    client.run(main, parser.parse_args())
