#!/usr/bin/env python3
"""Copies of the archive while their places are killed, stand still and come back at random; and moves meanwhile.

    sink_outage.py --liap target/release/liap --s3s-fs target/test-tools/bin/s3s-fs --games 2000
    sink_outage.py … --postgres /usr/lib/postgresql/15/bin

Needs a build with the feature `s3`, and `postgres` for the latter, and boto3 (`pip install boto3`, or Debian's
python3-boto3): at the end the bucket is listed by a client that is not Liap's. First the time of a move, with each place standing
still and gone, and before each of these with all of them there. Then an archive with so many games, all of them owed, is
delivered by a server that plays on and is killed itself now and then, while one place after the other is out. Exit code: 0
if at the end each place has the games of the archive, each once, and the p99 of a move during outages is at most a tenth
above that without.
"""

import argparse
import os
import pathlib
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

try:
    import boto3
    import botocore.config
except ImportError:
    boto3 = None

from outages import Service, is_as_fast, listens, p99_ms, until
from ws import free_port

KEY, SECRET = "liap-test", "a-secret-of-the-tests"


class Bucket(Service):
    """A server that speaks S3, whose bucket is a folder."""

    name = "s3"

    def __init__(self, program, folder):
        self.program, self.folder, self.port = program, pathlib.Path(folder), free_port()
        (self.folder / "liap").mkdir(parents=True)
        self.start()

    def start(self):
        command = [self.program, "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--access-key", KEY, "--secret-key", SECRET, str(self.folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until("the bucket listens", lambda: listens(self.port))

    def settings(self):
        url = f"s3://liap/games/?endpoint=http://127.0.0.1:{self.port}"
        return {"ARCHIVE_URL_S3": url, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}

    def games(self):
        """All games, as a client of another make lists them, which has to agree with what lies on disk."""
        config = botocore.config.Config(s3={"addressing_style": "path"})
        client = boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{self.port}", region_name="us-east-1", config=config,
            aws_access_key_id=KEY, aws_secret_access_key=SECRET,
        )
        pages = client.get_paginator("list_objects_v2").paginate(Bucket="liap", Prefix="games/")
        objects = [listed for page in pages for listed in page.get("Contents", [])]
        listed = sorted(pathlib.PurePosixPath(one["Key"]).stem for one in objects if one["Size"] > 0)
        on_disk = sorted(path.stem for path in self.folder.rglob("*.liap"))
        print(f"s3: boto3 {boto3.__version__} lists {len(listed)} objects, {len(on_disk)} lie on disk", flush=True)
        if listed != on_disk:
            raise SystemExit("the bucket lists other games than lie in it")
        return listed


class Database(Service):
    """A PostgreSQL server of our own."""

    name = "postgresql"

    def __init__(self, programs, folder):
        self.programs, self.folder, self.port = pathlib.Path(programs), pathlib.Path(folder), free_port()
        self.folder.mkdir()
        # It does not run as root.
        self.user = [] if os.geteuid() else ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        if self.user:
            os.chown(self.folder, 65534, 65534)
        initdb = [self.programs / "initdb", "--pgdata", self.folder / "data", "--username=liap", "--auth=trust"]
        subprocess.run([*self.user, *initdb], check=True, stdout=subprocess.DEVNULL)
        self.start()
        self.ask("CREATE DATABASE liap", database="postgres")

    def start(self):
        command = [self.programs / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-h", "127.0.0.1"]
        command += ["-k", self.folder]

        def answers():
            # It does not start while a worker of its last life is not gone yet.
            if self.process is None or self.process.poll() is not None:
                self.process = subprocess.Popen([*self.user, *command], stderr=subprocess.DEVNULL, start_new_session=True)
            return self.ask("SELECT 1", database="postgres", check=False) == "1"

        self.process = None
        until("the database answers", answers, 120)

    def ask(self, query, database="liap", check=True):
        command = [self.programs / "psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "liap", "-Atqc", query, database]
        asked = subprocess.run(command, check=check, capture_output=True, text=True)
        return asked.stdout.strip()

    def settings(self):
        return {"ARCHIVE_URL_POSTGRESQL": f"postgresql://liap@127.0.0.1:{self.port}/liap"}

    def signal(self, number):
        # With all its workers, which have sessions or groups of their own.
        pids = subprocess.run(["pgrep", "--parent", str(self.process.pid)], capture_output=True, text=True).stdout.split()
        for pid in [self.process.pid, *map(int, pids)]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def stand_still(self):
        self.signal(signal.SIGSTOP)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()

    def recover(self):
        self.signal(signal.SIGCONT)
        super().recover()

    def games(self):
        return sorted(self.ask("SELECT game_id FROM archive.completed_games").split())


class Liap:
    """The server under test."""

    def __init__(self, program, data, places):
        self.program, self.port, self.metrics = program, free_port(), free_port()
        self.environment = {
            "HOST": "127.0.0.1", "PORT": str(self.port), "METRICS_PORT": str(self.metrics), "LOG_LEVEL": "error",
            "ADMIN_TOKEN": "nobody-asks-for-it", "GAME_PACE": "0", "USE_RATE_LIMITING": "false", "MAX_SOCKETS_PER_ADDRESS": "20000", "DATA_DIR": data,
            "ARCHIVE_RETENTION_DAYS": "0", "ARCHIVE_FLUSH_INTERVAL": "1",
            "ARCHIVE_BACKENDS": ",".join(place.name for place in places),
        }
        for place in places:
            self.environment |= place.settings()

    def run(self, *arguments, check=True):
        command = [self.program, *map(str, arguments)]
        return subprocess.run(command, env=self.environment, check=check, stdout=subprocess.PIPE, text=True)

    def start(self):
        self.process = subprocess.Popen([self.program], env=self.environment)
        until("the server is ready", lambda: urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready"))

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait()

    def counted(self, name):
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics").read().decode()
        return {sink: float(value) for sink, value in re.findall(rf'^{name}{{sink="(\w+)"}} (\S+)$', text, re.MULTILINE)}

    def owed(self):
        return sum(self.counted("liap_sink_pending").values())


def moves(options, liap, places):
    """Whether moves take as long during outages as without."""
    outages = {}
    for place in places:
        outages[f"{place.name} standing still"] = (place, place.stand_still)
        outages[f"{place.name} gone"] = (place, place.kill)
    there, found = [], {state: [] for state in outages}

    def measured(state, outage):
        until("everything is delivered", lambda: liap.owed() == 0, 120)
        ms = p99_ms(options, liap.port, outage)
        print(f"{state}: p99 {ms:.2f} ms, {liap.owed():.0f} games owed", flush=True)
        return ms

    liap.start()
    p99_ms(options, liap.port, lambda: None)  # Warms up.
    for _ in range(options.rounds):
        for state, (place, outage) in outages.items():
            # Before each of them, for a place that has just come back is another than one that was there for long.
            there.append(measured("there", lambda: None))
            found[state].append(measured(state, outage))
            place.recover()
    liap.stop()
    return is_as_fast(statistics.median(there), found)


def deliveries(options, liap, places, folder):
    """Whether every game arrives, once, whatever happens."""
    games = f"{folder}/games.jsonl"
    liap.run("simulate", "--games", options.games, "--seed", options.seed, "--json", games)
    print(liap.run("archive", "import", games).stdout.strip(), flush=True)
    chance = random.Random(options.seed)
    liap.start()
    begun, count = time.monotonic(), 0
    while liap.owed() > 0:
        if time.monotonic() > begun + options.minutes * 60:
            raise SystemExit(f"{liap.owed():.0f} games are still owed")
        place, kind = places[count % len(places)], chance.choice(["kill", "stand still", "restart"])
        {"kill": place.kill, "stand still": place.stand_still, "restart": place.kill}[kind]()
        if kind != "restart":
            time.sleep(chance.uniform(0.2, 2))
        if count % 7 == 3:
            # The server itself, with a full outbox.
            liap.stop(signal.SIGKILL)
            liap.start()
        place.recover()
        time.sleep(chance.uniform(0.5, options.gap))
        count += 1
    seconds = time.monotonic() - begun
    print(f"{count} outages in {seconds:.0f} s; failures {liap.counted('liap_sink_failures_total')}", flush=True)
    # Beside the running server.
    compared = liap.run("archive", "compare", check=False)
    print(compared.stdout.strip()[-2000:], flush=True)
    liap.stop()
    exported = liap.run("archive", "export", f"{folder}/all.jsonl")
    here = sorted(re.findall(r'"game_id":"(\w+)"', pathlib.Path(f"{folder}/all.jsonl").read_text()))
    is_same = compared.returncode == 0 and len(here) >= options.games and exported.returncode == 0
    for place in places:
        there = place.games()
        print(f"{place.name}: {len(there)} games there, {len(set(there))} different ones, {len(here)} here")
        is_same &= there == here
    return is_same


def main(options):
    with tempfile.TemporaryDirectory(prefix="liap-sinks-") as folder:
        os.chmod(folder, 0o755)
        places = [Bucket(options.s3s_fs, f"{folder}/s3")]
        if options.postgres:
            places.append(Database(options.postgres, f"{folder}/postgres"))
        try:
            liap = Liap(options.liap, f"{folder}/data", places)
            is_quick = options.rounds == 0 or moves(options, liap, places)
            is_whole = deliveries(options, liap, places, folder)
            if options.then:
                environment = liap.environment | {"PATH": os.environ["PATH"], "BUCKET_PORT": str(places[0].port)}
                subprocess.run(options.then, shell=True, env=environment, check=True)
        finally:
            for place in places:
                place.recover()
                place.kill()
    return 0 if is_quick and is_whole else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--liap", default=os.environ.get("LIAP_BIN", "target/release/liap"))
    parser.add_argument("--s3s-fs", default=os.environ.get("LIAP_TEST_S3S_FS", "target/test-tools/bin/s3s-fs"))
    parser.add_argument("--postgres", help="the folder of the programs of a PostgreSQL server")
    parser.add_argument("--games", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--gap", type=float, default=4, help="longest time between two outages, in seconds")
    parser.add_argument("--rooms", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--then", help="a command to run at the end, with the settings in its environment")
    options = parser.parse_args()
    if boto3 is None:
        sys.exit("there is no boto3, which lists the bucket at the end: pip install boto3, or apt-get install python3-boto3")
    sys.exit(main(options))
