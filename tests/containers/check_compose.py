"""Holds the compose files against what the schema cannot know.

    python3 tests/containers/check_compose.py [FOLDER]

Every image has a fixed version, every file that is mounted exists, every service says how to see that it is well and how
much it may use, whatever depends on a service knows it, somebody waits for the end of a job, settings of Liap are
settings, ports do not clash, and what is for production shows no database and no password.
"""

import re
import sys
from pathlib import Path

from ruamel.yaml import YAML

# What Liap hands on to the libraries of its services, as their own documentation has it.
OTHERS = {
    "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SHARED_CREDENTIALS_FILE",
}
# Where the rest of the machine expects to find things.
PORTS_OF_THE_HOST = {"dev": {8000: "liap", 9090: "metrics of liap"}}
# Ports of this stack that .env may move.
MOVABLE = {"LIAP_PORT", "GRAFANA_PORT"}
# Ports that may be seen from outside in production, each on this machine only.
DOORS = {"liap": 8000, "grafana": 3000}
VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?:(:?[-?+])([^}]*))?\}|(\w+))")


def interpolate(value, missing):
    """The text as compose reads it where no variable is set; variables without a default go into `missing`."""

    def put(match):
        if match.group(0) == "$$":
            return "$"
        name = match.group(1) or match.group(4)
        if match.group(2) not in ("-", ":-"):
            missing.add(name)
        return match.group(3) or ""

    if isinstance(value, str):
        return VARIABLE.sub(put, value)
    if isinstance(value, dict):
        return {key: interpolate(part, missing) for key, part in value.items()}
    if isinstance(value, list):
        return [interpolate(part, missing) for part in value]
    return value


def variables(value):
    """The names of all variables in a document."""
    if isinstance(value, str):
        return {name for match in VARIABLE.finditer(value) for name in (match.group(1), match.group(4)) if name}
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return set().union(*map(variables, parts))


def settings(folder):
    """The names of all settings of Liap."""
    return set(re.findall(r"^#(\w+)=", (folder / ".env.example").read_text(), re.MULTILINE))


def as_map(value):
    """A list of NAME=VALUE, or of names, as what it means."""
    if isinstance(value, dict):
        return value
    return dict(part.split("=", 1) if "=" in part else (part, {}) for part in value or [])


def minor(version):
    return len(re.findall(r"\d+", version)) >= 2


class Checker:
    """Gathers what is wrong with one file."""

    def __init__(self, folder, name, document):
        self.folder, self.name, self.raw = folder, name, document
        self.problems = []
        missing = set()
        self.document = interpolate(document, missing)
        for variable in sorted(missing):
            self.wrong("", f"{variable} has no default")
        self.services = self.document["services"]
        self.stack = re.fullmatch(r"docker-compose(?:\.(\w+))?\.yml", name).group(1) or "alone"

    def wrong(self, service, what):
        self.problems.append(f"{self.name}: {service + ': ' if service else ''}{what}")

    def run(self):
        known = settings(self.folder) | MOVABLE
        for variable in sorted(variables(self.raw) - known):
            self.wrong("", f"{variable} is no setting")
        for service, body in self.services.items():
            self.image(service, body)
            self.mounts(service, body)
            self.depends(service, body)
            self.environment(service, body)
            self.names(service, body)
            if self.is_running(body):
                if "healthcheck" not in body:
                    self.wrong(service, "no health check")
                if self.stack not in ("alone",) and "mem_limit" not in body:
                    self.wrong(service, "no limit of memory")
            else:
                self.job(service, body)
        self.ports()
        if self.stack == "prod":
            self.production()
        return self.problems

    @staticmethod
    def is_running(body):
        """Whether it goes on, unlike a job."""
        return body.get("restart") != "no"

    def image(self, service, body):
        image = body.get("image", "")
        name, _, tag = image.rpartition(":")
        if "build" in body:
            context = self.folder / (body["build"] if isinstance(body["build"], str) else body["build"]["context"])
            if not (context / "Dockerfile").is_file():
                self.wrong(service, "nothing to build from")
            target = body["build"].get("target") if isinstance(body["build"], dict) else None
            stages = re.findall(r"^FROM \S+ AS (\w+)$", (context / "Dockerfile").read_text(), re.MULTILINE)
            if target and target not in stages:
                self.wrong(service, f"the Dockerfile has no stage {target}")
        elif not name or "/" in tag or not minor(tag):
            self.wrong(service, f"the version of {image or 'its image'} is not fixed")

    def mounts(self, service, body):
        for volume in body.get("volumes", []):
            source, target, *_ = volume.split(":")
            if source.startswith((".", "/")):
                if not (self.folder / source).exists():
                    self.wrong(service, f"{source} does not exist")
                if not volume.endswith(":ro"):
                    self.wrong(service, f"{source} can be written")
            elif source not in (self.document.get("volumes") or {}):
                self.wrong(service, f"there is no volume {source}")
            if not target.startswith("/"):
                self.wrong(service, f"{target} is no path")

    def depends(self, service, body):
        conditions = {"service_healthy": True, "service_completed_successfully": False}
        for other, how in as_map(body.get("depends_on")).items():
            condition = how.get("condition")
            if other not in self.services:
                self.wrong(service, f"depends on {other}, which is not there")
            elif condition not in conditions:
                self.wrong(service, f"does not say what {other} must have come to")
            elif self.is_running(self.services[other]) != conditions[condition]:
                self.wrong(service, f"{other} will never be {condition}")
            elif set(self.services[other].get("profiles", [])) - set(body.get("profiles", [])) and how.get("required", True):
                self.wrong(service, f"{other} is in a profile that {service} is not in")

    def job(self, service, body):
        """`up --wait` takes the end of a job for a failure, unless a service that it starts too waits for that end."""
        profiles = set(body.get("profiles", []))
        others = [other for name, other in self.services.items() if name != service]
        if profiles and not any(profiles & set(other.get("profiles", [])) for other in others):
            # Nothing else is in its profile, so it is for `run`.
            return
        for other in others:
            condition = as_map(other.get("depends_on")).get(service, {}).get("condition")
            where = set(other.get("profiles", []))
            is_there = not where or (profiles and profiles <= where)
            if condition == "service_completed_successfully" and self.is_running(other) and is_there:
                return
        self.wrong(service, "ends, and nothing that goes on waits for that")

    def environment(self, service, body):
        if service not in ("liap", "tester"):
            return
        known = settings(self.folder)
        for variable in as_map(body.get("environment")):
            name = variable.removesuffix("_FILE")
            if service == "liap" and name not in known and variable not in OTHERS:
                self.wrong(service, f"{variable} is no setting")

    def names(self, service, body):
        for kind in ("secrets", "networks"):
            for name in as_map(body.get(kind)):
                if name not in (self.document.get(kind) or {}):
                    self.wrong(service, f"there is no {kind.removesuffix('s')} {name}")
        for path in re.findall(r"/run/secrets/(\w+)", repr({**body, "secrets": None})):
            given = [Path(config["target"]).name for config in body.get("configs", [])]
            if path not in as_map(body.get("secrets")) and path not in given:
                self.wrong(service, f"does not get the secret {path}")

    def ports(self):
        taken = dict(PORTS_OF_THE_HOST.get(self.stack, {}))
        for service, body in self.services.items():
            for port in body.get("ports", []):
                *host, published, _ = port.split(":")
                if int(published) in taken:
                    self.wrong(service, f"port {published} is that of {taken[int(published)]}")
                taken[int(published)] = service
                if self.stack != "alone" and host != ["127.0.0.1"]:
                    self.wrong(service, f"port {published} can be reached from other machines")

    def production(self):
        for service, body in self.services.items():
            for port in body.get("ports", []):
                if DOORS.get(service) != int(port.split(":")[-1]):
                    self.wrong(service, f"port {port} is published")
            for variable, value in as_map(body.get("environment")).items():
                if re.search("PASSWORD|SECRET|TOKEN", variable) and not variable.endswith("FILE"):
                    self.wrong(service, f"{variable} is in plain sight")
                if isinstance(value, str) and re.search(r"://[^/]*:[^/]*@", value):
                    self.wrong(service, f"{variable} holds a password")
            if body.get("cap_drop") != ["ALL"] or "no-new-privileges:true" not in body.get("security_opt", []):
                self.wrong(service, "has more rights than it needs")
            if not body.get("networks"):
                self.wrong(service, "is in the network of everybody")
        given = {secret for body in self.services.values() for secret in body.get("secrets", [])}
        for secret in self.document["secrets"].keys() - given:
            self.wrong("", f"nobody gets the secret {secret}")


def check(folder, name, document):
    return Checker(folder, name, document).run()


def load(path):
    return YAML(typ="safe").load(path.read_text())


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    files = sorted(folder.glob("docker-compose*.yml"))
    problems = [problem for file in files for problem in check(folder, file.name, load(file))]
    print("\n".join(problems) or f"{len(files)} compose files are well")
    return 1 if problems or not files else 0


if __name__ == "__main__":
    sys.exit(main())
