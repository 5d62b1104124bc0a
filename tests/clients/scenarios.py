#!/usr/bin/env python3
"""Small stories of rooms and games, each with the answers that the protocol gives it.

    scenarios.py --url http://127.0.0.1:8000

Each story prints PASS or FAIL. `--only WORD` tells the stories whose name holds the word.
Exit code: 0 all as it must be, 1 not, 2 no server.
"""

import argparse
import asyncio
import json

import client
import ws


class Wrong(Exception):
    """The story took another turn."""


def must(condition, reason, frame=None):
    if not condition:
        raise Wrong(reason + (f"\n    frame: {json.dumps(frame)[:1500]}" if frame is not None else ""))


class Stories:
    def __init__(self, options, report):
        self.options, self.report = options, report
        self.states = {}

    async def next(self, player, timeout):
        """The next frame; a phase_change is remembered as the player's state."""
        event, data = await player.next(timeout)
        if event == "phase_change":
            self.states[player] = data
        return event, data

    def person(self, cookies=True, **options):
        return client.Client(client.Browser(self.options.url, cookies=cookies), client.fresh_name("S"), self.report,
                             pace=self.options.pace, patience=10.0, **options)

    async def room(self, humans=1, cookies=True):
        players, _ = await client.set_up_game(
            self.options.url, self.report, humans=humans, cookies=cookies, pace=self.options.pace, patience=10.0, start=False)
        return players

    async def game(self, humans=1, cookies=True):
        players = await self.room(humans, cookies)
        players[0].send("start_game")
        await asyncio.gather(*(player.wait_for_start() for player in players))
        return players

    async def heard(self, player, seconds=0.3):
        """Everything that comes within a while."""
        frames, deadline = [], ws.now() + seconds
        try:
            while (left := deadline - ws.now()) > 0:
                frames.append(await self.next(player, left))
        except client.Stalled:
            pass
        return frames

    async def error_to(self, player, what):
        event, data = "", {}
        deadline = ws.now() + 3
        seen = []
        while ws.now() < deadline:
            try:
                event, data = await player.next(max(0.01, deadline - ws.now()))
            except client.Stalled:
                break
            seen.append(event)
            if event == "error":
                return data
        raise Wrong(f"{what}: no error; came {seen}")

    # Lobby and room.

    async def lobby_stays_a_lobby(self):
        """A lobby socket that has created a room still answers and still hears of changes."""
        one = self.person()
        await one.open_lobby()
        one.send("create_room", {"player_name": one.name})
        _, created = await one.wait_for("room_created")
        one.send("get_rooms")
        _, listed = await one.wait_for("room_list_update")
        while not listed.get("requested_by"):
            _, listed = await one.wait_for("room_list_update")
        must(created["room_id"] in [room["room_id"] for room in listed["rooms"]], "the new room is not listed", listed)
        other = self.person()
        await other.open_lobby()
        other.send("create_room", {"player_name": other.name})
        await other.wait_for("room_created")
        for event, data in await self.heard(one):
            must(event != "room_created", "room_created of somebody else", data)

    async def list_follows_rooms(self):
        """The lobby is told of create, remove, join, leave, start."""
        watcher = self.person()
        await watcher.open_lobby()
        host = self.person()

        async def next_list(what, fits):
            deadline = ws.now() + 3
            while ws.now() < deadline:
                try:
                    _, data = await watcher.wait_for("room_list_update", timeout=max(0.01, deadline - ws.now()))
                except client.Stalled:
                    break
                found = [room for room in data["rooms"] if room["room_id"] == host.room_id]
                if fits(found):
                    return
            raise Wrong(f"no room_list_update shows: {what}")

        def taken(count):
            return lambda found: found and sum(player is not None for player in found[0]["players"]) == count

        await host.open_lobby()
        await host.create_room()
        await next_list("the new room", taken(4))
        await host.open_room()
        host.send("remove_player", {"slot_id": 2})
        await next_list("a seat freed", taken(3))
        guest = self.person()
        await guest.open_lobby()
        await guest.join_room(host.room_id)
        await next_list("a guest", taken(4))
        await guest.open_room()
        guest.socket.vanish()
        await next_list("the guest has left", taken(3))
        host.send("add_bot", {"slot_id": 2})
        await next_list("a bot", taken(4))
        host.send("start_game")
        await next_list("started rooms are not listed", lambda found: not found)

    async def seat_survives_the_page_change(self):
        """Between room_created and the room page the player has no socket; his seat waits for him."""
        host = self.person()
        await host.open_lobby()
        await host.create_room()
        await asyncio.sleep(1.0)
        state = await host.open_room()
        must(state["players"][0]["name"] == host.name, "the seat is lost after 1 s", state)
        host.send("remove_player", {"slot_id": 3})
        await host.wait_for("room_update")
        guest = self.person()
        await guest.open_lobby()
        await guest.join_room(host.room_id)
        await asyncio.sleep(1.0)
        state = await guest.open_room()
        must(state["players"][2] and state["players"][2]["name"] == guest.name, "the guest's seat is lost after 1 s", state)

    async def guest_leaves(self):
        for way in ("leave_room", "close 1001", "vanish"):
            host, guest = await self.room(2)
            await self.heard(host, 0.2)
            if way == "leave_room":
                guest.send("leave_room", {"player_name": guest.name})
                await guest.leave_page()
            elif way == "vanish":
                guest.socket.vanish()
            else:
                await guest.socket.close(1001, "")
            deadline = ws.now() + 6
            while True:
                must(ws.now() < deadline, f"{way}: the seat is not freed in 6 s")
                event, data = await host.wait_for("room_update", "room_closed")
                must(event == "room_update", f"{way} of a guest closed the room", data)
                if data["players"][3] is None:
                    break
            host.socket.vanish()

    async def leaver_is_answered(self):
        _, guest = await self.room(2)
        guest.send("leave_room", {"player_name": guest.name})
        _, data = await guest.wait_for("player_left")
        must(data["player_name"] == guest.name and data.get("success") is True and data.get("room_closed") is False,
             "player_left is wrong", data)

    async def host_leaves(self):
        for way in ("leave_room", "vanish"):
            host, guest = await self.room(2)
            if way == "leave_room":
                host.send("leave_room", {"player_name": host.name})
                await host.leave_page()
            else:
                host.socket.vanish()
            _, data = await guest.wait_for("room_closed")
            must(data.get("reason") == "host_left", f"{way}: reason is {data.get('reason')!r}", data)
            must(data.get("message"), f"{way}: no message", data)
            late = self.person()
            late.room_id = host.room_id
            await late.open(host.room_id)
            event, data = await late.next(3)
            must(event == "room_not_found", f"{way}: the room is gone and {event} comes", data)

    async def removed_guest(self):
        host, guest = await self.room(2)
        host.send("remove_player", {"slot_id": 4})
        _, data = await guest.wait_for("room_closed")
        must(data.get("reason") == "player_removed", f"reason is {data.get('reason')!r}", data)
        must(await host.is_alive(), "the host's socket died")

    async def only_the_host(self):
        host, guest = await self.room(2)
        guest.expect_errors = True
        for event, data, message in (
            ("add_bot", {"slot_id": 2}, "Only the host can add bots"),
            ("remove_player", {"slot_id": 2}, "Only the host can remove players"), ("start_game", {}, "host"),
        ):
            guest.send(event, data)
            error = await self.error_to(guest, event)
            must(message in error["message"] and error.get("type") == "permission_denied", f"{event}: wrong refusal", error)
        must(host.socket.end is None, "the host's socket died")

    async def unknown_room(self):
        lost = self.person()
        lost.room_id = "ABCDEF"
        await lost.open(lost.room_id)
        event, data = await lost.next(3)
        must(event == "room_not_found", f"first frame is {event}", data)
        lost.expect_errors = True
        for event, data, answers in (
            ("get_room_state", {}, {"room_closed", "room_not_found"}), ("add_bot", {"slot_id": 2}, {"room_closed", "room_not_found"}),
            ("leave_room", {"player_name": lost.name}, {"room_closed", "room_not_found"}), ("start_game", {}, {"error"}),
            ("declare", {"value": 1, "player_name": lost.name}, {"error"}),
        ):
            lost.send(event, data)
            found, answer = await lost.next(3)
            must(found in answers, f"{event} in an unknown room is answered with {found}", answer)
        must(await lost.is_alive(), "the socket died")

    async def levels_of_bots(self):
        (host,) = await self.room()
        for level in ("easy", "normal", "hard"):
            host.send("remove_player", {"slot_id": 2})
            host.send("add_bot", {"slot_id": 2, "level": level})
            deadline = ws.now() + 3
            while True:
                must(ws.now() < deadline, f"no bot of level {level}")
                _, data = await host.wait_for("room_update")
                if data["players"][1] and data["players"][1].get("level") == level:
                    break
        host.expect_errors = True
        host.send("remove_player", {"slot_id": 2})
        host.send("add_bot", {"slot_id": 2, "level": "genius"})
        await self.error_to(host, "add_bot with an unknown level")

    async def commitments_differ(self):
        rooms = [(await self.room())[0].truth.commitment for _ in range(3)]
        must(len(set(rooms)) == 3, f"commitments repeat: {rooms}")

    async def entropy_rules(self):
        """1 to 64 hex digits; anything else is refused or ignored, never half taken; late entropy does not count."""
        host = self.person()
        await host.open_lobby()
        await host.create_room()
        await host.open_room()
        host.expect_errors = True
        for wrong in ("", "xyz", "0" * 65, 5, None, ["00"]):
            data = {"room_id": host.room_id, "player_name": host.name, "is_reconnection": False, "entropy": wrong}
            host.send("client_ready", data)
            must(await host.is_alive(), f"entropy {wrong!r} killed the socket")
        host.send("client_ready", {"room_id": host.room_id, "player_name": host.name, "is_reconnection": False, "entropy": "ABcd12"})
        must(await host.is_alive(), "entropy killed the socket")
        host.truth.entropy[host.name] = "abcd12"
        host.send("start_game")
        await host.wait_for("game_started")
        await host.leave_page()
        host.entropy = "ffff"  # Sent with the next client_ready: too late to count.
        await host.open_game()
        await host.play_on()
        must(host.truth.audited, "the proof was not audited")

    # The game.

    async def mover(self, players, phase):
        """Plays until a person must move in this phase; returns him and the state he sees."""
        while True:
            for player in players:
                await self.heard(player, 0.02)
                state = self.states.get(player)
                if state is None:
                    continue
                move = player.my_move(state)
                if move and move not in player.done:
                    if state["phase"] == phase and move[0] in ("declare", "play"):
                        return player, state
                    await player.act(state)

    async def refused_with(self, player, send, what):
        """A refused action: an error and a fresh phase_change to the sender."""
        player.expect_errors = True
        await self.heard(player, 0.1)
        send()
        seen = {}
        deadline = ws.now() + 3
        while len(seen) < 2 and ws.now() < deadline:
            try:
                event, data = await self.next(player, max(0.01, deadline - ws.now()))
            except client.Stalled:
                break
            if event in ("error", "phase_change"):
                seen[event] = data
        must("error" in seen, f"{what}: no error; came {list(seen)}")
        must("phase_change" in seen, f"{what}: no fresh phase_change with the error", seen["error"])
        player.expect_errors = False
        return seen["phase_change"]

    async def refused_declarations(self):
        players = await self.game(4)
        first, state = await self.mover(players, "declaration")
        others = [player for player in players if player is not first]
        for other in others:
            after = await self.refused_with(
                other, lambda other=other: other.send("declare", {"value": 1, "player_name": other.name}), "declare out of turn")
            must(after["phase_data"]["declarations"] == {}, "a declaration out of turn counted", after)
        await self.refused_with(
            first, lambda: first.send("play", {"piece_indices": [0], "player_name": first.name, "play_value": 1}), "play in declaration")
        for value in (2, 2, 2):
            mover, state = await self.mover(players, "declaration")
            mover.done.add(mover.my_move(state))
            mover.send("declare", {"value": value, "player_name": mover.name})
        last, state = await self.mover(players, "declaration")
        must(len(state["phase_data"]["declarations"]) == 3, "not the last declarer", state)
        after = await self.refused_with(
            last, lambda: last.send("declare", {"value": 2, "player_name": last.name}), "a sum of 8")
        must(len(after["phase_data"]["declarations"]) == 3, "a sum of 8 counted", after)
        last.send("declare", {"value": 3, "player_name": last.name})
        last.done.add(last.my_move(state))
        # A double click: the second is nothing, and is not answered.
        last.send("declare", {"value": 3, "player_name": last.name})
        mover, state = await self.mover(players, "turn")
        must(state["players"][last.name]["declared"] == 3, "the declaration is lost", state)

    async def refused_plays(self):
        players = await self.game(4)
        starter, state = await self.mover(players, "turn")
        name = starter.name
        def plays(player, indices):
            return lambda: player.send("play", {"piece_indices": indices, "player_name": player.name, "play_value": 1})
        for indices, what in (([8], "an index out of the hand"), ([0, 31], "one index of two out of the hand")):
            after = await self.refused_with(starter, plays(starter, indices), what)
            must(after["phase_data"]["turn_plays"] == {}, f"{what} was played", after)
        hand = starter.own_hand(state)
        invalid = next(([a, b] for a in range(8) for b in range(a) if hand[a] != hand[b]), None)
        await self.refused_with(starter, plays(starter, invalid), "an invalid opening")
        await self.refused_with(starter, lambda: starter.send("declare", {"value": 1, "player_name": name}), "declare in a turn")
        other = next(player for player in players if player is not starter)
        await self.refused_with(other, plays(other, [0]), "play out of turn")
        starter.done.add(starter.my_move(state))
        plays(starter, [0])()
        plays(starter, [0])()  # A double click.
        follower, state = await self.mover(players, "turn")
        must(list(state["phase_data"]["turn_plays"]) == [name], "the double click was played", state)
        must(state["players"][name]["hand_size"] == 7, "the double click cost a piece", state)
        await self.refused_with(follower, plays(follower, [0, 1]), "a wrong count")
        for _ in range(3):
            mover, state = await self.mover(players, "turn")
            mover.done.add(mover.my_move(state))
            plays(mover, [0])()
        # The 4th player's name stays as current_player; nobody is asked for anything, and a late tap is nothing.
        plays(mover, [0])()
        deadline = ws.now() + 5
        while True:
            must(ws.now() < deadline, "no turn_complete")
            event, data = await mover.next(5)
            must(event != "error", "a late tap is answered with an error", data)
            if event == "phase_change" and len(data["phase_data"].get("turn_plays", ())) == 4:
                must(data["phase_data"]["turn_complete"] is True, "four plays, and the turn is not complete", data)
                must(data["allowed_actions"] == [], "four plays, and somebody is asked for one more", data)
                must(data["players"][mover.name]["hand_size"] == 7, "the late tap cost a piece", data)
            if event == "turn_complete":
                break

    async def state_on_request(self):
        (player,) = await self.game()
        await player.wait_for("phase_change")
        player.send("request_state_sync")
        await player.wait_for("phase_change", timeout=3)
        player.send("request_recovery", {"from_sequence": 1, "to_sequence": 9})
        seen = {event: data for event, data in await self.heard(player, 1.0)}
        must("recovery_response" in seen, f"no recovery_response; came {list(seen)}")
        must("phase_change" in seen, f"no phase_change to request_recovery; came {list(seen)}")

    async def page_change_is_no_leaving(self):
        """At the start everybody's socket is closed and opened anew: no take-over, no change of host, no toast."""
        players, crowd = await client.set_up_game(
            self.options.url, self.report, humans=3, pace=self.options.pace, patience=10.0, watchers=1)
        await asyncio.gather(*(player.wait_for_start() for player in players))
        for event, data in await self.heard(crowd[0], 3.5):
            must(event not in ("player_disconnected", "host_changed", "player_reconnected", "room_closed"), f"{event} at the start", data)
            if event == "phase_change":
                bots = [name for name, player in data["players"].items() if player["is_bot"]]
                must(len(bots) == 1, f"bots are {bots}", data)

    async def takeover_is_announced(self):
        """A host who goes: bot, toast, another host; his return is told too, and the host stays the other."""
        host, guest = await self.game(2)
        await guest.wait_for("phase_change")
        host.socket.vanish()
        seen = {}
        deadline = ws.now() + 8
        while len(seen) < 2:
            must(ws.now() < deadline, f"only {list(seen)} in 8 s")
            event, data = await guest.next(8)
            await guest.act(data) if event == "phase_change" else None
            if event in ("player_disconnected", "host_changed"):
                seen[event] = data
        must(seen["player_disconnected"]["player_name"] == host.name, "of whom?", seen["player_disconnected"])
        must(seen["host_changed"]["new_host"] == guest.name, "who?", seen["host_changed"])
        await host.open_game()
        _, data = await host.wait_for("phase_change")
        must(data["players"][host.name]["is_bot"] is False, "still a bot", data)
        deadline = ws.now() + 5
        while True:
            must(ws.now() < deadline, "no player_reconnected")
            event, data = await guest.next(5)
            await guest.act(data) if event == "phase_change" else None
            if event == "player_reconnected":
                break
        must(data["player_name"] == host.name, "of whom?", data)

    async def after_the_end(self):
        """A reload on the result screen shows it again; who left it in order is sent home."""
        stays, reloads, leaves = await self.game(3)
        stays.pace = 1.0
        async def to_the_end(player):
            await player.play_on()
        await asyncio.gather(*(to_the_end(player) for player in (stays, reloads, leaves)))
        reloads.socket.vanish()
        await reloads.open_game()
        event, data = await reloads.wait_for("phase_change", "room_not_found", "room_closed")
        must(event == "phase_change" and data["phase"] == "game_over", f"a reload on the result screen gets {event}", data)
        await leaves.leave_page()
        await leaves.open_game()
        event, data = await leaves.wait_for("phase_change", "room_not_found", "room_closed")
        must(event == "room_not_found", f"who left the result screen and comes back gets {event}", data)
        must(await stays.is_alive(), "the socket of the one who stays is gone")

    async def nameless_return(self):
        """client_ready without a name: the cookie alone may restore the seat, or the socket watches without a hand."""
        (player,) = await self.game()
        await player.wait_for("phase_change")
        name = player.name
        stranger = self.person()
        stranger.seated, stranger.room_id = False, player.room_id
        await stranger.open(player.room_id)
        stranger.send("client_ready", {"room_id": player.room_id, "is_reconnection": False})
        _, data = await stranger.wait_for("phase_change")  # Judged as a watcher's: no hands.
        must(name in data["players"], "another game", data)

    async def http(self):
        """Pages of the client's own routes lead back into the app; health is told."""
        for path in ("/lobby", "/room/ABCDEF", "/game/ABCDEF", "/tutorial"):
            status, headers, body = await ws.get(self.options.url, path)
            named = dict(headers)
            fine = status == 200 and b"<html" in body.lower() or status in (302, 303, 307, 308) and named.get("location")
            must(fine, f"GET {path} answers {status} {body[:100]!r}")
        status, _, body = await ws.get(self.options.url, "/api/health")
        must(status == 200 and "status" in json.loads(body), f"/api/health answers {status} {body[:200]!r}")


STORIES = [name for name in vars(Stories) if not name.startswith("_")
           and name not in ("person", "next", "room", "game", "heard", "error_to", "mover", "refused_with")]


async def main(options, report):
    stories = Stories(options, report)
    for name in STORIES:
        if options.only and options.only not in name:
            continue
        before = sum(report.violations.values())
        try:
            async with asyncio.timeout(180):
                await getattr(stories, name)()
        except (Wrong, client.Stalled, client.Gone, ws.Closed, ws.ServerFault, ws.Refused, TimeoutError, OSError) as fault:
            report.violation(name, f"{name}: {type(fault).__name__} {fault}")
        print("PASS" if sum(report.violations.values()) == before else "FAIL", name, flush=True)


if __name__ == "__main__":
    parser = client.arguments(argparse.ArgumentParser(description=__doc__.split("\n")[0]))
    parser.add_argument("--only", help="only the stories whose name holds this word")
    client.run(main, parser.parse_args())
