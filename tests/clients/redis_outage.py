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
import statistics
import subprocess
import sys
import tempfile
import urllib.request

from outages import Service, is_as_fast, listens, p99_ms, until
from ws import free_port


class Redis(Service):
    def __init__(self, program):
        self.program, self.port = program, free_port()
        self.start()

    def start(self):
        command = [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until("Redis listens", lambda: listens(self.port))


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
    return 0 if is_as_fast(control, {f"Redis {state}": values for state, values in found.items()}) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--liap", default=os.environ.get("LIAP_BIN", "target/release/liap"))
    parser.add_argument("--redis-server", default=os.environ.get("LIAP_TEST_REDIS_SERVER", "redis-server"))
    parser.add_argument("--rooms", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    sys.exit(main(parser.parse_args()))
