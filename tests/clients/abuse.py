#!/usr/bin/env python3
"""Behaves badly in every way the protocol has an answer for, while normal games run beside it and must not notice.

    abuse.py --url http://127.0.0.1:8000

Each kind of abuse prints PASS or FAIL and what was seen. `--only WORD` runs the kinds whose name holds the word.
Exit code: 0 all as it must be, 1 not, 2 no server.
"""

import argparse
import asyncio
import json
import random
import socket
import struct

import client
import play_game
import ws

PREFIX = "Invalid message: "
BOUND = 8 * 1024
"""The longest frame a client may send."""


def text(message, rest=None):
    return json.dumps({"event": message, "data": {} if rest is None else rest})


class Abuse:
    def __init__(self, options, report):
        self.options, self.report = options, report
        self.url = options.url
        self.failed = []
        self.rng = random.Random(options.seed)

    async def socket(self, page="lobby", **kwargs):
        browser = client.Browser(self.url, cookies=False)
        return await browser.open(f"/ws/{page}", self.report, **kwargs)

    async def seated(self):
        """A host alone in his room with three bots, not started."""
        host = client.Client(client.Browser(self.url, cookies=False), client.fresh_name("A"), self.report)
        await host.open_lobby()
        await host.create_room()
        await host.open_room()
        host.expect_errors = True
        return host

    def fail(self, kind, reason):
        self.failed.append(kind)
        print(f"  FAIL {kind}: {reason}", flush=True)
        self.report.violation(kind, f"{kind}: {reason}")

    async def frames_until_pong(self, sock, timeout=5.0):
        """All frames up to the answer of a ping: the socket lives. Raises TimeoutError or Closed."""
        stamp = self.rng.randrange(1 << 40)
        sock.send_text(text("ping", {"timestamp": stamp}))
        frames = []
        while True:
            frame = json.loads(await sock.recv(timeout))
            if frame["event"] == "pong" and frame["data"].get("timestamp") == stamp:
                return frames
            frames.append(frame)

    # One frame that must be answered by an error.

    async def expect_error(self, kind, sock, payload, message, binary=False):
        """`message`: the text after the prefix, a tuple of which all must occur, or None for any error."""
        sock.send_frame(ws.BINARY if binary else ws.TEXT, payload if type(payload) is bytes else payload.encode())
        shown = payload[:120]
        try:
            frames = await self.frames_until_pong(sock)
        except TimeoutError:
            return self.fail(kind, f"{shown!r}: a dead open socket")
        except ws.Closed as end:
            return self.fail(kind, f"{shown!r}: closed with {end.code} {end.reason}")
        errors = [frame["data"] for frame in frames if frame["event"] == "error"]
        if len(errors) != 1:
            return self.fail(kind, f"{shown!r}: {len(errors)} errors: {frames}")
        error = errors[0]
        if message is not None:
            parts = message if type(message) is tuple else (PREFIX + message,)
            for part in parts:
                if part not in error["message"] or type(message) is str and error["message"] != part:
                    return self.fail(kind, f"{shown!r}: message {error['message']!r}, must be {parts}")
            if error.get("type") != "validation_error":
                return self.fail(kind, f"{shown!r}: type is {error.get('type')!r}")
        return None

    async def validation_rules(self):
        kind = "validation rules"
        lobby = await self.socket()
        lobby.send_text(text("client_ready", {"room_id": "lobby", "is_reconnection": False}))
        host = await self.seated()
        room = host.socket
        bad_names = [
            ({}, "Player name is required"), ({"player_name": None}, ("Invalid message: Player name",)),
            ({"player_name": 5}, "Player name must be a string"), ({"player_name": ["a"]}, "Player name must be a string"),
            ({"player_name": True}, "Player name must be a string"), ({"player_name": ""}, "Player name cannot be empty"),
            ({"player_name": "   "}, "Player name cannot be empty"), ({"player_name": "\u3000\t"}, ("Invalid message: Player name",)),
            ({"player_name": "x" * 51}, "Player name too long"),
        ] + [({"player_name": f"a{bad}b"}, "Player name contains invalid characters") for bad in "<>&\"'\r\n"]
        cases = [
            (lobby, "[]", "Message must be a dictionary"), (lobby, "5", "Message must be a dictionary"),
            (lobby, '"x"', "Message must be a dictionary"), (lobby, "null", "Message must be a dictionary"),
            (lobby, "{}", "Message must contain 'event' field"),
            (lobby, '{"event":5}', "Event name must be a string"), (lobby, '{"event":null}', ("Invalid message: ",)),
            (lobby, json.dumps({"event": "x" * 101}), "Event name too long"),
            (lobby, '{"event":"get_rooms","data":[]}', "Event data must be a dictionary"),
            (lobby, '{"event":"get_rooms","data":"x"}', "Event data must be a dictionary"),
            (lobby, '{"event":"fly"}', "Unknown event type: fly"), (lobby, '{"event":""}', ("Invalid message: ",)),
        ]
        for data, message in bad_names:
            cases.append((lobby, text("create_room", data), message))
            cases.append((lobby, text("join_room", {"room_id": "ABCDEF", **data}), message))
        for data, message in (
            ({}, "Room ID is required"), ({"room_id": 5}, "Room ID must be a string"), ({"room_id": ""}, "Room ID cannot be empty"),
            ({"room_id": "x" * 51}, "Room ID too long"), ({"room_id": "<AB>"}, "Room ID contains invalid characters"),
        ):
            cases.append((lobby, text("join_room", {"player_name": "Jon", **data}), message))
        me = {"player_name": host.name}
        for data, message in (
            ({}, "Declaration value is required"), ({"value": "3"}, "Declaration value must be an integer"),
            ({"value": 2.5}, "Declaration value must be an integer"), ({"value": True}, "Declaration value must be an integer"),
            ({"value": 9}, "Declaration value must be between 0 and 8"), ({"value": -1}, "Declaration value must be between 0 and 8"),
            ({"value": 10 ** 30}, ("Declaration value",)), ({"value": [1]}, "Declaration value must be an integer"),
        ):
            cases.append((room, text("declare", me | data), message))
        for data, message in (
            ({}, None), ({"piece_indices": 3}, None), ({"piece_indices": "0"}, None), ({"piece_indices": {}}, None),
            ({"piece_indices": []}, "Must select at least one piece"),
            ({"piece_indices": [0, 1, 2, 3, 4, 5, 6]}, "Cannot play more than 6 pieces at once"),
            ({"piece_indices": [32]}, "Piece index 32 out of valid range"), ({"piece_indices": [-1]}, "Piece index -1 out of valid range"),
            ({"piece_indices": [1, 1]}, "Duplicate piece index: 1"), ({"piece_indices": ["0"]}, None),
            ({"piece_indices": [True]}, None), ({"piece_indices": [0.5]}, None), ({"piece_indices": [None]}, None),
            ({"piece_indices": [[0]]}, None), ({"piece_indices": [10 ** 30]}, None),
        ):
            cases.append((room, text("play", me | data), message if message else ("Invalid message: ",)))
        for event in ("add_bot", "remove_player"):
            for data, message in (
                ({}, "Slot ID is required"), ({"slot_id": "two"}, "Slot ID must be a number"), ({"slot_id": [1]}, "Slot ID must be a number"),
                ({"slot_id": True}, "Slot ID must be a number"), ({"slot_id": 0}, "Slot ID must be between 1 and 4"),
                ({"slot_id": 5}, "Slot ID must be between 1 and 4"), ({"slot_id": "5"}, "Slot ID must be between 1 and 4"),
                ({"slot_id": -3}, "Slot ID must be between 1 and 4"), ({"slot_id": 1.5}, "Slot ID must be a number"),
            ):
                cases.append((room, text(event, data), message))
        for sock, payload, message in cases:
            await self.expect_error(kind, sock, payload, message)
            if sock.end is not None:
                break  # Said above already; the rest cannot be asked any more.
        # And what is valid although it looks odd.
        room.send_text(text("remove_player", {"slot_id": "4"}))
        frames = await self.frames_until_pong(room)
        if not any(frame["event"] == "room_update" and frame["data"]["players"][3] is None for frame in frames):
            self.fail(kind, f"slot_id as a numeric string was not taken: {frames}")
        lobby.send_text(text("create_room", {"player_name": "  Padded  "}))
        frames = await self.frames_until_pong(lobby)
        created = [frame["data"] for frame in frames if frame["event"] == "room_created"]
        if not created or created[0]["host_name"] != "Padded":
            self.fail(kind, f"outer blanks of a name are not trimmed: {frames}")
        lobby.vanish()
        room.vanish()
        return f"{len(cases)} cases"

    async def names_taken(self):
        """A name that is in the room already is refused, also with other blanks around it."""
        kind = "names taken"
        host = await self.seated()
        host.send("remove_player", {"slot_id": 4})
        await host.wait_for("room_update")
        lobby = await self.socket()
        for name in (host.name, f" {host.name} ", "Bot 2"):
            lobby.send_text(text("join_room", {"room_id": host.room_id, "player_name": name}))
            frames = await self.frames_until_pong(lobby)
            if not any(frame["event"] == "error" and frame["data"].get("type") == "join_room_error" for frame in frames):
                self.fail(kind, f"{name!r} could join where it sits already: {frames}")
        for room_id, must in (("000000", "Room not found"), ("nonsense", "Room not found")):
            lobby.send_text(text("join_room", {"room_id": room_id, "player_name": "Zoe"}))
            frames = await self.frames_until_pong(lobby)
            errors = [frame["data"] for frame in frames if frame["event"] == "error"]
            if not errors or errors[0].get("type") != "join_room_error" or must not in errors[0]["message"]:
                self.fail(kind, f"join_room {room_id}: {frames}")
        host.send("start_game")
        frames = await self.frames_until_pong(host.socket)
        if not any(frame["event"] == "error" and "Failed to start game" in frame["data"]["message"] for frame in frames):
            self.fail(kind, f"start_game with a free seat: {frames}")
        host.send("add_bot", {"slot_id": 4})
        frames = await self.frames_until_pong(host.socket)
        lobby.send_text(text("join_room", {"room_id": host.room_id, "player_name": "Zoe"}))
        frames = await self.frames_until_pong(lobby)
        if not any(frame["event"] == "error" and "Room is full" in frame["data"]["message"] for frame in frames):
            self.fail(kind, f"joining a full room: {frames}")
        for slot in (1, 2):
            host.send("add_bot", {"slot_id": slot})
            frames = await self.frames_until_pong(host.socket)
            if slot == 1 and not any(frame["event"] == "error" for frame in frames):
                self.fail(kind, f"a bot on the host's own seat: {frames}")
        host.send("get_room_state")
        _, state = await host.wait_for("room_update")
        if state["players"][0]["name"] != host.name:
            self.fail(kind, f"the host has lost his seat to a bot: {state}")
        lobby.vanish()
        host.socket.vanish()
        return ""

    async def malformed_json(self):
        """An error, or a close with 1003 or 1007; never a dead open socket."""
        kind = "malformed JSON"
        payloads = [
            b"", b"{", b"}", b"{'event':'ping'}", b"hello", b"\x00", b'{"event":"ping",}', b"[" * 4000, b'{"a":' * 1500,
            b"NaN", b'{"event":"ping"} trailing', b'{"event":"\\ud800"}', b"1e999999", b"-", b'"', b"\xef\xbb\xbf{}",
            b'{"event":"ping","event":5}', b'{"event":"get_rooms","data":' + b"[" * 3000 + b"]" * 3000 + b"}", b"9" * 5000,
        ]
        seen = {}
        for page in ("lobby", "room"):
            for payload in payloads:
                sock = await self.socket() if page == "lobby" else (await self.seated()).socket
                sock.send_frame(ws.TEXT, payload)
                try:
                    frames = await self.frames_until_pong(sock)
                    errors = [frame for frame in frames if frame["event"] == "error"]
                    if len(errors) != 1:
                        self.fail(kind, f"{page}: {payload[:60]!r}: {len(errors)} errors: {frames[:3]}")
                    seen["error"] = seen.get("error", 0) + 1
                except TimeoutError:
                    self.fail(kind, f"{page}: {payload[:60]!r}: a dead open socket")
                except ws.Closed as end:
                    seen[end.code] = seen.get(end.code, 0) + 1
                    if end.code not in (1003, 1007):
                        self.fail(kind, f"{page}: {payload[:60]!r}: closed with {end.code}")
                sock.vanish()
        return f"answers: {seen}"

    async def no_utf8(self):
        kind = "text that is no UTF-8"
        for payload in (b"\xff", b'{"event":"\xc3\x28"}', b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"):
            await self.expect_close(kind, ws.encode(ws.TEXT, payload), {1007})
        return ""

    async def binary_frames(self):
        """Refused clearly: an error, or a close with 1003."""
        kind = "binary frames"
        seen = set()
        for payload in (b"", b"\x00" * 100, text("get_rooms").encode()):
            sock = await self.socket()
            sock.send_frame(ws.BINARY, payload)
            try:
                frames = await self.frames_until_pong(sock)
                if not any(frame["event"] == "error" for frame in frames):
                    self.fail(kind, f"{payload[:40]!r} was passed over in silence: {frames}")
                seen.add("error")
            except TimeoutError:
                self.fail(kind, f"{payload[:40]!r}: a dead open socket")
            except ws.Closed as end:
                seen.add(end.code)
                if end.code != 1003:
                    self.fail(kind, f"{payload[:40]!r}: closed with {end.code}")
            sock.vanish()
        return f"answers: {sorted(map(str, seen))}"

    async def expect_close(self, kind, raw, codes, timeout=10.0):
        """Raw bytes that must end the connection with one of these codes."""
        sock = await self.socket()
        sock.transport.write(raw)
        try:
            while True:
                await sock.recv(timeout)
        except TimeoutError:
            self.fail(kind, f"{raw[:20]!r}…: still open after {timeout} s")
        except ws.Closed as end:
            if end.code not in codes:
                self.fail(kind, f"{raw[:20]!r}…: closed with {end.code} {end.reason}, must be {sorted(codes)}")
        except ws.ServerFault as fault:
            self.fail(kind, f"{raw[:20]!r}…: {fault}")
        sock.transport.abort()

    async def broken_frames(self):
        """What breaks the WebSocket standard ends the connection with 1002."""
        kind = "broken frames"
        ping = text("ping", {"timestamp": 1}).encode()
        for raw in (
            ws.encode(ws.TEXT, ping, masked=False), ws.encode(ws.TEXT, ping, reserved=4), ws.encode(3, ping),
            ws.encode(11, b""), ws.encode(ws.PING, b"x" * 126), ws.encode(ws.PING, b"", final=False),
            ws.encode(ws.CONTINUATION, ping), ws.encode(ws.TEXT, ping, final=False) + ws.encode(ws.TEXT, ping),
            ws.encode(ws.CLOSE, b"x"), ws.encode(ws.CLOSE, struct.pack(">H", 1005)),
        ):
            await self.expect_close(kind, raw, {1002})
        # Parts are allowed, also with a ping between them.
        sock = await self.socket()
        half = len(ping) // 2
        sock.send_frame(ws.TEXT, ping[:half], final=False)
        sock.send_frame(ws.PING, b"between")
        sock.send_frame(ws.CONTINUATION, ping[half:])
        try:
            while json.loads(await sock.recv(5.0))["event"] != "pong":
                pass
        except (TimeoutError, ws.Closed) as fault:
            self.fail(kind, f"a message in parts with a ping between: {fault!r}")
        sock.vanish()
        return ""

    async def huge_frames(self):
        kind = "huge frames"
        million = b"x" * (1 << 20)
        await self.expect_close(kind, ws.encode(ws.TEXT, million), {1009})
        await self.expect_close(kind, ws.encode(ws.BINARY, million), {1009})
        await self.expect_close(kind, ws.encode(ws.TEXT, b"x" * (BOUND + 1)), {1009})
        # Announced only: nothing may be kept ready for it.
        await self.expect_close(kind, bytes([0x81, 0xFF]) + struct.pack(">Q", 1 << 20) + b"mask", {1009})
        await self.expect_close(kind, bytes([0x81, 0xFF]) + struct.pack(">Q", (1 << 63) - 1) + b"mask", {1009, 1002})
        parts = ws.encode(ws.TEXT, b"x" * 4000, final=False) + ws.encode(ws.CONTINUATION, b"x" * 4000, final=False) * 300
        await self.expect_close(kind, parts, {1009})
        # The longest that is allowed.
        sock = await self.socket()
        filler = BOUND - len(text("ping", {"timestamp": 7, "x": ""}))
        sock.send_text(text("ping", {"timestamp": 7, "x": "y" * filler}))
        try:
            frame = json.loads(await sock.recv(5.0))
            if frame["event"] != "pong":
                self.fail(kind, f"{BOUND} bytes: {frame}")
        except (TimeoutError, ws.Closed) as fault:
            self.fail(kind, f"a ping of {BOUND} bytes, the longest allowed: {fault!r}")
        sock.vanish()
        return ""

    async def flood(self):
        """10,000 messages a second from one socket."""
        kind = "flood"
        host = await self.seated()
        sock = host.socket
        forms = [text("ping", {"timestamp": 1}), text("get_room_state"), "nonsense", text("declare", {"value": 3})]
        frames = [ws.encode(ws.TEXT, form.encode()) for form in forms]
        sent, began, end, answers = 0, ws.now(), None, {}
        while ws.now() - began < self.options.flood_seconds and end is None:
            due = int((ws.now() - began) * self.options.flood_rate) - sent
            if due > 0 and sock.transport.get_write_buffer_size() < 1 << 20:
                sock.transport.write(b"".join(self.rng.choice(frames) for _ in range(due)))
                sent += due
            try:
                while True:
                    frame = json.loads(await sock.recv(0.002))
                    answers[frame["event"]] = answers.get(frame["event"], 0) + 1
            except TimeoutError:
                pass
            except ws.Closed as closed:
                end = closed
        seconds = ws.now() - began
        if end is None:
            try:
                await self.frames_until_pong(sock, 20.0)
            except TimeoutError:
                self.fail(kind, "a dead open socket after the flood")
            except ws.Closed as closed:
                end = closed
        if end is not None and end.code not in (1008, 1013):
            self.fail(kind, f"closed with {end.code} {end.reason}")
        sock.transport.abort()
        return f"{sent} messages in {seconds:.1f} s, {'closed with %s' % end.code if end else 'left open'}, answers {answers}"

    async def half_open(self):
        """TCP connections that say nothing, or half a request, and stay. They must be dropped; others get in. They come
        from twenty addresses, so that a cap per address is not what stops them."""
        kind = "half-open handshakes"
        host, port, _ = ws.address(self.url)
        beginnings = [b"", b"G", b"GET /ws/lobby HTTP/1.1\r\n", b"GET /ws/lobby HTTP/1.1\r\nHost: x\r\nUpgrade: webs"]
        loop = asyncio.get_running_loop()
        held, refused = [], 0
        began = ws.now()
        for index in range(self.options.half_open):
            sock = socket.socket()
            sock.setblocking(False)
            try:
                if host == "127.0.0.1":
                    sock.bind((f"127.0.1.{1 + index % 20}", 0))
                async with asyncio.timeout(5):
                    await loop.sock_connect(sock, (host, port))
                sock.send(beginnings[index % 4])
                held.append(sock)
            except (OSError, TimeoutError):
                sock.close()
                refused += 1
        opened = ws.now() - began
        slowest = 0.0
        # A normal visitor in between.
        for _ in range(5):
            start = ws.now()
            try:
                fine = await self.socket()
                await self.frames_until_pong(fine)
                fine.vanish()
            except (OSError, TimeoutError, ws.Closed, ws.Refused) as fault:
                self.fail(kind, f"a visitor cannot connect while {len(held)} handshakes hang: {fault!r}")
            slowest = max(slowest, ws.now() - start)
        deadline = ws.now() + self.options.header_deadline
        left = list(held)
        while left and ws.now() < deadline:
            await asyncio.sleep(0.5)
            left = [sock for sock in left if self.still_open(sock)]
        took = ws.now() - began
        if left:
            self.fail(kind, f"{len(left)} of {len(held)} still open after {took:.0f} s")
        for sock in held:
            sock.close()
        return (f"{len(held)} held, {refused} refused (in {opened:.1f} s), slowest visitor {slowest * 1000:.0f} ms, "
                f"{len(held) - len(left)} dropped after {took:.0f} s")

    @staticmethod
    def still_open(sock):
        try:
            while data := sock.recv(4096):
                del data  # A 408 may come first.
            return False
        except BlockingIOError:
            return True
        except OSError:
            return False

    async def never_reads(self):
        """Readers that ask and never read must be closed with 1013, and may come back to their seat."""
        kind = "readers that never read"
        seen = {}
        for _ in range(self.options.bad_readers):
            host = await self.seated()
            host.send("start_game")
            await host.wait_for("game_started")
            await host.leave_page()
            await host.open(host.room_id, receive_buffer=2048)
            host.say_ready()
            sock = host.socket
            sock.transport.pause_reading()
            asks = [ws.encode(ws.TEXT, text("request_state_sync").encode())] * 50
            began = ws.now()
            while ws.now() - began < self.options.reader_seconds and not sock.transport.is_closing():
                if sock.transport.get_write_buffer_size() < 1 << 16:
                    sock.transport.write(b"".join(asks))
                await asyncio.sleep(0.05)
                if ws.now() - began > 2 and sock.transport.get_write_buffer_size() >= 1 << 16:
                    break  # The server takes no more from us: its own answers are stuck.
            await asyncio.sleep(3)
            sock.transport.resume_reading()
            try:
                while True:
                    await sock.recv(20.0)
            except TimeoutError:
                seen["open"] = seen.get("open", 0) + 1
                self.fail(kind, "still open and served, although it did not read")
            except ws.Closed as end:
                seen[end.code] = seen.get(end.code, 0) + 1
                if end.code != 1013:
                    self.fail(kind, f"closed with {end.code} {end.reason}, must be 1013")
            sock.transport.abort()
            host.view = None
            await host.open_game()
            event, _ = await host.wait_for("phase_change", "room_not_found", "room_closed")
            if event != "phase_change":
                self.fail(kind, f"the seat is lost: {event}")
            host.socket.vanish()
        return f"closes: {seen}"

    async def storm(self):
        """The existing client's recovery after a lost server: 40 sockets in 2 s, client_ready without a name."""
        kind = "reconnection storm"
        host = await self.seated()
        for room_id, must in ((host.room_id, None), ("ABC123", "room_not_found")):
            for _ in range(40):
                try:
                    sock = await self.socket(room_id)
                    sock.send_text(text("client_ready", {"room_id": room_id, "is_reconnection": False}))
                    frames = await self.frames_until_pong(sock)
                    if must and not any(frame["event"] == must for frame in frames):
                        self.fail(kind, f"no {must} for a room that is gone: {frames}")
                    sock.vanish()
                except (TimeoutError, ws.Closed, ws.Refused) as fault:
                    self.fail(kind, f"{room_id}: {fault!r}")
                await asyncio.sleep(0.05)
        if not await host.is_alive():
            self.fail(kind, "the host was thrown out")
        host.socket.vanish()
        return ""

    async def not_our_paths(self):
        """Odd paths and upgrade requests get an HTTP answer, not a hang."""
        kind = "odd upgrade requests"
        statuses = {}
        for path in ("/ws/", "/ws", "/ws/lobby/x", "/ws/%00", "/ws/" + "A" * 5000, "/other"):
            try:
                sock = await ws.connect(self.url, path, timeout=5)
                frames = await self.frames_until_pong(sock)
                statuses[path[:12]] = f"101, {[frame['event'] for frame in frames]}"
                sock.vanish()
            except ws.Refused as no:
                statuses[path[:12]] = no.status
                if no.status >= 500:
                    self.fail(kind, f"{path[:40]} answers {no.status}")
            except (TimeoutError, OSError, ws.Closed) as fault:
                self.fail(kind, f"{path[:40]}: {fault!r}")
        try:
            await ws.connect(self.url, "/ws/lobby", [("Origin", "https://evil.example")])
            self.fail(kind, "a foreign origin was let in")
        except ws.Refused as no:
            statuses["foreign origin"] = no.status
            if no.status != 403:
                self.fail(kind, f"a foreign origin is refused with {no.status}, not 403")
        status, _, _ = await ws.get(self.url, "/ws/lobby")
        statuses["no upgrade"] = status
        return f"{statuses}"


KINDS = [
    "validation_rules", "names_taken", "malformed_json", "no_utf8", "binary_frames", "broken_frames", "huge_frames",
    "not_our_paths", "storm", "flood", "never_reads", "half_open",
]


async def main(options, report):
    abuse = Abuse(options, report)
    calm = client.Report()
    stop = asyncio.Event()

    async def normal_games():
        """One table of four, always; its pings are the measure."""
        game = argparse.Namespace(
            url=options.url, pace=options.pace, patience=options.patience, humans=4, cookies="yes", entropy=False, watchers=0,
            think=0.02, tap=False,
        )
        while not stop.is_set():
            try:
                await play_game.one_game(game, calm, None)
            except* (client.Stalled, client.Gone, ws.Closed, ws.ServerFault, ws.Refused, TimeoutError, OSError) as faults:
                for fault in faults.exceptions:
                    calm.violation("a normal game", f"unfinished: {type(fault).__name__} {fault}")
                await asyncio.sleep(1)

    games = asyncio.create_task(normal_games())
    await asyncio.sleep(3)
    for name in KINDS:
        if options.only and options.only not in name:
            continue
        calm.times.pop("ping to pong", None)
        failures = len(abuse.failed)
        try:
            async with asyncio.timeout(options.kind_timeout):
                seen = await getattr(abuse, name)()
        except (client.Stalled, client.Gone, ws.Closed, ws.ServerFault, ws.Refused, TimeoutError, OSError) as fault:
            abuse.fail(name, f"broke off: {type(fault).__name__} {fault}")
            seen = ""
        pings = sorted(calm.times.get("ping to pong", [0]))
        slow = f"normal game's slowest answer {pings[-1] * 1000:.0f} ms of {len(pings)}"
        print(f"{'PASS' if len(abuse.failed) == failures else 'FAIL'} {name}: {seen} [{slow}]", flush=True)
    stop.set()
    try:
        async with asyncio.timeout(300):
            await games
    except TimeoutError:
        report.violation("a normal game", "did not come to its end")
    print(f"normal games beside it: {calm.counts['games played']} played to the end, {sum(calm.violations.values())} violations")
    if calm.counts["games played"] == 0:
        report.violation("a normal game", "none was played to the end")
    for kind, count in calm.violations.items():
        who, reason, frame = calm.examples[kind]
        for _ in range(count):
            report.violation(who, "in a normal game: " + reason, frame)


if __name__ == "__main__":
    parser = client.arguments(argparse.ArgumentParser(description=__doc__.split("\n")[0]))
    parser.add_argument("--only", help="only the kinds whose name holds this word")
    parser.add_argument("--flood-rate", type=int, default=10000, help="messages a second")
    parser.add_argument("--flood-seconds", type=float, default=5.0)
    parser.add_argument("--half-open", type=int, default=2000, help="hanging handshakes")
    parser.add_argument("--header-deadline", type=float, default=60.0, help="seconds until they must be dropped")
    parser.add_argument("--bad-readers", type=int, default=3)
    parser.add_argument("--reader-seconds", type=float, default=20.0, help="how long they ask without reading")
    parser.add_argument("--kind-timeout", type=float, default=240.0)
    client.run(main, parser.parse_args())
