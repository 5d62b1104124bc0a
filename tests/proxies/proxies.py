#!/usr/bin/env python3
"""Liap behind a real reverse proxy, set up with the files of `config/`: what players see, whom the server sees, games.

    LIAP_BIN=target/release/liap proxies.py nginx
    LIAP_BIN=target/release/liap proxies.py caddy --base-path /liap

Only names, ports and certificates in the proxy's file are exchanged. Exit code: 0 all well, 1 something is not.
"""

import argparse
import asyncio
import base64
import contextlib
import hashlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))
import ws  # noqa: E402

SOCKETS_PER_ADDRESS = 40


@contextlib.contextmanager
def running(command, log, **options):
    """A program that is ended with the block."""
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(what, found, process, log):
    deadline = time.monotonic() + 30
    while not found():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"{what} has not started:\n{log.read_text()}")
        time.sleep(0.02)


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def certificate(folder):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )


def key_hash(folder):
    """The SHA-256 of the certificate's public key, in base64: by it a browser is told to trust this certificate."""
    der = ["openssl", "pkey", "-in", folder / "key.pem", "-pubout", "-outform", "DER"]
    key = subprocess.run(der, check=True, capture_output=True).stdout
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


def exchanged(name, pairs):
    """A file of `config/`, with each of these texts, which must be in it, exchanged."""
    text = (ROOT / "config" / name).read_text()
    for old, new in pairs:
        if old not in text:
            sys.exit(f"config/{name} has no {old!r}")
        text = text.replace(old, new)
    return text


def nginx(folder, base, upstream, port, plain_port):
    pairs = [
        ("listen [::]:80;", ""), ("listen [::]:443 ssl;", ""),
        ("listen 80;", f"listen 127.0.0.1:{plain_port};"), ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("server_name liap.example.org", "server_name localhost"), ("127.0.0.1:8000", f"127.0.0.1:{upstream}"),
        ("/etc/letsencrypt/live/liap.example.org/fullchain.pem", str(folder / "cert.pem")),
        ("/etc/letsencrypt/live/liap.example.org/privkey.pem", str(folder / "key.pem")),
    ]
    if base:
        pairs.append(("location / {", f"location {base} {{"))
    (folder / "liap.conf").write_text(exchanged("nginx.conf", pairs))
    folders = "".join(
        f"{kind}_temp_path {folder / kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; worker_processes 1; events {{ worker_connections 1000; }}\n"
        f"http {{ access_log off; {folders} include {folder}/liap.conf; }}\n")
    return ["nginx", "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def caddy(folder, base, upstream, port, plain_port):
    pairs = [
        ("liap.example.org {", f"https://localhost:{port} {{\n\ttls {folder}/cert.pem {folder}/key.pem"),
        ("\treverse_proxy 127.0.0.1:8000", f"\treverse_proxy {base + '* ' if base else ''}127.0.0.1:{upstream}"),
    ]
    # Caddy serves plain HTTP, which it sends to https, where it is told to.
    options = f"{{\n\tadmin off\n\tdefault_sni localhost\n\thttp_port {plain_port}\n\thttps_port {port}\n}}\n"
    (folder / "Caddyfile").write_text(options + exchanged("Caddyfile", pairs))
    return ["caddy", "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


class Checks:
    """What must be so, each said once."""

    def __init__(self):
        self.failed = 0

    def __call__(self, what, holds, shown=""):
        print(f"{'ok  ' if holds else 'FAIL'} {what}{'' if holds else f': {shown}'}", flush=True)
        self.failed += not holds


async def refusal(url, path, headers=(), **options):
    """The status an upgrade is refused with; None if it is not."""
    try:
        opened = await ws.connect(url, path, headers, **options)
    except ws.Refused as refused:
        return refused.status
    opened.vanish()
    return None


async def look(url, plain_url, base, check):
    origin = url.removesuffix(base)
    status, headers, body = await ws.get(url, "/")
    named = dict(headers)
    check("the page is there, and knows where it is", status == 200 and f'<base href="{base}/">'.encode() in body, status)
    cookie = named.get("set-cookie", "")
    check("the session's cookie is for this path, by https only", f"; Path={base or '/'};" in cookie and
          cookie.endswith("; Secure"), cookie)
    check("the browser is told to come by https", named.get("strict-transport-security") == "max-age=15552000", named)
    check("the policy of the page has come through", "default-src 'none'" in named.get("content-security-policy", ""), named)
    for name in re.findall(rb'"(assets/[^"]+)"', body):
        status, _, _ = await ws.get(url, f"/{name.decode()}")
        check(f"{name.decode()} is there", status == 200, status)
    for path in ("/room/3FA9C1", "/api/rooms", "/api/health", "/health/ready", "/favicon.ico"):
        status, _, _ = await ws.get(url, path)
        check(f"{path} is there", status == 200, status)
    status, headers, body = await ws.get(url, "/api/nothing")
    check("what is not there is Liap's answer", status == 404 and b'"detail"' in body, body)
    if base:
        status, headers, _ = await ws.get(origin, base)
        check("the path without a slash leads to it", (status, dict(headers).get("location")) == (308, f"{base}/"), headers)
    status, headers, _ = await ws.get(plain_url, "/room/3FA9C1")
    check("plain http leads to https", status == 308 and dict(headers)["location"].startswith("https://localhost"), headers)

    spoofed = [("X-Forwarded-Proto", "http"), ("X-Forwarded-Host", "evil.example"), ("X-Forwarded-For", "192.0.2.9")]
    _, headers, _ = await ws.get(url, "/", spoofed)
    check("a client cannot say that it came by http", dict(headers)["set-cookie"].endswith("; Secure"), headers)
    check("pages of ours may open sockets", await refusal(url, "/ws/lobby", [("Origin", origin)]) is None)
    for foreign in ("https://evil.example", origin.replace("https", "http"), "null"):
        status = await refusal(url, "/ws/lobby", [("Origin", foreign), *spoofed])
        check(f"pages of {foreign} may not", status == 403, status)


async def count(url, check):
    """Whom the server sees: it counts sockets by address."""
    held = []
    for number in range(SOCKETS_PER_ADDRESS):
        # Each says that it comes from somewhere else.
        claim = [("X-Forwarded-For", f"198.51.100.{number}"), ("X-Real-IP", f"198.51.100.{number}")]
        held.append(await ws.connect(url, "/ws/lobby", claim, source="127.0.0.2"))
    status = await refusal(url, "/ws/lobby", [("X-Forwarded-For", "198.51.100.200")], source="127.0.0.2")
    check(f"one address holds {SOCKETS_PER_ADDRESS} sockets, whatever it says of itself", status == 429, status)
    status = await refusal(url, "/ws/lobby", [("X-Forwarded-For", "127.0.0.2")], source="127.0.0.3")
    check("another address is not counted with it", status is None, status)
    for one in held:
        one.vanish()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("proxy", choices=("nginx", "caddy"))
    parser.add_argument("--base-path", default="")
    parser.add_argument("--games", type=int, default=3)
    parser.add_argument("--page", action="store_true", help="play the games in Chromium (tests/page, with its packages)")
    options = parser.parse_args()
    base = options.base_path
    check = Checks()
    with tempfile.TemporaryDirectory(prefix="liap-proxies-") as name, contextlib.ExitStack() as stack:
        folder = pathlib.Path(name)
        certificate(folder)
        log = folder / "liap.log"
        environment = {
            "HOST": "127.0.0.1", "PORT": "0", "METRICS_ENABLED": "false", "DATA_DIR": str(folder / "data"),
            "LOG_FORMAT": "text", "BASE_PATH": base, "TRUSTED_PROXIES": "127.0.0.1", "GAME_PACE": "0.03",
            "TURN_TIMEOUT_SECONDS": "0", "MAX_SOCKETS_PER_ADDRESS": str(SOCKETS_PER_ADDRESS), "USE_RATE_LIMITING": "false",
        }
        server = stack.enter_context(running([os.environ["LIAP_BIN"], "serve"], log, env=environment))
        wait_for("the server", lambda: "listening on http://" in log.read_text(), server, log)
        upstream = int(re.search(r"listening on http://127\.0\.0\.1:(\d+)", log.read_text())[1])

        port, plain_port = ws.free_port(), ws.free_port()
        command = {"nginx": nginx, "caddy": caddy}[options.proxy](folder, base, upstream, port, plain_port)
        proxy_log = folder / "proxy.log"
        home = os.environ | {"HOME": name, "XDG_DATA_HOME": name, "XDG_CONFIG_HOME": name}
        proxy = stack.enter_context(running(command, proxy_log, env=home))
        wait_for(options.proxy, lambda: listens(port) and listens(plain_port), proxy, proxy_log)

        url, plain_url = f"https://localhost:{port}{base}", f"http://localhost:{plain_port}{base}"
        asyncio.run(look(url, plain_url, base, check))
        asyncio.run(count(url, check))
        if options.page:
            names = "--test-name-pattern=keyboard alone|friend comes|takes the seat"
            player = ["node", "--test", names, ROOT / "tests/page/play.test.js"]
        else:
            player = [sys.executable, ROOT / "tests/clients/play_game.py", "--url", url, "--games", str(options.games),
                      "--parallel", "2", "--watchers", "2", "--tap"]
        told = os.environ | {"LIAP_URL": f"{url}/", "LIAP_TRUSTED_KEY": key_hash(folder)}
        played = subprocess.run(player, timeout=400, check=False, env=told)
        check("whole games", played.returncode == 0)
        if check.failed:
            print(proxy_log.read_text()[-3000:], log.read_text()[-3000:], sep="\n")
    sys.exit(1 if check.failed else 0)


if __name__ == "__main__":
    main()
