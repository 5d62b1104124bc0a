#!/usr/bin/env python3
"""How long moves take while Redis is there, stands still or is gone: in turns, in one run.

    redis_outage.py --liap target/release/liap --redis-server /usr/bin/redis-server

Needs a build with the feature `redis`. Every move asks Redis for its decisions; the limits are so high that none is
refused. The outage begins when a quarter of the load has passed, as outages do. Exit code: 0 if the p99 of a move during
outages is at most a tenth above that without, 1 if not.
"""

import argparse
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def until(what, holds):
    for _ in range(1500):
        try:
            if holds():
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise SystemExit(f"never: {what}")


def listens(port):
    socket.create_connection(("127.0.0.1", port)).close()
    return True


class Redis:
    def __init__(self, program):
        self.program, self.port = program, free_port()
        self.start()

    def start(self):
        command = [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until("Redis listens", lambda: listens(self.port))

    def stand_still(self):
        self.process.send_signal(signal.SIGSTOP)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def recover(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
        else:
            self.start()


def p99_ms(options, port, outage):
    """p99 of a move's way to its answer at the one who made it, with an outage on the way."""
    command = [options.liap, "load", "--server", f"127.0.0.1:{port}"]
    command += ["--rooms", str(options.rooms), "--seconds", str(options.seconds)]
    load = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    time.sleep(options.seconds / 4)
    outage()
    text = load.communicate()[0]
    found = re.search(r"answer at the actor: p50 [0-9.]+ ms, p99 ([0-9.]+) ms", text)
    if load.returncode or not found:
        raise SystemExit(f"the load failed: {text}")
    return float(found[1])


def main(options):
    redis = Redis(options.redis_server)
    port, metrics = free_port(), free_port()
    limits = ("PER_PLAYER_PER_MINUTE", "PER_ROOM_PER_SECOND", "WEBSOCKET_PER_SECOND", "NEW_SOCKETS_PER_MINUTE")
    environment = {f"RATE_LIMIT_{limit}": "1000000" for limit in (*limits, "HTTP_PER_MINUTE")}
    environment |= {
        "HOST": "127.0.0.1", "PORT": str(port), "METRICS_PORT": str(metrics), "LOG_LEVEL": "warning",
        "REDIS_URL": f"redis://127.0.0.1:{redis.port}", "USE_RATE_LIMITING": "true", "GAME_PACE": "0",
        "MAX_SOCKETS_PER_ADDRESS": "20000",
    }

    def counted():
        text = urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics").read().decode()
        return {name: float(value) for name, value in re.findall(r"^(liap_redis_\S+) (\S+)$", text, re.MULTILINE)}

    def shares():
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready").close()
        return counted()["liap_redis_up"] == 1

    found = {"there": [], "standing still": [], "gone": []}
    outages = {"there": lambda: None, "standing still": redis.stand_still, "gone": redis.kill}
    with tempfile.TemporaryDirectory() as data:
        server = subprocess.Popen([options.liap], env=environment | {"DATA_DIR": data})
        try:
            until("the server shares limits", shares)
            p99_ms(options, port, outages["there"])  # Warms up.
            for _ in range(options.rounds):
                for state, outage in outages.items():
                    before = counted()
                    found[state].append(p99_ms(options, port, outage))
                    decided = {
                        how: round(counted()[key] - before[key])
                        for how in ("shared", "away", "slow", "failed")
                        for key in [f'liap_redis_decisions_total{{outcome="{how}"}}']
                    }
                    print(f"Redis {state}: p99 {found[state][-1]:.2f} ms, decisions {decided}", flush=True)
                    redis.recover()
                    until("the server shares limits again", shares)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
            redis.recover()
            redis.kill()
    control = statistics.median(found.pop("there"))
    medians = {state: statistics.median(values) for state, values in found.items()}
    for state, value in medians.items():
        print(f"p99 of a move with Redis {state}: {value:.2f} ms, {value / control:.2f} times that of {control:.2f} ms")
    return max(medians.values()) > 1.1 * control


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--liap", default=os.environ.get("LIAP_BIN", "target/release/liap"))
    parser.add_argument("--redis-server", default=os.environ.get("LIAP_TEST_REDIS_SERVER", "redis-server"))
    parser.add_argument("--rooms", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    sys.exit(main(parser.parse_args()))
