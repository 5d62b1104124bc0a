#!/usr/bin/env python3
"""Tries to be somebody else, in every way a client can word it. No attempt may have any effect.

    impostor.py --url http://127.0.0.1:8000 --attempts 1000

Two tables of four people each: one stays in the waiting room, one plays. Whenever the second waits for a person's move,
outsiders and insiders try to act, declare, play, start, leave, come back, add and remove in another's name. After each
batch all eight must still be connected and must not have been sent a single frame because of it; outsiders must have
seen no hand and must have been refused with an error. The server's turn timeout must be off or longer than a batch.

Exit code: 0 no attempt had an effect, 1 one had (or the refusal was not clear), 2 no server.
"""

import argparse
import asyncio
import json
import random
import secrets

import client
import ws

ACTIONS = {
    "declare": lambda name, rng: {"value": rng.randrange(9), "player_name": name},
    "play": lambda name, rng: {"piece_indices": [0], "player_name": name, "play_value": 3},
    "play two": lambda name, rng: {"piece_indices": [0, 1], "player_name": name, "play_value": 3},
    "accept_redeal": lambda name, rng: {"player_name": name},
    "decline_redeal": lambda name, rng: {"player_name": name},
    "start_next_round": lambda name, rng: {},
    "start_game": lambda name, rng: {},
    "leave_room": lambda name, rng: {"player_name": name},
    "add_bot": lambda name, rng: {"slot_id": rng.randint(1, 4)},
    "remove_player": lambda name, rng: {"slot_id": rng.randint(1, 4)},
}
SILENT = {"start_next_round"}
"""Accepted silently from anybody: it does nothing."""


class Siege:
    def __init__(self, options, report):
        self.options, self.report = options, report
        self.rng = random.Random(options.seed)
        self.attempts = 0

    def outsider(self, room_id):
        cookies = self.rng.random() < 0.6
        browser = client.Browser(self.options.url, cookies=cookies)
        guess = self.rng.random()
        if cookies and guess < 0.2:
            browser.cookies["liap_session"] = secrets.token_hex(16)
        elif cookies and guess < 0.25:
            browser.cookies["liap_session"] = self.rng.choice(["", "0", "null", "a" * 4000, "%00", "../../"])
        impostor = client.Client(browser, client.fresh_name("E"), self.report, patience=5.0)
        impostor.seated, impostor.expect_errors, impostor.room_id = False, True, room_id
        return impostor

    def wrong_token(self, table):
        other = self.rng.choice(table)
        return self.rng.choice([
            secrets.token_urlsafe(32), secrets.token_hex(16), "", "0", other.seat_token, other.seat_token[:-1], other.seat_token + "0",
            other.seat_token.swapcase(), other.seat_token[::-1], None, 0, True, [other.seat_token], {"t": other.seat_token},
        ])

    def variant(self, name):
        """The name itself most of the time, or something that looks like it."""
        return self.rng.choice([name] * 6 + [name.lower(), name.upper(), f" {name} ", name + "\u200b", name.replace("P", "\u0420")])

    async def refused(self, impostor, what, forms):
        """Every action must be answered with an error, and nothing else may come that is not public."""
        missing = sum(event.split()[0] not in SILENT for event in forms)
        asked = len(forms)
        try:
            # Answers of the room come after those of the socket: a pong says nothing about them.
            while missing > 0:
                event, data = await impostor.next(3.0)
                missing -= event == "error"
                if event in ("room_created", "room_joined", "redeal_response_success", "player_left", "game_started"):
                    self.report.violation(impostor.name, f"{what}: answered with {event}", json.dumps(data))
        except client.Stalled:
            self.report.violation(impostor.name, f"{what}: {missing} of {asked} attempts without an answer: {forms}")
        except ws.Closed as end:
            # Thrown out is as good as refused, if it is said why.
            if end.code != 1008:
                self.report.violation(impostor.name, f"{what}: closed with {end.code} {end.reason}")
            return
        if not await impostor.is_alive():
            self.report.violation(impostor.name, f"{what}: the socket is dead")

    async def from_outside(self, table, victim, stage):
        """A stranger's socket. With or without client_ready in the victim's name, with wrong tokens, from the lobby."""
        room_id = table[0].room_id
        impostor = self.outsider(room_id)
        place = self.rng.choice(["room"] * 5 + ["lobby"])
        await impostor.open(room_id if place == "room" else "lobby")
        way = self.rng.choice(["as victim", "as victim", "wrong token", "wrong token", "own name", "no name", "nothing"])
        data = {"room_id": room_id, "is_reconnection": self.rng.random() < 0.3}
        name = victim.name
        if way in ("as victim", "wrong token"):
            name = data["player_name"] = self.variant(victim.name)
        if way == "wrong token":
            data["seat_token"] = self.wrong_token(table)
            while data["seat_token"] == victim.seat_token:
                data["seat_token"] = self.wrong_token(table)
        if way == "own name":
            data["player_name"] = impostor.name
            if self.rng.random() < 0.3:
                # The true token, with a name it does not belong to.
                data["seat_token"] = victim.seat_token
        what = f"{stage}, outsider at the {place}, {way}"
        if way != "nothing":
            impostor.send("client_ready", data)
            impostor.send("request_state_sync")
        forms = self.rng.sample(list(ACTIONS), self.rng.randint(1, 4)) if place == "room" else []
        for form in forms:
            impostor.send(form.split()[0], ACTIONS[form](name, self.rng))
        if place == "lobby":
            # Not for the lobby: ignored there, or refused.
            for form in self.rng.sample(list(ACTIONS), 3):
                impostor.send(form.split()[0], ACTIONS[form](name, self.rng))
        await self.refused(impostor, what, forms)
        self.attempts += 1
        self.report.counts[f"attempts: {what}"] += 1
        impostor.socket.vanish()

    async def join_with_the_name(self, table, victim, stage):
        impostor = self.outsider(table[0].room_id)
        await impostor.open("lobby")
        impostor.send("client_ready", {"room_id": "lobby", "is_reconnection": False})
        name = self.rng.choice([victim.name, f" {victim.name}", f"{victim.name} "])
        impostor.send("join_room", {"room_id": table[0].room_id, "player_name": name})
        await self.refused(impostor, f"{stage}, join_room with the name {name!r}", ["join_room"])
        self.attempts += 1
        self.report.counts[f"attempts: {stage}, join_room with the victim's name"] += 1
        impostor.socket.vanish()

    async def from_inside(self, table, victim, stage):
        """A seated player of the same table, with his own cookie or token, in the victim's name."""
        insider = self.rng.choice([player for player in table if player is not victim])
        way = self.rng.choice(["own socket", "new socket"])
        forms = self.rng.sample(["declare", "play", "play two", "accept_redeal", "decline_redeal", "leave_room"], 2)
        if way == "own socket":
            if insider is not table[0] and stage == "waiting":
                forms += self.rng.sample(["start_game", "add_bot", "remove_player"], 2)
            insider.expect_errors = True
            for form in forms:
                insider.send(form.split()[0], ACTIONS[form](victim.name, self.rng))
            await self.refused(insider, f"{stage}, insider on his own socket", forms)
            # A refusal brings a fresh phase_change with it; that is no effect.
            await asyncio.sleep(0.02)
            insider.expect_errors = False
        else:
            copy = client.Client(insider.browser, client.fresh_name("E"), self.report, patience=5.0)
            copy.seated, copy.expect_errors, copy.room_id = False, True, insider.room_id
            await copy.open(insider.room_id)
            data = {"room_id": insider.room_id, "player_name": victim.name, "is_reconnection": False}
            if not insider.browser.keeps_cookies or self.rng.random() < 0.5:
                data["seat_token"] = insider.seat_token
            copy.send("client_ready", data)
            for form in forms:
                copy.send(form.split()[0], ACTIONS[form](victim.name, self.rng))
            await self.refused(copy, f"{stage}, insider on a new socket", forms)
            copy.socket.vanish()
        self.attempts += 1
        self.report.counts[f"attempts: {stage}, insider on {'his own' if way == 'own socket' else 'a new'} socket"] += 1

    async def batch(self, table, stage):
        """Attacks, then looks whether anybody at the table has noticed anything."""
        target = self.attempts + self.options.batch
        while self.attempts < target:
            victim = self.rng.choice(table)
            attack = self.rng.choices([self.from_outside, self.from_inside, self.join_with_the_name], [6, 3, 1])[0]
            await attack(table, victim, stage)
        # What an attack may have set off needs a moment to arrive.
        await asyncio.sleep(0.1)
        for player in table:
            await self.undisturbed(player, stage)

    async def undisturbed(self, player, stage):
        player.ping()
        stamp = next(reversed(player.pings))
        try:
            while stamp in player.pings:
                event, data = await player.next(5.0)
                if event == "pong":
                    continue
                if event == "room_update" and data == player.room_state:
                    continue  # The repetition for slow listeners.
                if event == "phase_change" and data.get("phase_data") == player.state["phase_data"]:
                    continue  # A refused insider is re-synced; nothing has changed.
                self.report.violation(player.name, f"{stage}: an attack reached its victim as {event}", json.dumps(data))
        except client.Stalled:
            self.report.violation(player.name, f"{stage}: the victim's socket is dead")
        except ws.Closed as end:
            self.report.violation(player.name, f"{stage}: the victim was thrown out with {end.code} {end.reason}")
            raise

    async def waiting_room(self):
        players, _ = await client.set_up_game(
            self.options.url, self.report, humans=3, cookies=None, seed=self.rng.random(), pace=self.options.pace,
            start=False)
        host = players[0]
        # A free seat, so that only the name can be the reason to refuse a newcomer.
        host.send("remove_player", {"slot_id": 2})
        await asyncio.sleep(2)
        for player in players:
            await self.quiet(player)
            player.send("get_room_state")
            _, player.room_state = await player.wait_for("room_update")
            player.state = {"phase_data": None}
        while self.attempts < self.options.attempts / 3:
            await self.batch(players, "waiting")
        await asyncio.sleep(2)
        await self.quiet(host)
        host.send("get_room_state")
        _, after = await host.wait_for("room_update")
        if after != host.room_state:
            self.report.violation(host.name, "the room has changed", json.dumps([host.room_state, after]))
        # The true holder still can do everything.
        host.send("add_bot", {"slot_id": 2})
        while after["players"][1] is None:
            _, after = await host.wait_for("room_update")
        for player in players:
            await player.leave_page()

    @staticmethod
    async def quiet(player):
        """Reads what has come until now."""
        try:
            while True:
                event, data = await player.next(0.05)
                if event == "phase_change":
                    player.state = data
        except client.Stalled:
            pass

    @staticmethod
    def moment(state):
        """The same for all who have been told the same."""
        data = state["phase_data"]
        return (state["round"], state["phase"], data.get("redeal_multiplier"), len(data.get("declarations", ())),
                data.get("current_turn_number"), len(data.get("turn_plays", ())), data.get("turn_complete"))

    async def drain(self, players):
        """Reads until all have been told the same, and a person must move. Returns him, or None when the game is over."""
        while True:
            for player in players:
                await self.quiet(player)
            states = [player.state for player in players]
            if None in states or len(set(map(self.moment, states))) > 1:
                continue
            if states[0]["phase"] == "game_over":
                return None
            for player, state in zip(players, states):
                move = player.my_move(state)
                if move and move[0] != "next" and move not in player.done:
                    return player

    async def game(self):
        players, _ = await client.set_up_game(
            self.options.url, self.report, humans=4, cookies=None, seed=self.rng.random(), pace=self.options.pace)
        async with asyncio.TaskGroup() as group:
            for player in players:
                group.create_task(player.wait_for_start())
        for player in players:
            player.state = player.room_state = None
        while (mover := await self.drain(players)) is not None:
            if self.attempts < self.options.attempts:
                await self.batch(players, f"{mover.state['phase']}")
                if self.rng.random() < 0.15:
                    await self.absent(players, self.rng.choice(players))
                    continue
            await mover.act(mover.state)
        for player in players:
            await player.stay_after_game()
        self.report.counts["games played"] += 1

    async def absent(self, players, victim):
        """While the true holder is away the seat is a bot's, not anybody's; and he gets it back."""
        victim.socket.vanish()
        await asyncio.sleep(self.rng.uniform(0, self.options.absence))
        for _ in range(5):
            await self.from_outside(players, victim, "victim is away")
        await victim.open_game()
        event, data = await victim.wait_for("phase_change", "room_not_found", "room_closed")
        # That the hand is there and whole, every phase_change is checked for.
        if event != "phase_change" or data["players"][victim.name]["is_bot"]:
            self.report.violation(victim.name, f"after the attack his seat is lost: {event}", json.dumps(data))
            raise client.Gone(f"{victim.name} has lost his seat")
        victim.state = data


async def main(options, report):
    siege = Siege(options, report)
    try:
        async with asyncio.timeout(options.timeout):
            await siege.waiting_room()
            while siege.attempts < options.attempts:
                await siege.game()
    except (client.Stalled, client.Gone, ws.Closed, ws.ServerFault, TimeoutError) as fault:
        report.violation("game", f"unfinished: {type(fault).__name__} {fault}")
    report.counts["attempts in all"] = siege.attempts


if __name__ == "__main__":
    parser = client.arguments(argparse.ArgumentParser(description=__doc__.split("\n")[0]))
    parser.add_argument("--attempts", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=8, help="attempts between two moves of the game")
    parser.add_argument("--absence", type=float, default=4.0, help="longest absence of a victim, in seconds")
    parser.add_argument("--timeout", type=float, default=1800.0)
    client.run(main, parser.parse_args())
