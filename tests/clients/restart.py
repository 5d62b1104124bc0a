#!/usr/bin/env python3
"""How long a restart takes: with many live games and a large archive, after SIGKILL and after SIGTERM.

    restart.py --bin target/release/liap --live 1000 --archived 100000

Exit code: 0 all well, 1 a violation, 2 the server cannot be started at all.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import client
import ws
from crash import Server


def metric(text, name):
    return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1])


async def restart(server, options, report, how, before):
    """Starts it once more; the rooms that had been there must be back."""
    took = await server.start()
    if took is None:
        sys.exit(report.finish() or 2)
    if took > options.limit:
        report.violation("server", f"ready {took:.2f} s after {how}, more than {options.limit} s")
    _, _, body = await ws.get(server.url, "/health")
    checks = json.loads(body)["checks"]
    found = checks["rooms"]["rooms"]
    print(f"after {how}: ready in {1000 * took:.0f} ms with {found} live and {checks['archive']['games']} archived games")
    if checks["archive"]["games"] < options.archived:
        report.violation("archive", f"{checks['archive']['games']} games of {options.archived} are there after {how}")
    if before is not None and found != before:
        report.violation("server", f"{found} rooms after {how}, {before} before")
    return checks


async def main(options, report):
    folder = tempfile.mkdtemp(prefix="liap-restart-", dir=options.folder)
    server = Server(options, folder, report)
    try:
        environment = server.environment()
        simulate = subprocess.Popen([options.bin, "simulate", "--games", str(options.archived), "--seed", "7", "--json", "-"],
                                    env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        done = subprocess.run([options.bin, "archive", "import", "-"], env=environment, stdin=simulate.stdout,
                              capture_output=True, text=True)
        simulate.stdout.close()
        if simulate.wait() != 0 or done.returncode != 0:
            report.violation("archive", f"the games could not be imported: {done}")
            return
        await restart(server, options, report, "the import", None)
        # One person at each table, whose game is not over when the time is.
        load = subprocess.run([options.bin, "load", "--server", f"127.0.0.1:{server.port}", "--rooms", str(options.live),
                               "--people", "1", "--seconds", "1"], capture_output=True, text=True)
        if load.returncode != 0:
            report.violation("load", f"{load}")
        _, _, body = await ws.get(server.url, "/health")
        journal = json.loads(body)["checks"]["journal"]
        each = journal["file_bytes"] / max(1, journal["rooms"])
        print(f"the journal has {journal['file_bytes']} bytes for {journal['rooms']} rooms: {each:.0f} each")
        if journal["rooms"] < options.live * 0.9:
            report.violation("load", f"only {journal['rooms']} rooms of {options.live} are there")
        server.end(signal.SIGKILL)
        await server.ended(-signal.SIGKILL)
        checks = await restart(server, options, report, "SIGKILL", None)
        if checks["rooms"]["rooms"] < options.live * 0.9:
            report.violation("server", f"only {checks['rooms']['rooms']} rooms of {options.live} are back")
        server.end(signal.SIGTERM)
        await server.ended(0)
        await restart(server, options, report, "SIGTERM", checks["rooms"]["rooms"])
        server.end(signal.SIGTERM)
        await server.ended(0)
    finally:
        if server.process and server.process.poll() is None:
            server.process.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bin", default=os.environ.get("LIAP_BIN"), help="the program (default: LIAP_BIN)")
    parser.add_argument("--live", type=int, default=200, help="live games")
    parser.add_argument("--archived", type=int, default=3000, help="completed games")
    parser.add_argument("--limit", type=float, default=2.0, help="seconds until the server must be ready")
    parser.add_argument("--pace", type=float, default=0.05, help="GAME_PACE of the server")
    parser.add_argument("--lost-ms", type=float, default=100, help=argparse.SUPPRESS)
    parser.set_defaults(faults=None)
    parser.add_argument("--folder", help="where to work (default: the system's temporary folder)")
    parser.add_argument("--frames", help="file for every offending frame")
    options = parser.parse_args()
    if not options.bin:
        parser.error("--bin or LIAP_BIN names the program")
    client.run(main, options)
