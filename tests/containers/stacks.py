#!/usr/bin/env python3
"""The image and the stacks in real containers: built from the Dockerfile, started by the scripts, played, broken, restored.

    stacks.py FOLDER         # works in FOLDER, as root, and needs dockerd, docker with compose, debootstrap

The containers live in a network of their own, so nothing on this machine changes. Images of others are made here from Debian's
packages and tagged as our files name them: what is tried is our Dockerfile, compose files, scripts and settings. MinIO and Grafana
are not in Debian: an S3 server from crates.io and a server of one page stand in for them.

Exit code: 0 all well, 1 something is not.
"""

import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = pathlib.Path(sys.argv[1]).resolve()
SOCKET = FOLDER / "docker.sock"
PROJECT = FOLDER / "project"
TOOLS = ROOT / "target" / "test-tools"
# Where a failover is late, and where a container that is asked to stop is.
FAILOVER_SECONDS = 15
STOP_SECONDS = 10
# What the Dockerfile says of its image's size, and a tenth more.
IMAGE_MB = {"": 22, "redis,s3,postgres": 33}

SERVICES = [
    "busybox", "ca-certificates", "curl", "pgbouncer", "postgresql", "prometheus", "prometheus-alertmanager",
    "prometheus-postgres-exporter", "prometheus-redis-exporter", "redis-server", "redis-sentinel", "wget",
]
# What official images bring beside the program, as far as our files use it.
STAND_INS = {
    "usr/local/bin/postgres-entrypoint": """#!/bin/sh
# As the official image: an empty folder becomes a database, owned by POSTGRES_USER, and files of the init folder are run once.
set -eu
PATH=$PATH:$(echo /usr/lib/postgresql/*/bin)
data=/var/lib/postgresql/data
if [ ! -s $data/PG_VERSION ]; then
    chown postgres $data
    [ -z "${POSTGRES_PASSWORD_FILE:-}" ] || POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
    echo "$POSTGRES_PASSWORD" >/tmp/password
    chmod 644 /tmp/password
    setpriv --reuid postgres --clear-groups initdb --pgdata $data --username "$POSTGRES_USER" --pwfile /tmp/password \\
        ${POSTGRES_INITDB_ARGS:-} --auth-local=trust
    rm /tmp/password
    echo "host all all all scram-sha-256" >>$data/pg_hba.conf
    setpriv --reuid postgres --clear-groups pg_ctl --pgdata $data --options "-c listen_addresses= -k /tmp" --wait start
    export PGHOST=/tmp POSTGRES_USER POSTGRES_DB
    createdb --username "$POSTGRES_USER" "$POSTGRES_DB"
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
            *.sql) psql --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --file "$file" ;;
            *) sh "$file" ;;
        esac
    done
    setpriv --reuid postgres --clear-groups pg_ctl --pgdata $data --wait stop
fi
exec setpriv --reuid postgres --clear-groups postgres -D $data -c "listen_addresses=*" -c unix_socket_directories=/tmp
""",
    "usr/local/bin/minio": """#!/bin/sh
[ -z "${MINIO_ROOT_USER_FILE:-}" ] || MINIO_ROOT_USER=$(cat "$MINIO_ROOT_USER_FILE")
[ -z "${MINIO_ROOT_PASSWORD_FILE:-}" ] || MINIO_ROOT_PASSWORD=$(cat "$MINIO_ROOT_PASSWORD_FILE")
exec s3s-fs --host 0.0.0.0 --port 9000 --access-key "$MINIO_ROOT_USER" --secret-key "$MINIO_ROOT_PASSWORD" /data
""",
    "usr/local/bin/mc": """#!/bin/sh
# `mc ready`, `mc alias set` and `mc mb --ignore-existing`, by curl.
[ "$1" != --config-dir ] || { mkdir -p "$2"; cd "$2"; shift 2; }
case "$1 $2" in
    "ready local") exec curl --silent --output /dev/null http://127.0.0.1:9000/ ;;
    "alias set") printf '%s\\n' "$4" "$5:$6" >alias ;;
    "mb --ignore-existing")
        if [ -n "${MC_HOST_liap:-}" ]; then
            user=${MC_HOST_liap#http://} && user=${user%@*} url=http://${MC_HOST_liap#*@}
        else
            url=$(sed -n 1p alias) user=$(sed -n 2p alias)
        fi
        answer=$(curl --silent --output /dev/null --write-out "%{http_code}" --aws-sigv4 aws:amz:us-east-1:s3 --user "$user" \\
            --request PUT "$url/${3#*/}")
        [ "$answer" = 200 ] || [ "$answer" = 409 ] ;;
    *) exit 64 ;;
esac
""",
    "usr/local/bin/grafana": "#!/bin/sh\nmkdir -p /tmp/api && echo '{}' >/tmp/api/health && exec busybox httpd -f -p 3000 -h /tmp\n",
}
# Which program an image runs where the compose file gives only its arguments.
ENTRYPOINTS = {
    "postgres": "postgres-entrypoint", "prom/prometheus": "prometheus", "prom/alertmanager": "prometheus-alertmanager",
    "prometheuscommunity/postgres-exporter": "prometheus-postgres-exporter", "quay.io/minio/minio": "minio",
    "grafana/grafana": "grafana",
}
# Official images do not begin as root where they need nothing of it.
USERS = {"edoburu/pgbouncer": "postgres", "prom/prometheus": "prometheus", "prom/alertmanager": "prometheus",
         "prometheuscommunity/postgres-exporter": "prometheus", "oliver006/redis_exporter": "prometheus"}

failed = 0


def check(what, holds, shown=""):
    """What must be so, each said once."""
    global failed
    print(f"{'ok  ' if holds else 'FAIL'} {what}{f': {shown}' if shown != '' else ''}", flush=True)
    failed += not holds
    return holds


def run(*command, **options):
    """A command that must succeed; its output."""
    options = {"check": True, "stdout": subprocess.PIPE, "text": True, "cwd": PROJECT, **options}
    return subprocess.run([str(part) for part in command], **options).stdout


def docker(*arguments, **options):
    return run("docker", *arguments, **options).strip()


def wait(seconds, holds):
    """How long it took until this held; None if it never did."""
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        with contextlib.suppress(OSError, ValueError, LookupError, subprocess.CalledProcessError):
            if holds():
                return time.monotonic() - begun
        time.sleep(0.25)
    return None


@contextlib.contextmanager
def daemon(*options):
    """A Docker daemon of our own."""
    log = FOLDER / "dockerd.log"
    with log.open("w") as output:
        process = subprocess.Popen(["dockerd", "--data-root", FOLDER / "data", "--exec-root", FOLDER / "exec", "--pidfile",
                                    FOLDER / "pid", "--host", f"unix://{SOCKET}", *options], stdout=output, stderr=output)
    try:
        if wait(60, lambda: process.poll() is not None or docker("version")) is None or process.poll() is not None:
            sys.exit(f"no daemon:\n{log.read_text()[-2000:]}")
        yield
    finally:
        process.terminate()
        process.wait(60)


def debootstrap(suite, packages):
    """A root folder with these packages of Debian."""
    root = FOLDER / f"root-{suite}"
    mirror = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"], check=True,
                            stdout=subprocess.PIPE, text=True).stdout.split()
    mirror = next(uri for uri in mirror if re.search(r"/debian/?$", uri))
    run("debootstrap", "--variant=minbase", f"--include={','.join(packages)}", suite, root, mirror, stdout=subprocess.DEVNULL)
    return root


def bring_in(root, image, *changes):
    changes = [word for change in changes for word in ("--change", change)]
    archive = subprocess.Popen(["tar", "--create", "--exclude=./var/cache/apt/*", "--exclude=./var/lib/apt/lists/*", "--directory", root,
                                "."], stdout=subprocess.PIPE)
    docker("import", *changes, "-", image, stdin=archive.stdout)


def there(image):
    return subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode == 0


def make_service_images():
    """One root folder with all services, under every name that the compose files use."""
    if not there("services"):
        root = debootstrap("trixie", SERVICES)
        for name, text in STAND_INS.items():
            (root / name).write_text(text)
            (root / name).chmod(0o755)
        shutil.copy(TOOLS / "bin" / "s3s-fs", root / "usr/local/bin")
        (root / "redis_exporter").symlink_to("/usr/bin/prometheus-redis-exporter")
        (root / "data").mkdir()
        for folder in ("prometheus", "alertmanager"):
            (root / folder).mkdir()
            run("chroot", root, "chown", "prometheus", f"/{folder}")
        bring_in(root, "services")
        shutil.rmtree(root)
    names = {name for file in ROOT.glob("docker-compose.*.yml") for name in re.findall(r"image: (\S+:\S+)", file.read_text())}
    for image in sorted(name for name in names if not name.startswith("liap")):
        name = image.rpartition(":")[0]
        lines = [f"ENTRYPOINT [\"{ENTRYPOINTS[name]}\"]"] if name in ENTRYPOINTS else []
        lines += [f"USER {USERS[name]}"] if name in USERS else []
        docker("build", "--tag", image, "-", input="\n".join(["FROM services", *lines]))


def make_toolchain_image():
    """The image that the Dockerfile builds in: this machine's Rust on the Debian that the tag names."""
    image = re.search(r"^FROM (rust:\S+) AS source", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[1]
    if there(image):
        return
    root = debootstrap(image.rpartition("-")[2], ["ca-certificates", "gcc", "libc6-dev"])
    sysroot = run("rustc", "--print", "sysroot", cwd="/").strip()
    run("cp", "--archive", sysroot, root / "usr/local/rust")
    bring_in(root, image, "ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    shutil.rmtree(root)


def fit_open_files():
    """A machine that is a container itself may forbid to open as many files as our stacks ask for."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    for file in PROJECT.glob("docker-compose*.yml"):
        text = file.read_text()
        wanted = [int(number) for number in re.findall(r"nofile: (\d+)", text)]
        if max(wanted, default=0) > limit:
            print(f"--- {file.name}: nofile is {limit} here, not {max(wanted)}")
            file.write_text(re.sub(r"nofile: \d+", f"nofile: {limit}", text))


def build():
    """The images of Liap, from the Dockerfile as it is, and of what is around it. Only this needs a way out."""
    with daemon("--bridge", "none", "--iptables=false", "--ip-masq=false"):
        make_service_images()
        make_toolchain_image()
        for features, tag in (("", "liap"), ("redis,s3,postgres", "liap:full")):
            begun = time.monotonic()
            docker("build", "--network", "host", "--build-arg", f"FEATURES={features}", "--tag", tag, ".")
            size = int(docker("image", "inspect", "--format", "{{.Size}}", tag)) / 1e6
            check(f"{tag} is built", size < IMAGE_MB[features], f"{size:.1f} MB in {time.monotonic() - begun:.0f} s")
        # An image that is newer by a byte, to upgrade to.
        docker("build", "--tag", "liap:next", "-", input="FROM liap:full\nLABEL next=1\n")


def answer(path, port=8000):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
        return json.load(response)


def client(program, *arguments):
    done = subprocess.run([sys.executable, ROOT / "tests/clients" / program, "--url", "http://127.0.0.1:8000", *arguments],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300)
    return check(f"{program} {' '.join(arguments)}", done.returncode == 0, "" if done.returncode == 0 else done.stdout[-2000:])


def compose(file, *arguments, **options):
    return run("docker", "compose", "--file", file, *arguments, **options)


def image_alone():
    """The image with the least rights there are."""
    docker("run", "--detach", "--name", "alone", "--read-only", "--cap-drop", "ALL", "--publish", "127.0.0.1:8000:8000",
           "--volume", "alone:/data", "--env", "GAME_PACE=0.01", "liap")
    check("it runs on a read-only root without capabilities", wait(30, lambda: answer("/health/ready")))
    check("it is nobody's root", docker("inspect", "--format", "{{.Config.User}}", "liap") == "65532:65532")
    check("its health check holds", wait(60, lambda: docker("inspect", "--format", "{{.State.Health.Status}}", "alone") == "healthy"))
    client("play_game.py", "--games", "1")
    begun = time.monotonic()
    docker("stop", "--time", "30", "alone")
    took = time.monotonic() - begun
    code = docker("inspect", "--format", "{{.State.ExitCode}}", "alone")
    check("it stops in time, and well", took < STOP_SECONDS and code == "0", f"{took:.1f} s, exit code {code}")
    docker("rm", "--volumes", "alone")


def plain_stack():
    compose("docker-compose.yml", "up", "--detach", "--no-build", "--wait", "--wait-timeout", "60")
    client("play_game.py", "--games", "1")
    compose("docker-compose.yml", "down", "--volumes")


def development_stack():
    run("scripts/start-infrastructure", "dev", "archive")
    for port, path in ((9091, "/-/ready"), (9093, "/-/ready"), (3000, "/api/health")):
        urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5)
    run("scripts/reset-infrastructure", "--yes", "dev")


def production_stack():
    run("scripts/start-infrastructure", "prod")
    check("production is ready", answer("/health/ready")["status"] == "ready")
    shown = answer("/health")
    check("and healthy", shown["status"] == "healthy", {name: one for name, one in shown["checks"].items() if one["status"] != "healthy"})
    client("play_game.py", "--games", "1")
    games = lambda: int(compose(PRODUCTION, "exec", "--no-TTY", "postgres", "psql", "--username", "postgres", "--host", "/tmp", "--dbname",
                                "liap_archive", "--no-psqlrc", "--no-align", "--tuples-only", "--command",
                                "SELECT count(*) FROM archive.completed_games"))
    if not check("the game is in PostgreSQL", wait(120, lambda: games() == 1)):
        print(games(), json.dumps(answer("/health")["checks"]["postgresql"]))
    in_bucket = lambda: compose(PRODUCTION, "exec", "--no-TTY", "minio", "find", "/data/liap-archives/games", "-type", "f").strip()
    check("and in the bucket", wait(60, in_bucket))
    failover()
    monitoring()
    backup_and_restore()
    upgrade()
    run("scripts/reset-infrastructure", "--yes", "prod")


def primary():
    told = compose(PRODUCTION, "exec", "--no-TTY", "--index", "1", "redis-sentinel", "redis-cli", "-p", "26379", "sentinel",
                   "get-master-addr-by-name", "liap")
    return told.splitlines()[0]


def failover():
    before = primary()
    docker("kill", "liap-redis-primary-1")
    docker("update", "--restart", "no", "liap-redis-primary-1")
    took = wait(60, lambda: primary() not in (before, ""))
    check("another Redis takes over", took is not None and took <= FAILOVER_SECONDS, f"{took} s")
    back = wait(30, lambda: answer("/health")["checks"]["redis"]["status"] == "healthy")
    check("Liap uses it", back is not None, f"{back} s later")
    docker("start", "liap-redis-primary-1")
    check("the first one comes back", wait(60, lambda: "healthy" in docker("ps", "--filter", "name=redis-primary")))
    redis_in_containers()


def redis_in_containers():
    """As docs/operations.md says."""
    for server in ("redis-primary", "redis-replica"):
        told = compose(PRODUCTION, "exec", "--no-TTY", server, "sh", "-c",
                       "REDISCLI_AUTH=$(cat /run/secrets/redis_password) redis-cli info memory")
        check(f"{server} tells of its memory", "used_memory_human" in told)


def monitoring():
    query = lambda text: json.loads(compose(PRODUCTION, "exec", "--no-TTY", "prometheus", "wget", "--quiet", "--output-document=-",
                                            f"http://127.0.0.1:9090/api/v1/query?query={text}"))["data"]["result"]
    targets = lambda: {(one["metric"]["job"], one["value"][1]) for one in query("up")}
    wanted = {(job, "1") for job in ("liap", "postgres", "redis", "alertmanager")}
    check("Prometheus measures all services", wait(60, lambda: targets() == wanted), targets())
    check("both Redis servers", wait(60, lambda: [one["value"][1] for one in query("redis_up")] == ["1", "1"]))
    known = lambda: json.loads(compose(PRODUCTION, "exec", "--no-TTY", "prometheus", "wget", "--quiet", "--output-document=-",
                                       "http://127.0.0.1:9090/api/v1/alertmanagers"))["data"]["activeAlertmanagers"]
    check("and knows where alerts go", known())


def backup_and_restore():
    run("scripts/backup", "--compose", PRODUCTION, FOLDER / "backups")
    backup = max((FOLDER / "backups").iterdir())
    os.chmod(backup, 0o755)
    os.chmod(backup / "games.liap", 0o644)
    docker("run", "--rm", "--volume", "restored:/data", "--volume", f"{backup}:/backup:ro", "liap:full", "archive", "restore",
           "/backup/games.liap")
    listed = docker("run", "--rm", "--volume", "restored:/data", "liap:full", "archive", "list", "--json")
    check("a backup comes back", len(listed.splitlines()) == 1, listed[:200])


def upgrade():
    load = compose(PRODUCTION, "exec", "--no-TTY", "liap", "liap", "load", "--server", "127.0.0.1:8000", "--rooms", "20", "--people",
                   "1", "--seconds", "1")
    rooms = answer("/health")["checks"]["rooms"]["rooms"]
    docker("tag", "liap:full", "liap:before")
    docker("tag", "liap:next", "liap:full")
    compose(PRODUCTION, "up", "--detach", "--no-build", "--no-deps", "--wait", "liap")
    now = answer("/health")["checks"]["rooms"]["rooms"]
    check("an upgrade keeps the games that run", rooms > 0 and now == rooms, f"{rooms} before, {now} after; {load[-200:] if not rooms else ''}")


PRODUCTION = "docker-compose.prod.yml"


def show_unwell():
    """The last words of containers that are not well, for whoever reads of a failure."""
    for line in docker("ps", "--all", "--format", "{{.Names}} {{.Status}}").splitlines():
        name, _, status = line.partition(" ")
        if "(healthy)" not in status:
            print(f"--- {line}")
            subprocess.run(["docker", "logs", "--tail", "20", name], stderr=subprocess.STDOUT)


def main():
    os.environ["DOCKER_HOST"] = f"unix://{SOCKET}"
    os.environ["DOCKER_BUILDKIT"] = "0"
    if sys.argv[2:] != ["inside"]:
        shutil.rmtree(PROJECT, ignore_errors=True)
        FOLDER.mkdir(parents=True, exist_ok=True)
        # The project as it is committed or about to be, without what was made in it.
        PROJECT.mkdir()
        files = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=ROOT)
        run("tar", "--create", "--null", "--files-from=-", "--file", FOLDER / "project.tar", cwd=ROOT, input=files)
        run("tar", "--extract", "--file", FOLDER / "project.tar")
        fit_open_files()
        # Whole games in seconds, by settings where operators have them.
        (PROJECT / ".env").write_text("GAME_PACE=0.01\n")
        build()
        inside = subprocess.run(["unshare", "--net", sys.executable, __file__, FOLDER, "inside"])
        sys.exit(1 if failed else inside.returncode)
    run("ip", "link", "set", "lo", "up")
    with daemon():
        for step in (image_alone, plain_stack, development_stack, production_stack):
            try:
                step()
            except subprocess.SubprocessError as error:
                check(step.__name__, False, error)
                show_unwell()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
