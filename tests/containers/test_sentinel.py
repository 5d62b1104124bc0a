"""Redis and Sentinel as docker-compose.prod.yml runs them, without containers: the same script, the same settings."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

FOLDER = Path(__file__).parents[2]
sys.path.insert(0, str(FOLDER / "tests" / "clients"))
import ws  # noqa: E402

SCRIPT = FOLDER / "scripts" / "redis-entrypoint"
PASSWORD = "only-for-this-test"


@unittest.skipUnless("CI" in os.environ or shutil.which("redis-server") and shutil.which("redis-sentinel"), "no Redis here")
class Failover(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "password").write_text(PASSWORD + "\n")

    def start(self, name, *arguments, **environment):
        """What a container runs; its folder for what changes is its own."""
        place = self.folder / name
        place.mkdir()
        environment = {key: str(value) for key, value in environment.items()}
        environment |= {"PATH": os.environ["PATH"], "RUN_DIR": str(place),
                        "REDIS_PASSWORD_FILE": str(self.folder / "password")}
        with (place / "log").open("w") as log:
            process = subprocess.Popen(["sh", SCRIPT, *arguments], env=environment, stdout=log, stderr=log)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.wait(lambda: self.is_well(environment), f"{name} is not well")
        return process, environment

    @staticmethod
    def is_well(environment):
        return subprocess.run(["sh", SCRIPT, "ping"], env=environment, stderr=subprocess.DEVNULL).returncode == 0

    def wait(self, is_so, otherwise, seconds=60):
        deadline = time.monotonic() + seconds
        while not is_so():
            self.assertLess(time.monotonic(), deadline, otherwise)
            time.sleep(0.1)

    def ask(self, port, *question):
        answer = subprocess.run(["redis-cli", "-p", str(port), *question], stdout=subprocess.PIPE, text=True,
                                env={"PATH": os.environ["PATH"], "REDISCLI_AUTH": PASSWORD}, stderr=subprocess.DEVNULL)
        return answer.stdout.split("\n")

    def test_another_takes_over(self):
        first, second = ws.free_port(), ws.free_port()
        primary, environment = self.start("primary", "server", "127.0.0.1", REDIS_PORT=first)
        self.start("replica", "server", "127.0.0.1", "127.0.0.1", REDIS_PORT=second, PRIMARY_PORT=first)
        text = (FOLDER / "config" / "sentinel.conf").read_text()
        sentinels = []
        for number in (1, 2, 3):
            sentinels.append(ws.free_port())
            conf = self.folder / f"sentinel-{number}.conf"
            conf.write_text(re.sub(r"^dir .*$", f"dir {self.folder}", re.sub(
                r"^port .*$", f"port {sentinels[-1]}", text, flags=re.M), flags=re.M).replace(
                    "PRIMARY 6379", f"PRIMARY {first}"))
            self.start(f"sentinel-{number}", "sentinel", "127.0.0.1", SENTINEL_CONF=conf)

        def named(port):
            return self.ask(port, "sentinel", "get-master-addr-by-name", "liap")[1:2]

        self.assertEqual(named(sentinels[0]), [str(first)])
        self.wait(lambda: all(self.ask(port, "sentinel", "ckquorum", "liap")[0].startswith("OK 3") for port in sentinels),
                  "the Sentinels do not know each other")

        def knows_the_replica(port):
            told = self.ask(port, "sentinel", "replicas", "liap")
            return dict(zip(told, told[1:])).get("master-link-status") == "ok"

        # They ask the primary about that every ten seconds, and can promote nobody whom they have not heard of.
        self.wait(lambda: all(map(knows_the_replica, sentinels)), "the Sentinels do not know the replica")
        self.assertIn("NOAUTH", self.ask_without_password(first), "a password is needed")
        primary.kill()
        primary.wait()
        self.assertFalse(self.is_well(environment))
        self.wait(lambda: all(named(port) == [str(second)] for port in sentinels), "nobody took over")
        self.wait(lambda: self.ask(second, "set", "key", "value")[0] == "OK", "it takes nothing")

    def ask_without_password(self, port):
        return subprocess.run(["redis-cli", "-p", str(port), "ping"], capture_output=True, text=True,
                              env={"PATH": os.environ["PATH"]}).stdout


if __name__ == "__main__":
    unittest.main()
