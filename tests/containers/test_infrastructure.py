"""The scripts that start, stop and reset stacks, with a stand-in for docker that writes down what it is asked."""

import os
import pty
import re
import shutil
import stat
import subprocess
import tempfile
import unittest
from pathlib import Path

FOLDER = Path(__file__).parents[2]
DOCKER = """#!/bin/sh
printf '%s\\n' "$*" >>"$LOG"
case "$*" in *volumes) printf 'postgres\\nminio\\n' ;; *" up "*) exit "${UP:-0}" ;; esac
"""


class Stand(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        shutil.copytree(FOLDER / "scripts", self.folder / "scripts")
        for file in FOLDER.glob("docker-compose*.yml"):
            shutil.copy(file, self.folder)
        docker = self.folder / "bin" / "docker"
        docker.parent.mkdir()
        docker.write_text(DOCKER)
        docker.chmod(0o755)
        self.log = self.folder / "log"
        self.environment = {"PATH": f"{docker.parent}:{os.environ['PATH']}", "LOG": str(self.log)}

    def run_script(self, script, *arguments, **more):
        command = [self.folder / "scripts" / f"{script}-infrastructure", *arguments]
        more = {"stdin": subprocess.DEVNULL, "env": self.environment, "cwd": "/", **more}
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, **more)

    def asked(self):
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if line != "compose version"]

    def test_starts_development_and_waits(self):
        self.assertEqual(self.run_script("start").returncode, 0)
        file = "compose --file docker-compose.dev.yml"
        self.assertEqual(self.asked(), [f"{file} up --detach --wait --wait-timeout 180", f"{file} ps"])
        self.assertFalse((self.folder / "secrets").exists())

    def test_starts_a_profile(self):
        self.run_script("start", "dev", "archive")
        self.assertIn("compose --file docker-compose.dev.yml --profile archive up --detach --wait --wait-timeout 180",
                      self.asked())

    def test_says_when_something_is_not_well(self):
        outcome = self.run_script("start", env={**self.environment, "UP": "1"})
        self.assertEqual(outcome.returncode, 1)
        self.assertIn("not everything is well", outcome.stdout)

    def test_production_has_passwords_of_its_own(self):
        self.assertEqual(self.run_script("start", "prod").returncode, 0)
        self.assertEqual(self.asked()[:2], [f"compose --file docker-compose.prod.yml --profile monitoring {rest}" for rest in
                                            ("build", "up --detach --wait --wait-timeout 180")])
        folder = self.folder / "secrets"
        self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700)
        wanted = re.findall(r"file: ./secrets/(\w+)", (self.folder / "docker-compose.prod.yml").read_text())
        secrets = {file.name: file.read_text() for file in folder.iterdir()}
        self.assertEqual(sorted(secrets), sorted(wanted))
        self.assertTrue(all(text.endswith("\n") and len(text) > 16 for text in secrets.values()), secrets)
        # What belongs together fits together.
        password = secrets["archive_password"].strip()
        self.assertEqual(secrets["database_url"], f"postgresql://liap:{password}@pgbouncer:6432/liap_archive\n")
        self.assertEqual(secrets["pgbouncer_users"], f'"liap" "{password}"\n')
        self.assertIn(secrets["redis_password"].strip(), secrets["redis_url"])
        self.assertIn(f"aws_secret_access_key = {secrets['s3_secret_key']}", secrets["aws_credentials"])
        self.run_script("start", "prod")
        self.assertEqual({file.name: file.read_text() for file in folder.iterdir()}, secrets, "kept")

    def test_stops_every_profile(self):
        self.assertEqual(self.run_script("stop", "prod").returncode, 0)
        self.assertEqual(self.asked(), ["compose --file docker-compose.prod.yml --profile * down"])

    def test_resets_nothing_when_nobody_can_be_asked(self):
        outcome = self.run_script("reset", "prod")
        self.assertEqual((outcome.returncode, self.asked()), (64, []))
        self.assertIn("--yes", outcome.stdout)

    def test_resets_when_it_is_meant(self):
        self.run_script("start", "prod")
        self.log.unlink()
        self.assertEqual(self.run_script("reset", "--yes", "prod").returncode, 0)
        self.assertEqual(self.asked(),
                         ["compose --file docker-compose.prod.yml --profile * down --volumes --remove-orphans"])
        self.assertFalse((self.folder / "secrets").exists())

    def answer(self, text):
        """Somebody at a terminal types this."""
        here, there = pty.openpty()
        try:
            os.write(here, text.encode())
            return self.run_script("reset", "dev", stdin=there)
        finally:
            os.close(here)
            os.close(there)

    def test_asks_at_a_terminal(self):
        for text in ("yes\n", "y\n", "\n", "prod\n"):
            outcome = self.answer(text)
            self.assertEqual(outcome.returncode, 1, outcome.stdout)
            self.assertIn("minio", outcome.stdout, "what would be deleted")
            self.assertFalse([line for line in self.asked() if " down" in line])
        self.assertEqual(self.answer("dev\n").returncode, 0)
        self.assertIn("compose --file docker-compose.dev.yml --profile * down --volumes --remove-orphans", self.asked())

    def test_knows_its_stacks(self):
        for script in ("start", "stop", "reset"):
            outcome = self.run_script(script, *(["--yes"] if script == "reset" else []), "live")
            self.assertEqual((outcome.returncode, self.asked()), (64, []))

    def test_says_that_docker_is_missing(self):
        os.remove(self.folder / "bin" / "docker")
        for tool in ("bash", "dirname", "basename", "env"):
            (self.folder / "bin" / tool).symlink_to(shutil.which(tool))
        outcome = self.run_script("start", env={**self.environment, "PATH": str(self.folder / "bin")})
        self.assertEqual(outcome.returncode, 69)
        self.assertIn("install Docker", outcome.stdout)


if __name__ == "__main__":
    unittest.main()
