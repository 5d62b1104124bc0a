#!/usr/bin/env python3
"""Kills the server again and again while games run and finish, and holds it to its promises.

    crash.py --bin target/release/liap --kills 300

The server is this script's own, on a folder of its own. Most of its lives end with SIGKILL at a random moment, some while
it starts, some with SIGTERM. Browsers come back to their tables by themselves, as the web client does. Shown is:

- it starts every time;
- a table that comes back lacks at most what happened in the last --lost-ms before the kill, and nothing after SIGTERM;
  what it shows then is what it showed before: hands, declarations, piles, scores; and each deal is that of the proof;
- every game that the archive had acknowledged is there at the end, once, as it was told, and so is every game whose end was
  shown longer than --lost-ms before a kill;
- `liap archive verify --deep` finds nothing.

With --faults IN, calls on files whose path holds IN (such as `/journal/`) fail for half of every second, by `faults.c`. What was shown
while the disk failed may be lost with a kill, so --lost-ms has to be 2500 then.

Exit code: 0 all well, 1 a violation, 2 the server cannot be started at all.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile

import client
import ws
from view import Truth, View

PHASES = ("preparation", "round_start", "declaration", "turn", "turn_results", "scoring", "game_over")
TABLE_FAULTS = (client.Stalled, client.Gone, ws.Closed, ws.ServerFault, ws.Refused, TimeoutError, OSError, EOFError)


def progress(data):
    """How far a game is. Of two moments of a game the later one has the greater progress."""
    phase, phase_data = data["phase"], data["phase_data"]
    steps = (0, 0)
    if phase == "preparation":
        steps = (phase_data["redeal_multiplier"], 0 if phase_data.get("dealing_cards") else 1)
    elif phase == "declaration":
        steps = (len(phase_data["declarations"]), 0)
    elif phase == "turn":
        is_won = bool(phase_data.get("winner"))
        steps = (phase_data["current_turn_number"], len(phase_data["turn_plays"]) + is_won)
        if is_won and all(player["hand_size"] == 0 for player in data["players"].values()):
            # The last turn of a round is shown with its results: two frames of one moment.
            phase, steps = "turn_results", (0, 0)
    return (data["round"], PHASES.index(phase), *steps)


def standing(data, name):
    """What must not change for one's own seat while the progress stays the same."""
    players = data["players"]
    figures = {other: (player["score"], player["declared"], player["hand_size"]) for other, player in players.items()}
    return figures, list(players[name]["hand"])


class CrashTruth(Truth):
    """What a game's receivers know together, across the lives of the server."""

    def __init__(self, report):
        super().__init__()
        self.report = report

    def forget_after(self, data):
        """The table is back at `data`: what came later has not happened."""
        number, phase = data["round"], PHASES.index(data["phase"])
        turn = data["phase_data"].get("current_turn_number", 0 if phase < PHASES.index("turn") else 9)
        def keep(store, is_past):
            return {key: value for key, value in store.items() if is_past(key)}
        self.plays = keep(self.plays, lambda key: (key[0], key[1]) < (number, turn))
        self.starters = keep(self.starters, lambda key: key < number or (key == number and phase >= PHASES.index("round_start")))
        self.multipliers = keep(self.multipliers, lambda key: key < number)
        self.totals = keep(self.totals, lambda key: key[0] < number)
        self.hands = {key for key in self.hands if key[0] < number or (key[0] == number and phase > 0)}

    def audit(self, proof, rounds):
        if any(number not in self.multipliers for number in range(1, rounds + 1)):
            # The end of a round was shown while nobody was there to see it.
            self.report.counts["proofs not audited: a round's end was missed"] += 1
            self.audited = True
            return
        super().audit(proof, rounds)
        self.report.counts["proofs audited"] += 1


class Server:
    """The program under test, life after life."""

    def __init__(self, options, folder, report):
        self.options, self.folder, self.report = options, folder, report
        self.port = ws.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = open(os.path.join(folder, "server.log"), "ab")
        self.process = None
        self.up = asyncio.Event()
        self.life = 0
        # Of each life that has ended: when, and up to when what had been shown must come back.
        self.lives = {}

    def environment(self):
        faults = {"LD_PRELOAD": self.options.faults_library, "FAULTS_IN": self.options.faults, "FAULTS_ONE_IN": "4",
                  "FAULTS_BURST_MS": "500"} if self.options.faults else {}
        return faults | {
            "PATH": os.environ.get("PATH", ""), "HOST": "127.0.0.1", "PORT": str(self.port), "METRICS_ENABLED": "false",
            "DATA_DIR": self.folder, "GAME_PACE": str(self.options.pace), "TURN_TIMEOUT_SECONDS": "0", "LOG_FORMAT": "text",
            "USE_RATE_LIMITING": "false", "MAX_SOCKETS_PER_ADDRESS": "20000", "ARCHIVE_FLUSH_INTERVAL": "1",
            "ARCHIVE_BATCH_SIZE": "10", "GC_COMPLETED_GAMES_AFTER": "5", "ARCHIVE_RETENTION_DAYS": "0",
        }

    def spawn(self):
        self.life += 1
        self.process = subprocess.Popen(
            [self.options.bin, "serve"], env=self.environment(), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    async def start(self):
        """Starts it and waits until it says that it is ready. Returns the seconds that took, or None."""
        began = ws.now()
        self.spawn()
        while ws.now() - began < 30:
            if self.process.poll() is not None:
                self.report.violation("server", f"ended by itself with {self.process.returncode} in life {self.life}")
                return None
            try:
                status, _, _ = await ws.get(self.url, "/health/ready", timeout=5.0)
                if status == 200:
                    took = ws.now() - began
                    self.report.time("start until ready", took)
                    self.up.set()
                    return took
            except (OSError, TimeoutError, EOFError):
                pass
            await asyncio.sleep(0.005)
        self.report.violation("server", f"not ready within 30 s in life {self.life}")
        return None

    def end(self, how):
        """Ends it; after SIGTERM nothing may be missing."""
        self.up.clear()
        died = ws.now()
        # What happens while it stops counts too.
        self.lives[self.life] = (died, float("inf") if how == signal.SIGTERM else died - self.options.lost_ms / 1000)
        self.process.send_signal(how)

    def must_keep(self, at, life):
        """Whether what was shown at that moment of that life must be there in later ones."""
        return at <= self.lives.get(life, (0, float("inf")))[1]

    async def ended(self, expected):
        code = await asyncio.to_thread(self.process.wait, 60)
        if code != expected:
            self.report.violation("server", f"ended with {code}, not {expected}")

    def archive(self, *arguments):
        """`liap archive …` on its folder: exit code and output."""
        environment = {name: value for name, value in self.environment().items() if name != "LD_PRELOAD"}
        done = subprocess.run([self.options.bin, "archive", *arguments], env=environment, capture_output=True)
        return done.returncode, done.stdout.decode(), done.stderr.decode()


class Survivor(client.Client):
    """A player who comes back whatever happens to the server."""

    table = None
    # The life of the server that the socket belongs to. What is read from it may be told after the next has begun.
    life = None

    async def open(self, page, **options):
        before = self.table and self.table.server.life
        await super().open(page, **options)
        if self.table:
            if self.table.server.life != before:
                # Whose socket this is cannot be said.
                self.socket.vanish()
                raise EOFError("a life ended while a socket was opened")
            self.life = before

    def take(self, event, data, text):
        if event == "error" and "about to restart" in data.get("message", ""):
            raise client.Gone(data["message"])
        super().take(event, data, text)
        if event == "game_started" and self.table:
            self.table.started = self.table.started or (ws.now(), self.life)
        if event == "phase_change" and self.table:
            self.table.saw(self, data)
        elif event == "room_not_found" and self.table:
            raise client.Gone(event)


class Table:
    """One seat after the other: whole games, through all lives of the server."""

    def __init__(self, server, options, report, book, seed):
        self.server, self.options, self.report, self.book = server, options, report, book
        self.rng = random.Random(seed)
        self.seen = {}
        # When and in which life the start of the game was heard.
        self.started = None

    def saw(self, player, data):
        if player.name not in data["players"]:
            return
        where = progress(data)
        moments = self.seen.setdefault(player.name, {})
        moments.setdefault(where, (ws.now(), player.life, standing(data, player.name)))
        if data["phase"] == "game_over":
            self.book.told(data, ws.now(), player.life)

    async def run(self):
        while not self.book.closing:
            await self.server.up.wait()
            self.seen.clear()
            try:
                players, _ = await client.set_up_game(
                    self.server.url, self.report, humans=self.rng.choice([1, 1, 2]), cookies=None, seed=self.rng.random(),
                    pace=self.options.pace, patience=self.options.patience, kind=Survivor)
            except TABLE_FAULTS:
                # Before the game has begun there is nothing to come back to.
                self.report.counts["rooms given up before their game began"] += 1
                await asyncio.sleep(0.05)
                continue
            truth = CrashTruth(self.report)
            truth.commitment = players[0].truth.commitment
            for player in players:
                player.table, player.truth, player.view, player.expect_errors = self, truth, None, True
            self.started = None
            async with asyncio.TaskGroup() as group:
                for player in players:
                    group.create_task(self.live(player))

    async def live(self, player):
        """Plays one game to its end, in as many lives of the server as that takes."""
        while True:
            try:
                await self.server.up.wait()
                if player.life not in (None, self.server.life):
                    player.view = View(player.name, player.truth)
                is_return, player.life = player.life is not None, self.server.life
                if not is_return:
                    await player.wait_for_start()
                else:
                    await player.open_game()
                    if not await self.back(player):
                        return
                await player.play_on()
                await player.leave_page()
                self.report.counts["games played to their end"] += 1
                return
            except (ws.Closed, ws.ServerFault, ws.Refused, OSError, TimeoutError, EOFError) as fault:
                if isinstance(fault, ws.Closed):
                    self.report.counts[f"sockets that ended with {fault.code}"] += 1
                await asyncio.sleep(0.01)
            except client.Gone as fault:
                if not self.may_be_gone():
                    self.report.violation(player.name, f"the game is gone: {fault}")
                self.report.counts["rooms that did not come back"] += 1
                return
            except client.Stalled as fault:
                self.report.violation(player.name, f"stalled in life {self.server.life}, room {player.room_id}: {fault}")
                return

    async def back(self, player):
        """The first frame after a restart: the table as it was. False if the room is over."""
        while True:
            event, data = await player.next()
            if event == "room_closed":
                raise client.Gone(event)
            if event in ("room_update", "room_state_update") and not data["started"]:
                if self.must_have_started():
                    self.report.violation(player.name, f"the room waits in life {self.server.life} for a start of life {self.started[1]}")
                self.report.counts["games whose start was lost"] += 1
                await player.leave_page()
                return False
            if event == "phase_change":
                break
        moments = self.seen.get(player.name, {})
        where = progress(data)
        must = max((known for known, (at, life, _) in moments.items() if self.server.must_keep(at, life)), default=None)
        lives = self.server.lives
        lost = [lives[life][0] - at for known, (at, life, _) in moments.items() if known > where and life in lives]
        if lost:
            self.report.time("what was shown and is lost, before the kill", max(lost))
        if must is not None and where < must:
            self.report.violation(player.name, f"back at {where}, had been at {must} long before the server's end")
        player.truth.forget_after(data)
        for known in [known for known in moments if known > where]:
            del moments[known]
        if where in moments and moments[where][2] != standing(data, player.name):
            self.report.violation(player.name, f"at {where} the table was {moments[where][2]}, is {standing(data, player.name)}")
        if data["players"][player.name]["is_bot"]:
            self.report.violation(player.name, f"back at the table and a bot in {data['phase']}")
        self.report.counts["seats found again"] += 1
        if data["phase"] == "game_over":
            await player.leave_page()
            return False
        await player.act(data)
        return True

    def may_be_gone(self):
        """A room that is over, or began in the last moments before the end, need not be there."""
        is_over = any(where[1] == PHASES.index("game_over") for moments in self.seen.values() for where in moments)
        return is_over or not self.must_have_started()

    def must_have_started(self):
        return self.started is not None and self.server.must_keep(*self.started)


class Book:
    """Games that must be in the archive at the end."""

    def __init__(self, report):
        self.report = report
        self.acknowledged, self.shown = {}, {}
        self.closing = False

    def told(self, data, at, life):
        """The end of a game was shown."""
        scores = {name: player["score"] for name, player in data["players"].items()}
        self.shown.setdefault(data["phase_data"]["game_id"], []).append((at, life, scores))

    async def follow(self, server):
        """Asks the archive what it has, now and then: what it names is acknowledged."""
        while not self.closing:
            await server.up.wait()
            # In every other life nobody asks, and games wait for their group.
            if server.life % 2 == 0:
                try:
                    status, _, body = await ws.get(server.url, "/api/games?limit=100", timeout=5.0)
                    if status == 200:
                        for game in json.loads(body)["games"]:
                            self.acknowledge(game)
                except (OSError, TimeoutError, ValueError, EOFError):
                    pass
            await asyncio.sleep(0.05)

    def acknowledge(self, game):
        known = self.acknowledged.setdefault(game["game_id"], game)
        if known != game:
            self.report.violation("archive", f"a game was {known} and is {game}")

    def check(self, lines, server):
        games, twice = {}, 0
        for line in lines:
            game = json.loads(line)
            twice += game["game_id"] in games
            games[game["game_id"]] = game
        must = {}
        for game_id, moments in self.shown.items():
            must |= {game_id: scores for at, life, scores in moments if server.must_keep(at, life)}
        self.report.counts["games in the archive"] = len(games)
        self.report.counts["games acknowledged"] = len(self.acknowledged)
        self.report.counts["games whose end was shown in time"] = len(must)
        if twice:
            self.report.violation("archive", f"{twice} games are there twice")
        for game_id, summary in self.acknowledged.items():
            game = games.get(game_id)
            if game is None:
                self.report.violation("archive", f"game {game_id} was acknowledged and is lost")
            elif [game[key] for key in ("winners", "final_scores", "completed_at")] != \
                    [summary[key] for key in ("winners", "final_scores", "completed_at")]:
                self.report.violation("archive", f"game {game_id} is another than the one acknowledged")
        for game_id, scores in must.items():
            game = games.get(game_id)
            if game is None:
                self.report.violation("archive", f"game {game_id} was over in time and is lost")
            else:
                names = [player["name"] for player in game["players"]]
                if dict(zip(names, game["final_scores"])) != scores:
                    self.report.violation("archive", f"game {game_id} ended {scores}, stored is {game['final_scores']}")


async def main(options, report):
    folder = tempfile.mkdtemp(prefix="liap-crash-", dir=options.folder)
    if options.faults:
        options.faults_library = os.path.join(folder, "faults.so")
        source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "faults.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", options.faults_library, source, "-ldl"], check=True)
    try:
        await lives_and_deaths(options, report, folder)
    finally:
        if report.violations or options.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


async def lives_and_deaths(options, report, folder):
    server, book, rng = Server(options, folder, report), Book(report), random.Random(options.seed)
    tables = [asyncio.create_task(Table(server, options, report, book, rng.random()).run()) for _ in range(options.tables)]
    follower = asyncio.create_task(book.follow(server))
    try:
        for kill in range(options.kills):
            if kill % 7 == 3:
                server.spawn()
                await asyncio.sleep(rng.uniform(0, 0.05))
                report.counts["killed while starting"] += 1
                # Somebody may have been let in already.
                server.end(signal.SIGKILL)
                await server.ended(-signal.SIGKILL)
                continue
            if await server.start() is None:
                sys.exit(report.finish() or 2)
            await asyncio.sleep(rng.uniform(0.05, options.span))
            how = signal.SIGTERM if kill % 10 == 9 else signal.SIGKILL
            server.end(how)
            report.counts[f"ended with {how.name}"] += 1
            await server.ended(0 if how == signal.SIGTERM else -how)
        # The last life: everybody plays his game to its end.
        if await server.start() is None:
            sys.exit(report.finish() or 2)
        book.closing = True
        _, unfinished = await asyncio.wait(tables, timeout=options.game_timeout)
        for task in unfinished:
            report.violation("table", "its game does not end")
            task.cancel()
        server.end(signal.SIGTERM)
        await server.ended(0)
    finally:
        for task in (*tables, follower):
            task.cancel()
        outcomes = await asyncio.gather(*tables, follower, return_exceptions=True)
        if server.process and server.process.poll() is None:
            server.process.kill()
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    code, said, complaints = server.archive("verify", "--deep")
    print(said.strip())
    if code != 0:
        report.violation("archive", f"verify --deep: {code} {said} {complaints}")
    code, exported, complaints = server.archive("export", "-")
    if code != 0:
        report.violation("archive", f"export: {code} {complaints}")
    book.check(exported.splitlines(), server)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bin", default=os.environ.get("LIAP_BIN"), help="the program (default: LIAP_BIN)")
    parser.add_argument("--kills", type=int, default=int(os.environ.get("LIAP_KILLS", "12")), help="lives that end (LIAP_KILLS)")
    parser.add_argument("--tables", type=int, default=12, help="games at the same time")
    parser.add_argument("--span", type=float, default=1.5, help="longest life after the start, in seconds")
    parser.add_argument("--lost-ms", type=float, default=100, help="what may be lost: LIVE_JOURNAL_INTERVAL_MS, and more "
                        "where the server has to wait for the machine")
    parser.add_argument("--pace", type=float, default=0.003, help="GAME_PACE of the server")
    parser.add_argument("--patience", type=float, default=45.0,
                        help="seconds without a frame that count as a stall; a table waits 30 for one who does not come back")
    parser.add_argument("--game-timeout", type=float, default=120.0, help="seconds the last games may take")
    parser.add_argument("--faults", metavar="IN", help="let calls on files with this in their path fail now and then")
    parser.add_argument("--seed", type=int, default=None, help="seed of kills and players")
    parser.add_argument("--folder", help="where to work (default: the system's temporary folder)")
    parser.add_argument("--keep", action="store_true", help="keep the server's folder and log")
    parser.add_argument("--frames", help="file for every offending frame")
    options = parser.parse_args()
    if not options.bin:
        parser.error("--bin or LIAP_BIN names the program")
    client.run(main, options)
