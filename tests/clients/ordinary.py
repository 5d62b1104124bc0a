#!/usr/bin/env python3
"""Plays a game as people do who are in a hurry, with the limits that every installation has: not one message is refused.

    ordinary.py --url http://127.0.0.1:8000 --metrics http://127.0.0.1:9090 --pace 1 --minutes 3

Four people behind one address, at the pace of a real game. Every click is a double click; every page is loaded again in
every round's declarations; in the first and third round all four lose their link together, and each comes back as the
existing client does: forty sockets in two seconds, each of which greets, and then the page once more. The server must
have its default settings (GAME_PACE 1). It ends with the game, or after so many minutes.

Exit code: 0 all went well, 1 a message was refused or something else went wrong, 2 no server.
"""

import argparse
import asyncio
import re

import client
import ws

STORM_SOCKETS, STORM_SECONDS = 40, 2.0
STORM_ROUNDS = (1, 3)
CLICKS = {"accept_redeal", "decline_redeal", "declare", "play", "start_next_round"}
TOO_MUCH = {"rate_limited", "busy"}


class Hasty(client.Client):
    """A person who clicks twice, reloads, and has a bad link."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.think = 2.0
        # The second click comes too late to be allowed; the table says so, and that is no limit.
        self.expect_errors = True
        self.been_through = set()

    def send(self, event, data=None, **more):
        super().send(event, data, **more)
        if event in CLICKS:
            super().send(event, data, **more)
            self.report.counts["double clicks"] += 1

    def take(self, event, data, text):
        if event == "error" and data.get("type") in TOO_MUCH:
            self.report.violation(self.name, f"refused: {data}", text)
        super().take(event, data, text)

    async def act(self, data):
        moment = (data["round"], data["phase"])
        if moment not in self.been_through:
            self.been_through.add(moment)
            if data["phase"] == "declaration":
                return await self.reload()
            if data["phase"] == "turn" and data["round"] in STORM_ROUNDS:
                return await self.storm()
        return await super().act(data)

    async def reload(self):
        self.report.counts["reloads"] += 1
        self.socket.vanish()
        await self.browser.load_page(self.report)
        await self.open_game()

    async def storm(self):
        """The link is lost, and the existing client comes back without its name, again and again."""
        self.socket.vanish()
        for _ in range(STORM_SOCKETS):
            self.report.counts["sockets of a storm"] += 1
            await self.open(self.room_id)
            self.send("client_ready", {"room_id": self.room_id, "is_reconnection": False})
            await asyncio.sleep(STORM_SECONDS / STORM_SOCKETS)
            self.socket.vanish()
        await self.reload()


async def play(player):
    await player.wait_for_start()
    await player.play_on()
    await player.stay_after_game()


async def limited(metrics):
    """How often each limit was met, by the server's own count."""
    _, _, body = await ws.get(metrics, "/metrics")
    counts = re.findall(r'^liap_limited_total\{limit="(\w+)"\} (\d+)$', body.decode(), re.MULTILINE)
    if not counts:
        raise SystemExit("the server does not count what its limits refuse")
    return {limit: int(count) for limit, count in counts}


async def main(options, report):
    before = await limited(options.metrics)
    players, _ = await client.set_up_game(options.url, report, humans=4, cookies=True, pace=options.pace,
                                          seed=options.seed, patience=options.patience, kind=Hasty)
    try:
        async with asyncio.timeout(60 * options.minutes), asyncio.TaskGroup() as group:
            for player in players:
                group.create_task(play(player))
        report.counts["games played"] += 1
    except* TimeoutError:
        print(f"after {options.minutes} minutes the game is in round {players[0].view.round}")
    except* (client.Stalled, client.Gone, ws.Closed, ws.ServerFault, ws.Refused, OSError) as faults:
        for fault in faults.exceptions:
            report.violation("game", f"unfinished: {type(fault).__name__} {fault}")
    if not report.counts["sockets of a storm"] >= 4 * STORM_SOCKETS:
        report.violation("game", "it was over before the first storm")
    for limit, count in (await limited(options.metrics)).items():
        if count > before[limit]:
            report.violation("server", f"limit {limit} refused {count - before[limit]} times")


if __name__ == "__main__":
    parser = client.arguments(argparse.ArgumentParser(description=__doc__.split("\n")[0]))
    parser.add_argument("--metrics", required=True, help="http://127.0.0.1:PORT of the server's metrics")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long to play at most")
    client.run(main, parser.parse_args())
