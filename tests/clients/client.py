"""The existing web client as the server sees it, without the screen: which sockets it opens, what it says on them and
when, what it keeps. Every frame it gets is held against the protocol and the rules (`frames.py`, `view.py`).
"""

import asyncio
import itertools
import json
import random
import re
import sys
import time
import uuid
from collections import Counter

import ws
from frames import PIECE_TEXT, Violation, check, rules
from view import Truth, View

LEAVING = "Client disconnect"


class Stalled(Exception):
    """Nothing came for too long."""


class Gone(Exception):
    """The room is not there any more."""


class Report:
    """Collects what went wrong and what was measured; one for a run."""

    def __init__(self, frames_file=None):
        self.violations = Counter()
        self.examples = {}
        self.counts = Counter()
        self.times = {}
        self.frames_file = open(frames_file, "w", encoding="utf-8") if frames_file else None

    def violation(self, who, reason, frame=""):
        # Numbers and names differ from case to case; the same fault is shown once, with its count.
        kind = re.sub(r"'[^']*'|\"[^\"]*\"|\[[^\]]*\]|\([^)]*\)|\{[^}]*\}|-?\d+", "…", reason)[:90]
        self.violations[kind] += 1
        self.examples.setdefault(kind, (who, reason, frame))
        if self.frames_file:
            print(json.dumps({"who": who, "reason": reason, "frame": frame}), file=self.frames_file, flush=True)

    def time(self, name, seconds):
        self.times.setdefault(name, []).append(seconds)

    def finish(self):
        """Prints everything; returns the exit code."""
        for name, values in sorted(self.times.items()):
            values.sort()
            shown = " ".join(f"{label} {1000 * values[min(len(values) - 1, int(part * len(values)))]:.1f}"
                             for label, part in (("p50", 0.5), ("p99", 0.99), ("max", 1)))
            print(f"{name}: {shown} ms ({len(values)} times)")
        for name, count in sorted(self.counts.items()):
            print(f"{name}: {count}")
        for kind, count in self.violations.most_common():
            who, reason, frame = self.examples[kind]
            print(f"VIOLATION x{count} ({who}): {reason[:600]}")
            if frame:
                print(f"    frame: {frame if len(frame) <= 2500 else frame[:2500] + ' …'}")
        print("OK" if not self.violations else f"FAILED: {sum(self.violations.values())} violations")
        return 1 if self.violations else 0


SESSIONS = ("liap_session", "__Host-liap_session")
"""The session's cookie: by http or below a path, and by https at the root of a host."""


class Browser:
    """Cookies and how sockets are opened. Without cookies it is a client of another kind, which holds its seat by the
    `seat_token`."""

    def __init__(self, url, *, cookies=True):
        self.url = url.rstrip("/")
        self.keeps_cookies = cookies
        self.cookies = {}

    def headers(self):
        headers = []
        if self.keeps_cookies:
            # Only a browser sends an Origin.
            scheme = "https" if ws.security(self.url) else "http"
            headers.append(("Origin", "{}://{}:{}".format(scheme, *ws.address(self.url)[:2])))
            if self.cookies:
                headers.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items())))
        return headers

    def keep(self, headers):
        for name, value in headers:
            if name == "set-cookie" and self.keeps_cookies:
                pair, *attributes = [part.strip() for part in value.split(";")]
                cookie, _, content = pair.partition("=")
                if "max-age=0" in (attribute.lower() for attribute in attributes):
                    self.cookies.pop(cookie, None)
                    continue
                self.cookies[cookie] = content
                yield cookie, content, attributes

    def check_cookies(self, headers, report):
        for cookie, content, attributes in self.keep(headers):
            lower = [attribute.lower() for attribute in attributes]
            if cookie in SESSIONS:
                for must in ("httponly", "samesite=lax"):
                    if must not in lower:
                        report.violation("browser", f"{cookie} without {must}: {attributes}")
                if not any(attribute.startswith("path=") for attribute in lower):
                    report.violation("browser", f"{cookie} without Path: {attributes}")
                if cookie.startswith("__Host-") and "path=/" not in lower:
                    report.violation("browser", f"a browser does not take {cookie}: {attributes}")
                if ("secure" in lower) != bool(ws.security(self.url)):
                    report.violation("browser", f"{cookie} must be Secure by https and only there: {attributes}")
                if len(content) < 22:
                    report.violation("browser", f"{cookie} is shorter than 128 bits")

    async def load_page(self, report):
        """What a browser does first. The page sets the session's cookie."""
        status, headers, body = await ws.get(self.url, "/", self.headers())
        self.check_cookies(headers, report)
        if status != 200:
            report.violation("browser", f"GET / answers {status}")
        return body

    async def open(self, path, report, **options):
        socket = await ws.connect(self.url, path, self.headers(), **options)
        self.check_cookies(socket.headers, report)
        if self.keeps_cookies and not any(name in self.cookies for name in SESSIONS):
            report.violation("browser", "neither the page nor the upgrade has set a session")
        return socket


class Client:
    """One person with one name: the lobby page, the room page and the game page."""

    def __init__(self, browser, name, report, *, truth=None, entropy=None, seed=None, pace=0.01, patience=30.0):
        self.browser, self.name, self.report = browser, name, report
        self.truth = truth or Truth()
        self.view = None
        self.entropy = entropy
        self.rng = random.Random(seed)
        self.pace, self.patience = pace, patience
        self.socket = None
        self.sequence = 0
        self.room_id = None
        self.seat_token = None
        self.seated = True
        self.done = set()
        self.last_phase = None
        self.pings = {}
        self.next_ping = 0.0
        self.think = 0.0
        self.expect_errors = False
        self.opened_at = 0.0

    # Frames.

    def send(self, event, data=None, **more):
        """A frame as the existing client words it."""
        self.sequence += 1
        frame = {"event": event, "data": data if data is not None else {}, "sequence": self.sequence}
        frame |= {"timestamp": int(time.time() * 1000), "id": str(uuid.uuid4())} | more
        self.socket.send_text(json.dumps(frame))

    async def next(self, timeout=None):
        """The next frame, checked: event and data. Raises `Stalled`, `ws.Closed`."""
        try:
            text = await self.socket.recv(timeout or self.patience)
        except TimeoutError:
            raise Stalled(f"{self.name}: nothing for {timeout or self.patience} s, last was {self.last_phase}") from None
        self.report.counts["frames checked"] += 1
        try:
            me = self.name if self.seated else None
            # A watcher's frame is every watcher's; once judged is enough.
            found = None if me else self.truth.texts.get(text)
            if found is None:
                found = check(text, me, self.truth.commitment)
                if not me:
                    if len(self.truth.texts) > 64:
                        self.truth.texts.clear()
                    self.truth.texts[text] = found
            event, data = found
        except Violation as fault:
            self.report.violation(self.name, str(fault), text)
            try:
                frame = json.loads(text)
                event, data = frame["event"], frame["data"]
            except (ValueError, KeyError, TypeError):
                event, data = "unreadable", {}
            if self.view:
                self.view.missed()
            if event == "phase_change":
                self.last_phase = data.get("phase")
            return event, data
        self.take(event, data, text)
        return event, data

    def take(self, event, data, text):
        if event == "pong":
            sent = self.pings.pop(data["timestamp"], None)
            if sent is None:
                self.report.violation(self.name, f"pong with a timestamp never sent: {data['timestamp']}", text)
            else:
                self.report.time("ping to pong", ws.now() - sent)
        elif event == "room_update":
            self.note_commitment(data, text)
        elif event == "error" and not self.expect_errors:
            self.report.violation(self.name, f"refused: {data['message']}", text)
        elif event == "phase_change":
            self.last_phase = data["phase"]
        if event in ("phase_change", "turn_complete", "recovery_response") and self.view:
            try:
                self.view.check(event, data)
            except Violation as fault:
                self.report.violation(self.name, f"{fault} [{data.get('phase')}]", text)
                self.view.missed()

    def note_commitment(self, data, text):
        found = data["deal_commitment"]
        if self.truth.commitment is None:
            self.truth.commitment = found
        elif self.truth.commitment != found and not data["started"]:
            self.report.violation(self.name, f"deal_commitment changed from {self.truth.commitment} to {found}", text)

    async def wait_for(self, *events, timeout=None):
        """Skips to the first of these events."""
        deadline = ws.now() + (timeout or self.patience)
        while True:
            event, data = await self.next(max(0.01, deadline - ws.now()))
            if event in events:
                return event, data

    def ping(self):
        stamp = int(time.time() * 1e6)
        self.pings[stamp] = ws.now()
        self.send("ping", {"timestamp": stamp})

    async def is_alive(self, timeout=5.0):
        """Whether the socket still answers."""
        self.ping()
        stamp = next(reversed(self.pings))
        deadline = ws.now() + timeout
        try:
            while stamp in self.pings:
                await self.next(max(0.01, deadline - ws.now()))
        except (Stalled, ws.Closed):
            return False
        return True

    async def open(self, page, **options):
        self.socket = await self.browser.open(f"/ws/{page}", self.report, **options)
        self.sequence = 0
        self.pings.clear()
        self.opened_at = ws.now()

    async def leave_page(self):
        """In-page navigation closes the socket with 1000."""
        if not await self.socket.close(1000, LEAVING):
            self.report.violation(self.name, "a close with 1000 was not answered in 5 s")

    # Lobby.

    async def open_lobby(self):
        await self.open("lobby")
        self.send("client_ready", {"room_id": "lobby", "is_reconnection": False})
        self.send("get_rooms")
        # Broadcasts for other people's doings may come between.
        answers = {}
        while len(answers) < 2:
            _, data = await self.wait_for("room_list_update")
            for kind in ("initial", "requested_by"):
                if data.get(kind):
                    answers[kind] = data["rooms"]
        return answers["requested_by"]

    async def create_room(self):
        self.send("create_room", {"player_name": self.name})
        event, data = await self.wait_for("room_created", "error")
        if event == "error":
            raise Gone(data["message"])
        self.seat_token = data["seat_token"]
        if data["host_name"] != self.name:
            self.report.violation(self.name, f"room_created: host_name is {data['host_name']!r}", json.dumps(data))
        self.room_id = data["room_id"]
        await self.leave_page()
        return self.room_id

    async def join_room(self, room_id):
        self.send("join_room", {"room_id": room_id, "player_name": self.name})
        event, data = await self.wait_for("room_joined", "error")
        if event == "error":
            raise Gone(data["message"])
        if data["room_id"] != room_id or data["player_name"] != self.name:
            self.report.violation(self.name, "room_joined of another room or player", json.dumps(data))
        self.room_id, self.seat_token = room_id, data["seat_token"]
        await self.leave_page()

    # Room.

    def say_ready(self):
        data = {"room_id": self.room_id, "player_name": self.name, "is_reconnection": False}
        if not self.browser.keeps_cookies and self.seat_token:
            data["seat_token"] = self.seat_token
        if self.entropy:
            data["entropy"] = self.entropy
        self.send("client_ready", data)

    async def open_room(self):
        """The room page; returns the first room_update."""
        self.view = View(self.name if self.seated else None, self.truth)
        if self.entropy:
            self.truth.entropy[self.name] = self.entropy
        await self.open(self.room_id)
        self.say_ready()
        self.send("get_room_state")
        event, data = await self.wait_for("room_update", "room_not_found", "room_closed")
        if event != "room_update":
            raise Gone(str(data))
        return data

    async def open_seats(self, count):
        """The host takes the bots away from the last `count` seats, for his friends."""
        for slot in range(4, 4 - count, -1):
            self.send("remove_player", {"slot_id": slot})
            while True:
                _, data = await self.wait_for("room_update")
                if data["players"][slot - 1] is None:
                    break

    async def wait_for_start(self):
        """From the room page to the game page: the room's socket is closed with 1000 and a new one opened."""
        await self.wait_for("game_started")
        await self.leave_page()
        await asyncio.sleep(self.rng.uniform(0.01, 0.1))
        await self.open_game()

    async def open_game(self):
        if self.view is None:
            self.view = View(self.name if self.seated else None, self.truth)
        self.view.missed()
        self.done.clear()
        await self.open(self.room_id)
        self.say_ready()

    # Game.

    async def play_on(self):
        """Plays until the game is over."""
        while True:
            event, data = await self.next()
            if event == "phase_change":
                await self.act(data)
                if data.get("phase") == "game_over":
                    return
            elif event == "room_closed":
                raise Gone(f"{self.name}: room_closed in the game: {data}")
            if self.next_ping < ws.now():
                self.next_ping = ws.now() + max(1.0, 30 * self.pace)
                self.ping()

    def my_move(self, data):
        """What the server now waits for from this player, as a key of the decision, or None."""
        phase, phase_data = data["phase"], data["phase_data"]
        if phase == "preparation" and self.name in phase_data.get("weak_players_awaiting", ()):
            return ("redeal", data["round"], phase_data["redeal_multiplier"])
        if phase == "declaration" and phase_data.get("current_declarer") == self.name:
            return ("declare", data["round"])
        if phase == "turn" and phase_data["current_player"] == self.name and self.name not in phase_data["turn_plays"]:
            return ("play", data["round"], phase_data["current_turn_number"])
        if phase == "scoring":
            return ("next", data["round"])
        return None

    async def act(self, data):
        if not self.seated:
            return
        move = self.my_move(data)
        if move is None or move in self.done:
            return
        self.done.add(move)
        if self.think:
            await asyncio.sleep(self.rng.uniform(0, self.think))
        self.report.counts[f"moves: {move[0]}"] += 1
        if move[0] == "redeal":
            self.send(self.rng.choice(["accept_redeal", "decline_redeal"]), {"player_name": self.name})
        elif move[0] == "declare":
            self.send("declare", {"value": self.choose_declaration(data), "player_name": self.name})
        elif move[0] == "play":
            indices = self.choose_play(data)
            self.send_play(data, indices)
        else:
            self.send("start_next_round")

    def send_play(self, data, indices):
        hand = data["players"][self.name]["hand"]
        pieces = [PIECE_TEXT[hand[index]] for index in indices]
        rest = [PIECE_TEXT[piece] for index, piece in enumerate(hand) if index not in indices]
        self.view.sent = (data["round"], pieces, rest)
        value = sum(rules.POINTS[piece] for piece in pieces)
        self.send("play", {"piece_indices": list(indices), "player_name": self.name, "play_value": value})

    def own_hand(self, data):
        return [PIECE_TEXT[piece] for piece in data["players"][self.name]["hand"]]

    def choose_declaration(self, data):
        """Strong pieces promise a pile each."""
        made = data["phase_data"]["declarations"]
        streak = data["players"][self.name]["zero_declares_in_a_row"]
        allowed = rules.allowed_declarations(sum(made.values()), len(made) == 3, streak)
        wish = sum(rules.POINTS[piece] >= 11 for piece in self.own_hand(data))
        return min(allowed, key=lambda value: (abs(value - wish), value))

    def choose_play(self, data):
        """Indices of a legal play: strong while piles are missing, weak afterwards. Good enough to reach 50 points."""
        hand, phase_data = self.own_hand(data), data["phase_data"]
        player = data["players"][self.name]
        missing = player["declared"] - phase_data["pile_counts"][self.name]
        count = phase_data["required_piece_count"]
        def points(indices):
            return sum(rules.POINTS[hand[index]] for index in indices)
        def kind(indices):
            return rules.classify([hand[index] for index in indices])
        if count is None:
            combos = [
                combo for size in range(1, min(6, len(hand)) + 1) for combo in itertools.combinations(range(len(hand)), size)
                if kind(combo) != "INVALID"
            ]
            if missing > 0:
                fitting = [combo for combo in combos if len(combo) <= missing]
                best = max(fitting, key=lambda combo: (points(combo) / len(combo) >= 6, len(combo), points(combo)))
            else:
                best = min(combos, key=lambda combo: (len(combo), points(combo)))
        else:
            combos = list(itertools.combinations(range(len(hand)), count))
            lead = next(iter(phase_data["turn_plays"].values()))["play_type"]
            same = [combo for combo in combos if kind(combo) == lead]
            if same and missing >= count:
                best = max(same, key=points)
            else:
                best = min(combos, key=points)
        # The page sends indices in the order of the clicks.
        return self.rng.sample(best, len(best))

    async def stay_after_game(self):
        """The result screen stays 10 s; the socket must stay open that long."""
        deadline = ws.now() + 10 * self.pace
        try:
            while (left := deadline - ws.now()) > 0:
                await self.next(left)
        except Stalled:
            pass
        except ws.Closed as end:
            self.report.violation(self.name, f"closed with {end.code} while the result is shown")
            return
        await self.leave_page()


_numbers = itertools.count(1)


def fresh_name(prefix="P"):
    """A name nobody else in this run has; 2-20 characters of what the existing client admits."""
    return f"{prefix}{next(_numbers)}_{random.randrange(10000)}"[:20]


async def set_up_game(url, report, *, humans=4, cookies=True, entropy=False, seed=None, pace=0.01, patience=30.0,
                      watchers=0, start=True, kind=Client):
    """A room with `humans` people (the first is the host), bots on the other seats, and watchers, up to the start of the
    game. Returns players and watchers; players stand on their room pages and need `wait_for_start`."""
    truth = Truth()
    rng = random.Random(seed)
    def person(prefix, with_cookies):
        return kind(Browser(url, cookies=with_cookies), fresh_name(prefix), report, truth=truth, seed=rng.random(),
                    entropy=rng.randbytes(rng.randint(1, 32)).hex() if entropy and rng.random() < 0.7 else None,
                    pace=pace, patience=patience)
    players = [person("P", cookies if type(cookies) is bool else rng.random() < 0.5) for _ in range(humans)]
    host = players[0]
    for player in players:
        if player.browser.keeps_cookies:
            await player.browser.load_page(report)
    await host.open_lobby()
    room_id = await host.create_room()
    first = await host.open_room()
    expected = [host.name, "Bot 2", "Bot 3", "Bot 4"]
    found = [player and player["name"] for player in first["players"]]
    if found != expected:
        report.violation(host.name, f"a new room seats {found}, must seat {expected}")
    await host.open_seats(humans - 1)
    for guest in players[1:]:
        rooms = await guest.open_lobby()
        if humans > 1 and room_id not in [room["room_id"] for room in rooms]:
            # A server that was killed right after it opened the room need not know it any more.
            if not await host.is_alive():
                raise Gone("the room ended before its game began")
            report.violation(guest.name, f"the open room {room_id} is not listed")
        await guest.join_room(room_id)
        await guest.open_room()
    crowd = []
    for index in range(watchers):
        watcher = person("W", index % 2 == 0)
        watcher.seated, watcher.room_id, watcher.entropy = False, room_id, None
        # Some watchers have a name, some have none: both only watch.
        watcher.nameless = index % 3 == 2
        # All watchers get the same frames; their sequence is followed by the first two, the rest judge each by itself.
        watcher.view = View(None, truth) if index < 2 else None
        await watcher.open(room_id)
        data = {"room_id": room_id, "is_reconnection": False}
        watcher.send("client_ready", data if watcher.nameless else data | {"player_name": watcher.name})
        crowd.append(watcher)
    if start:
        host.send("start_game")
    return players, crowd


def arguments(parser):
    """Options that all scripts share."""
    parser.add_argument("--url", required=True, help="http://127.0.0.1:PORT of the server, or https")
    parser.add_argument("--pace", type=float, default=0.01, help="the server's GAME_PACE (default 0.01)")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds without a frame that count as a stall")
    parser.add_argument("--seed", type=int, default=None, help="seed of the clients' choices")
    parser.add_argument("--frames", help="file for every offending frame")
    return parser


def run(main, options):
    """Runs a script's coroutine `main(options, report)` and exits with its code."""
    report = Report(options.frames)
    began = ws.now()
    try:
        asyncio.run(main(options, report))
    except (ConnectionRefusedError, ws.Refused) as fault:
        print(f"cannot reach the server: {fault}")
        sys.exit(2)
    print(f"took {ws.now() - began:.1f} s")
    sys.exit(report.finish())
