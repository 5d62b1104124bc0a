#!/usr/bin/env python3
"""Watches every system call of the server while games run, and shows that no thread that moves tables touches a file.

    syscalls.py --bin target/release/liap

Those threads are called `liap`. Sockets, timers and memory are their business; files, folders and syncs are other threads',
and the same trace must show that those did write and sync. Needs strace.

Exit code: 0 all well, 1 a violation or no proof, 2 the server cannot be started.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter

import client
import play_game
import ws

MOVERS = "liap"
# Calls that have a file, a folder or a disk at their other end, whatever they are given.
OF_FILES = set("""
access chdir chmod chown copy_file_range creat execve faccessat faccessat2 fallocate fchmod fchmodat fchmodat2 fchown
fchownat fdatasync flock fsync ftruncate getcwd getdents getdents64 link linkat lseek lstat mkdir mkdirat mknod mknodat
newfstatat open openat openat2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 readlink readlinkat rename renameat renameat2
rmdir sendfile splice stat statfs statx symlink symlinkat sync sync_file_range syncfs truncate umount2 unlink unlinkat
""".split())
# Calls that may have: it depends on the descriptor, which strace names.
BY_DESCRIPTOR = {"read", "readv", "write", "writev", "close", "dup", "fcntl", "fstat", "ioctl"}
# glibc looks once, where a thread gives memory back.
HARMLESS = {"/proc/sys/vm/overcommit_memory"}
CALL = re.compile(r"^(\d+) +[\d.]+ +(\w+)\((.*)$")
DESCRIPTOR = re.compile(r"^\d+<(.*?)>")


def is_of_file(call, arguments):
    if any(f'<{path}>' in arguments or f'"{path}"' in arguments for path in HARMLESS):
        return False
    if call in OF_FILES:
        return True
    if call in BY_DESCRIPTOR:
        found = DESCRIPTOR.match(arguments)
        # Sockets, pipes and the kernel's own objects are told as `socket:[1]`, `TCP:[…]`, `anon_inode:[eventfd]`.
        return found is not None and found[1].startswith("/")
    return False


def read_trace(path, report):
    """Each thread is called what it called itself; whoever did not yet is `unnamed`."""
    names, calls, first = {}, {}, {}
    with open(path, encoding="utf-8", errors="replace") as trace:
        for line in trace:
            if "--- SIGTERM" in line:
                # The tables end, and whoever is last closes the files.
                break
            found = CALL.match(line)
            if not found:
                continue
            thread, call, arguments = found.groups()
            if call == "prctl" and (name := re.match(r'PR_SET_NAME, "([^"]*)"', arguments)):
                names[thread] = name[1]
                continue
            name = names.get(thread, "unnamed")
            kind = "file" if is_of_file(call, arguments) else "other"
            calls.setdefault(name, Counter())[kind, call] += 1
            if name == MOVERS and kind == "file":
                first.setdefault(call, line.strip())
    for call, line in first.items():
        report.violation("a thread that moves tables", f"{calls[MOVERS]['file', call]} times {call}", line[:300])
    for name, counted in sorted(calls.items()):
        files = {call: count for (kind, call), count in counted.items() if kind == "file"}
        report.counts[f"calls of {name}"] = sum(counted.values())
        report.counts[f"calls of {name} to files"] = sum(files.values())
    movers = calls.get(MOVERS, Counter())
    if not any(movers[kind, call] for kind, call in movers if call in ("writev", "sendto", "sendmsg", "write")):
        report.violation("the trace", f"no thread that moves tables is seen to send anything: {dict(movers)}")
    for name in ("journal-sync", "archive-writer"):
        if calls.get(name, Counter())["file", "fdatasync"] == 0:
            report.violation("the trace", f"the thread {name} is not seen to sync: {dict(calls.get(name, {}))}")


async def main(options, report):
    folder = tempfile.mkdtemp(prefix="liap-syscalls-")
    trace = os.path.join(folder, "trace")
    environment = {
        "PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": "0", "METRICS_PORT": "0", "DATA_DIR": folder,
        "GAME_PACE": str(options.pace), "TURN_TIMEOUT_SECONDS": "0", "LOG_FORMAT": "text", "USE_RATE_LIMITING": "false",
        "ARCHIVE_FLUSH_INTERVAL": "1", "STATIC_DIR": os.path.join(folder, "client"),
    }
    # Another web client's files are read while they are served.
    os.mkdir(environment["STATIC_DIR"])
    with open(os.path.join(environment["STATIC_DIR"], "index.html"), "w", encoding="utf-8") as page:
        page.write("<!doctype html><title>A client</title>")
    command = ["strace", "--follow-forks", "--seccomp-bpf", "--decode-fds=path", "--string-limit=32", "--timestamps=unix",
               "--trace=%file,%desc,%network,prctl,sync,syncfs", f"--output={trace}", options.bin, "serve"]
    server = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True)
    try:
        addresses = {}
        while "listening on" not in addresses:
            line = server.stderr.readline()
            if not line:
                print("the server did not start")
                sys.exit(2)
            for words in ("metrics at", "listening on"):
                if found := re.search(words + r" (http://[\d.]+:\d+)", line):
                    addresses[words] = found[1]
        options.url = addresses["listening on"]
        drain = asyncio.create_task(asyncio.to_thread(server.stderr.read))
        await play_game.main(options, report)
        # Whoever asks for a page, a game or the metrics must not make them read files either.
        for path in ("/", "/api/games", "/health", "/api/leaderboard", "/api/rooms", "/health/ready"):
            status, _, body = await ws.get(options.url, path)
            if status != 200:
                report.violation("server", f"GET {path} answers {status}")
            if path == "/api/games":
                games = json.loads(body)["games"]
        if len(games) < options.games:
            report.violation("archive", f"{len(games)} games of {options.games} are there")
        await ws.get(options.url, f"/api/games/{games[0]['game_id']}")
        await ws.get(addresses["metrics at"], "/metrics")
        # The program itself, not strace.
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(server.pid)], capture_output=True, text=True).stdout
        os.kill(int(children.split()[0]), signal.SIGTERM)
        await asyncio.to_thread(server.wait, 60)
        await drain
        if server.returncode != 0:
            report.violation("server", f"ended with {server.returncode}")
        read_trace(trace, report)
    finally:
        if server.poll() is None:
            server.kill()
        if options.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bin", default=os.environ.get("LIAP_BIN"), help="the program (default: LIAP_BIN)")
    parser.add_argument("--games", type=int, default=8, help="games that are played meanwhile")
    parser.add_argument("--pace", type=float, default=0.003, help="GAME_PACE of the server")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds without a frame that count as a stall")
    parser.add_argument("--seed", type=int, default=None, help="seed of the players")
    parser.add_argument("--keep", action="store_true", help="keep the trace")
    parser.add_argument("--frames", help="file for every offending frame")
    parser.set_defaults(parallel=8, humans=None, watchers=2, cookies="mixed", entropy=False, tap=False, think=0.0,
                        game_timeout=300.0)
    options = parser.parse_args()
    if not options.bin:
        parser.error("--bin or LIAP_BIN names the program")
    client.run(main, options)
