"""What the programs share that take services away from a server: patience, and the time of a move meanwhile."""

import re
import signal
import socket
import subprocess
import time


def until(what, holds, seconds=60):
    """Waits for something; what cannot be reached yet does not hold yet."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
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


class Service:
    """A server of one process that can be taken away and come back; `start` sets `process`."""

    process = None

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
    """p99 of a move's way to its answer at the one who made it, with an outage after a quarter of the time."""
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


def is_as_fast(control, found):
    """Prints the median of each state's p99 beside the control's; whether none is more than a tenth above it."""
    slowest = 0
    for state, values in found.items():
        value = sorted(values)[len(values) // 2]
        print(f"p99 of a move with {state}: {value:.2f} ms, {value / control:.2f} times that of {control:.2f} ms")
        slowest = max(slowest, value)
    return slowest <= 1.1 * control
