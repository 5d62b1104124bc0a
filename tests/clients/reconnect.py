#!/usr/bin/env python3
"""Loses connections at random moments of running games and comes back: same seat, full state, and the game goes on.

    reconnect.py --url http://127.0.0.1:8000 --times 1000

Ways to go: the TCP link ends without a close frame, it is reset, a close with 1001 (tab closed), or a second tab opens
while the first is still there (which must then be closed with 1000). Some vanish exactly when it is their move and stay
away until somebody has moved for them. At least one person of a table is always connected, so that rooms stay.

Prints the time from client_ready to the full phase_change, and from vanishing on one's own move to the table going on.
Exit code: 0 all well, 1 a violation (also a return slower than --limit-ms), 2 no server.
"""

import argparse
import asyncio
import json
import random

import client
import ws


class Table:
    """One running game with restless people and a steady watcher."""

    def __init__(self, options, report, seed, counter):
        self.options, self.report, self.counter = options, report, counter
        self.rng = random.Random(seed)
        self.over = asyncio.Event()
        self.waiting = {}
        self.state = None
        self.presence = asyncio.Semaphore(0)

    async def run(self):
        humans = self.rng.randint(2, 4)
        players, crowd = await client.set_up_game(
            self.options.url, self.report, humans=humans, cookies=None, seed=self.rng.random(), pace=self.options.pace,
            patience=self.options.patience, watchers=1,
        )
        self.presence = asyncio.Semaphore(humans - 1)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.watch(crowd[0]))
            for player in players:
                player.expect_errors = True
                group.create_task(self.restless(player))
        crowd[0].socket.vanish()
        self.report.counts["games played"] += 1

    async def watch(self, watcher):
        """Sees everything, and notices when a move is made for somebody who vanished on it."""
        while True:
            event, data = await watcher.next()
            if event == "room_closed":
                raise client.Gone(f"room_closed during the game: {data}")
            if event in ("player_disconnected", "player_reconnected", "host_changed"):
                self.report.counts[event] += 1
            if event != "phase_change":
                continue
            self.state = data
            for name, (key, since, done) in list(self.waiting.items()):
                if self.move_of(name, data) != key:
                    del self.waiting[name]
                    self.report.time("vanished on one's own move, until the table went on", ws.now() - since)
                    done.set()
            if data["phase"] == "game_over":
                self.over.set()
                return

    @staticmethod
    def move_of(name, data):
        """The decision that the table waits for from this player."""
        phase, phase_data = data["phase"], data["phase_data"]
        if phase == "preparation" and name in phase_data.get("weak_players_awaiting", ()):
            return ("redeal", data["round"], phase_data["redeal_multiplier"])
        if phase == "declaration" and phase_data.get("current_declarer") == name:
            return ("declare", data["round"])
        if phase == "turn" and phase_data["current_player"] == name and name not in phase_data["turn_plays"]:
            return ("play", data["round"], phase_data["current_turn_number"])
        return None

    async def restless(self, player):
        await player.wait_for_start()
        while True:
            wants_to_go = self.counter.left() > 0
            on_move = wants_to_go and self.rng.random() < 0.35
            until = ws.now() + self.rng.uniform(0.0, self.options.stay) if wants_to_go else ws.now() + 3600
            key = await self.play(player, until, on_move)
            if key == "over":
                break
            if not self.counter.take():
                # No more leaving: the move that was withheld must still be made.
                player.done.clear()
                player.view.asked()
                player.send("request_state_sync")
                continue
            async with self.presence:
                await self.away(player, key)
            if not await self.back(player):
                return
        await player.stay_after_game()

    async def play(self, player, until, on_move):
        """Plays for a while. Returns the key of the own move that was withheld, None, or `over`."""
        while True:
            left = until - ws.now()
            if left <= 0:
                return None
            try:
                event, data = await player.next(min(left, self.options.patience))
            except client.Stalled:
                if ws.now() < until - 0.001:
                    raise
                return None
            if event == "error":
                self.report.counts[f"refused (a race with the bot): {data.get('message')}"] += 1
            if event == "phase_change":
                if data.get("phase") == "game_over":
                    return "over"
                key = self.move_of(player.name, data)
                if on_move and key and key not in player.done:
                    return key
                await player.act(data)

    async def away(self, player, key):
        way = self.rng.choice(["end", "reset", "close 1001", "second tab"]) if key is None else self.rng.choice(["end", "reset", "close 1001"])
        self.report.counts[f"left by: {way}" + (" on own move" if key else "")] += 1
        old = player.socket
        player.old = None
        if way == "second tab":
            player.old = old
            return
        done = asyncio.Event()
        if key:
            # Known before the link ends, so that the watcher cannot be quicker.
            self.waiting[player.name] = (key, ws.now(), done)
        if way == "end":
            old.vanish()
        elif way == "reset":
            old.reset()
        else:
            old.send_frame(ws.CLOSE, (1001).to_bytes(2, "big"))
            old.vanish()
        if key and self.state and self.move_of(player.name, self.state) == key:
            try:
                async with asyncio.timeout(self.options.patience):
                    await done.wait()
            except TimeoutError:
                self.report.violation(player.name, f"the table waits {self.options.patience} s for a vanished player at {key}")
        else:
            self.waiting.pop(player.name, None)
            await asyncio.sleep(self.rng.choice([0, self.rng.uniform(0, 0.3), self.rng.uniform(0, self.options.absence)]))

    async def back(self, player):
        """Opens the game page again; False if there is no game any more."""
        was_over = self.over.is_set()
        player.view.missed()
        player.done.clear()
        await player.open(player.room_id)
        began = ws.now()
        player.say_ready()
        while True:
            event, data = await player.next()
            if event in ("room_not_found", "room_closed"):
                if not self.over.is_set():
                    self.report.violation(player.name, f"{event} on coming back to a running game: {data}")
                return False
            if event == "phase_change":
                break
        seconds = ws.now() - began
        self.report.time("client_ready to full phase_change", seconds)
        if seconds * 1000 > self.options.limit_ms:
            self.report.violation(player.name, f"coming back took {seconds * 1000:.0f} ms, more than the limit")
        if was_over and data["phase"] != "game_over":
            self.report.violation(player.name, f"phase {data['phase']} after the game was over")
        own = data["players"].get(player.name, {})
        if own.get("is_bot") is not False:
            self.report.violation(player.name, f"back at the table and still a bot, in {data['phase']}: {own}")
        if data["phase"] not in ("game_over", "preparation") and len(own.get("hand", [])) != own.get("hand_size"):
            self.report.violation(player.name, f"back at the table without the hand: {own}")
        self.report.counts[f"came back in {data['phase']}"] += 1
        if data["phase"] == "turn" and data["phase_data"].get("winner"):
            # The result display; the page shows it only when it is told again.
            event, again = await player.wait_for("turn_complete", "phase_change")
            if event != "turn_complete":
                self.report.violation(player.name, "back in the result display without turn_complete", json.dumps(again))
        if player.old is not None:
            try:
                while True:
                    await player.old.recv(5.0)
            except ws.Closed as end:
                if end.code != 1000:
                    self.report.violation(player.name, f"the older of two tabs was closed with {end.code}, not 1000")
            except TimeoutError:
                self.report.violation(player.name, "the older of two tabs was not closed in 5 s")
        if data["phase"] == "game_over":
            await player.stay_after_game()
            return False
        await player.act(data)
        return True


class Counter:
    def __init__(self, times):
        self.remaining = times

    def left(self):
        return self.remaining

    def take(self):
        if self.remaining <= 0:
            return False
        self.remaining -= 1
        return True


async def main(options, report):
    counter = Counter(options.times)
    rng = random.Random(options.seed)

    async def tables():
        while counter.left() > 0:
            try:
                async with asyncio.timeout(options.game_timeout):
                    await Table(options, report, rng.random(), counter).run()
            except* (client.Stalled, client.Gone, ws.Closed, ws.ServerFault, ws.Refused, TimeoutError, OSError) as faults:
                for fault in faults.exceptions:
                    report.violation("game", f"unfinished: {type(fault).__name__} {fault}")

    await asyncio.gather(*(tables() for _ in range(options.parallel)))


if __name__ == "__main__":
    parser = client.arguments(argparse.ArgumentParser(description=__doc__.split("\n")[0]))
    parser.add_argument("--times", type=int, default=1000, help="reconnects in all")
    parser.add_argument("--parallel", type=int, default=8, help="games at the same time")
    parser.add_argument("--stay", type=float, default=2.0, help="longest time between two departures, in seconds")
    parser.add_argument("--absence", type=float, default=4.0, help="longest absence, in seconds")
    parser.add_argument("--limit-ms", type=float, default=100.0, help="longest time to the full state")
    parser.add_argument("--game-timeout", type=float, default=900.0, help="seconds a game may take")
    client.run(main, parser.parse_args())
