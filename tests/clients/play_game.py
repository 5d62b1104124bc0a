#!/usr/bin/env python3
"""Plays whole games as the existing web client does, many at once, and checks every frame and every deal proof.

    play_game.py --url http://127.0.0.1:8000 --games 20 --humans 4 --watchers 10 --tap

With --tap every game must also have been seen whole by at least one receiver, and the frames of all receivers together
must agree with the deals of the proof: then no frame has shown a piece that its receiver may not know.

Exit code: 0 all went well, 1 a violation or an unfinished game, 2 no server.
"""

import argparse
import asyncio
import random

import client
import ws


async def watch(watcher):
    while True:
        event, data = await watcher.next()
        if event == "phase_change" and data.get("phase") == "game_over":
            return
        # Now and then a watcher asks what he has missed: no answer to that may hold what is hidden, either.
        if event == "phase_change" and watcher.rng.random() < 0.1:
            watcher.send("request_recovery", watcher.rng.choice([{}, {"from_sequence": 1}, {"from_sequence": 20, "to_sequence": 90}]))


async def play(player):
    await player.wait_for_start()
    await player.play_on()
    await player.stay_after_game()


async def one_game(options, report, seed):
    rng = random.Random(seed)
    humans = options.humans or rng.randint(1, 4)
    cookies = {"yes": True, "no": False, "mixed": None}[options.cookies]
    players, crowd = await client.set_up_game(
        options.url, report, humans=humans, cookies=cookies, entropy=options.entropy, seed=seed, pace=options.pace,
        patience=options.patience, watchers=options.watchers,
    )
    began = ws.now()
    async with asyncio.TaskGroup() as group:
        for player in players:
            player.think = options.think
            group.create_task(play(player))
        for watcher in crowd:
            group.create_task(watch(watcher))
    for watcher in crowd:
        watcher.socket.vanish()
    truth = players[0].truth
    if not truth.audited:
        report.violation(players[0].name, "the game is over and no proof was audited")
    if options.tap and not any(one.view and one.view.whole_game for one in players + crowd):
        report.violation(players[0].name, "nobody has seen the whole game")
    report.counts["games played"] += 1
    report.counts["rounds played"] += players[0].view.round
    report.time("length of a game", ws.now() - began)


async def main(options, report):
    limit = asyncio.Semaphore(options.parallel)
    rng = random.Random(options.seed)

    async def guarded(seed):
        async with limit:
            try:
                async with asyncio.timeout(options.game_timeout):
                    await one_game(options, report, seed)
            except* (client.Stalled, client.Gone, ws.Closed, ws.ServerFault, ws.Refused, TimeoutError, OSError) as faults:
                for fault in faults.exceptions:
                    report.violation("game", f"unfinished: {type(fault).__name__} {fault}")

    await asyncio.gather(*(guarded(rng.random()) for _ in range(options.games)))


if __name__ == "__main__":
    parser = client.arguments(argparse.ArgumentParser(description=__doc__.split("\n")[0]))
    parser.add_argument("--games", type=int, default=1)
    parser.add_argument("--parallel", type=int, default=20, help="games at the same time")
    parser.add_argument("--humans", type=int, choices=range(1, 5), help="people in each game (default: any number)")
    parser.add_argument("--watchers", type=int, default=0, help="watchers of each game")
    parser.add_argument("--cookies", choices=("yes", "no", "mixed"), default="mixed", help="browsers or bare clients")
    parser.add_argument("--entropy", action="store_true", help="some players add randomness to the deals")
    parser.add_argument("--think", type=float, default=0.0, help="longest time to think, in seconds")
    parser.add_argument("--tap", action="store_true", help="hold the frames of all receivers against the deals")
    parser.add_argument("--game-timeout", type=float, default=600.0, help="seconds a game may take")
    client.run(main, parser.parse_args())
