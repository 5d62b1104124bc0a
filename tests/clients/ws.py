"""A minimal WebSocket client (RFC 6455) and HTTP GET on asyncio, standard library only.

It is strict about what it receives (a server's frame that breaks the standard ends the connection with `ServerFault`)
and lax about what it sends, because the tests must also be able to send what no honest client would.
"""

import asyncio
import base64
import collections
import contextlib
import hashlib
import os
import random
import socket
import ssl
import struct
import time
from urllib.parse import urlsplit

TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION = 1, 2, 8, 9, 10, 0
LOST = 1006
"""Close code of a link that ended without a close frame (never on the wire)."""


def free_port():
    """A port for a server that does not tell which one it chose, or that must come back on the same. It is below those that
    the system gives to connections, so none of them takes it before the server does."""
    while True:
        port = random.randrange(10000, 30000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


class Closed(Exception):
    """The connection has ended; `code` is the server's close code or `LOST`."""

    def __init__(self, code, reason=""):
        super().__init__(f"closed {code} {reason}".strip())
        self.code, self.reason = code, reason


class ServerFault(Exception):
    """The server broke the WebSocket standard."""


class Refused(Exception):
    """The upgrade request was answered with something else than 101."""

    def __init__(self, status, headers, body):
        super().__init__(f"upgrade refused with {status}: {body[:200]!r}")
        self.status, self.headers, self.body = status, headers, body


def mask(payload, key):
    """XOR with the repeated four-byte key, by way of one big number: much faster than a loop."""
    if not payload:
        return b""
    repeated = (key * (len(payload) // 4 + 1))[: len(payload)]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return number.to_bytes(len(payload), "big")


def encode(opcode, payload, *, final=True, masked=True, reserved=0):
    """The bytes of one frame as a client sends it."""
    head = bytearray([(0x80 if final else 0) | reserved << 4 | opcode])
    bit = 0x80 if masked else 0
    if len(payload) < 126:
        head.append(bit | len(payload))
    elif len(payload) < 1 << 16:
        head += struct.pack(">BH", bit | 126, len(payload))
    else:
        head += struct.pack(">BQ", bit | 127, len(payload))
    if not masked:
        return bytes(head) + payload
    key = os.urandom(4)
    return bytes(head) + key + mask(payload, key)


class WebSocket(asyncio.Protocol):
    """One connection. Pings are answered by themselves; everything else waits for `recv`."""

    def __init__(self):
        self.transport = None
        self.headers = []
        self.buffer = bytearray()
        self.handshake = None
        self.open = False
        self.key = ""
        self.messages = collections.deque()
        self.waiter = None
        self.partial = None
        self.end = None
        self.close_sent = False
        self.lost = None
        self.bytes_received = 0
        self.frames_received = 0

    # Transport callbacks.

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lost = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.bytes_received += len(data)
        self.buffer += data
        if not self.open:
            self.read_response()
        if self.open:
            try:
                self.read_frames()
            except ServerFault as fault:
                self.finish(fault)
                self.transport.abort()

    def connection_lost(self, error):
        if self.handshake and not self.handshake.done():
            self.read_response(ended=True)
        if self.handshake and not self.handshake.done():
            self.handshake.set_exception(error or ConnectionResetError("closed during the handshake"))
        self.finish(Closed(LOST, str(error or "")))
        if not self.lost.done():
            self.lost.set_result(None)

    # Handshake.

    async def upgrade(self, host, path, headers):
        self.key = base64.b64encode(os.urandom(16)).decode()
        self.handshake = asyncio.get_running_loop().create_future()
        lines = [
            f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: Upgrade", "Upgrade: websocket",
            "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {self.key}",
            *(f"{name}: {value}" for name, value in headers),
        ]
        self.transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await self.handshake

    def read_response(self, ended=False):
        head, found, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        if not found or self.handshake is None or self.handshake.done():
            return
        status, headers = parse_head(head)
        if status != 101:
            length = next((int(value) for name, value in headers if name == "content-length"), None)
            if ended or length is not None and len(rest) >= length:
                self.handshake.set_exception(Refused(status, headers, rest))
                self.transport.close()
            return
        expected = hashlib.sha1((self.key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        if dict(headers).get("sec-websocket-accept") != base64.b64encode(expected).decode():
            self.handshake.set_exception(ServerFault("wrong Sec-WebSocket-Accept"))
            self.transport.abort()
            return
        self.headers = headers
        self.buffer = bytearray(rest)
        self.open = True
        self.handshake.set_result(None)

    # Frames.

    def read_frames(self):
        buffer, at = self.buffer, 0
        while len(buffer) - at >= 2:
            first, second = buffer[at], buffer[at + 1]
            length, start = second & 0x7F, at + 2
            if length == 126:
                if len(buffer) < start + 2:
                    break
                length, start = int.from_bytes(buffer[start : start + 2], "big"), start + 2
            elif length == 127:
                if len(buffer) < start + 8:
                    break
                length, start = int.from_bytes(buffer[start : start + 8], "big"), start + 8
            if second & 0x80:
                raise ServerFault("a masked frame from the server")
            if len(buffer) < start + length:
                break
            payload, at = bytes(buffer[start : start + length]), start + length
            self.read_frame(first & 0x80, (first >> 4) & 7, first & 15, payload)
            if self.end is not None:
                break
        del buffer[:at]

    def read_frame(self, final, reserved, opcode, payload):
        self.frames_received += 1
        if reserved:
            raise ServerFault("reserved bits set")
        if opcode >= 8 and (not final or len(payload) > 125):
            raise ServerFault("a control frame in parts or too long")
        if opcode == PING:
            self.send_frame(PONG, payload)
        elif opcode == PONG:
            pass
        elif opcode == CLOSE:
            if len(payload) == 1:
                raise ServerFault("a close frame of one byte")
            code = int.from_bytes(payload[:2], "big") if payload else 1005
            if payload and (code < 1000 or code in (1004, 1005, 1006, 1015) or code >= 5000):
                raise ServerFault(f"close code {code} may not be sent")
            if not self.close_sent:
                self.send_frame(CLOSE, payload[:2])
                self.close_sent = True
            self.finish(Closed(code, payload[2:].decode("utf-8")))
            self.transport.close()
        elif opcode in (TEXT, BINARY):
            if self.partial is not None:
                raise ServerFault("a message inside another")
            if final:
                self.deliver(opcode, payload)
            else:
                self.partial = (opcode, [payload])
        elif opcode == CONTINUATION:
            if self.partial is None:
                raise ServerFault("a continuation of nothing")
            self.partial[1].append(payload)
            if final:
                kind, parts = self.partial
                self.partial = None
                self.deliver(kind, b"".join(parts))
        else:
            raise ServerFault(f"unknown opcode {opcode}")

    def deliver(self, opcode, payload):
        if opcode == TEXT:
            try:
                payload = payload.decode("utf-8")
            except UnicodeDecodeError:
                raise ServerFault("a text frame that is no UTF-8") from None
        self.messages.append(payload)
        self.wake()

    def finish(self, end):
        if self.end is None:
            self.end = end
        self.wake()

    def wake(self):
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    # For the user.

    async def recv(self, timeout=30.0):
        """The next message, text as str and binary as bytes.

        Raises `Closed`, `ServerFault`, or `TimeoutError` after `timeout` seconds."""
        if not self.messages and self.end is None:
            self.waiter = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(timeout):
                await self.waiter
        if self.messages:
            return self.messages.popleft()
        raise self.end

    def send_frame(self, opcode, payload=b"", **options):
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(encode(opcode, payload, **options))

    def send_text(self, text):
        self.send_frame(TEXT, text.encode())

    async def close(self, code=1000, reason="Client disconnect", timeout=5.0):
        """Closes in order and waits for the server's half; False if that did not come in time."""
        if self.end is None and not self.close_sent:
            self.close_sent = True
            self.send_frame(CLOSE, struct.pack(">H", code) + reason.encode())
        try:
            async with asyncio.timeout(timeout):
                await asyncio.shield(self.lost)
            return True
        except TimeoutError:
            self.transport.abort()
            return False

    def vanish(self):
        """Ends the TCP connection without a close frame, as a closed tab or a killed browser does."""
        self.transport.close()

    def reset(self):
        """Ends the TCP connection with a reset: nothing that waits in a buffer is delivered."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


def parse_head(head):
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1])
    headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
    return status, headers


def address(url):
    """Host, port and path of `http://HOST:PORT/PATH`, or https. Only this machine: these clients are rude on purpose."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise SystemExit(f"--url must be http:// or https:// and of this machine, not {url}")
    return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), parts.path.rstrip("/")


def security(url):
    """How a connection to this address is encrypted: nobody vouches for the certificates of this machine."""
    if urlsplit(url).scheme != "https":
        return None
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def connect(url, path, headers=(), *, receive_buffer=None, source=None, timeout=15.0):
    """Opens a WebSocket to `url` + `path`. `receive_buffer`: size of the kernel's buffer in bytes, for bad readers;
    `source`: address of this machine to come from.

    Raises `Refused`, `ServerFault`, `OSError` or `TimeoutError`."""
    host, port, base = address(url)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout):
        context = security(url)
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        try:
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source:
                sock.bind((source, 0))
            sock.setblocking(False)
            await loop.sock_connect(sock, (host, port))
            _, protocol = await loop.create_connection(
                WebSocket, sock=sock, ssl=context, server_hostname=host if context else None)
        except BaseException:
            sock.close()
            raise
        try:
            await protocol.upgrade(f"{host}:{port}", base + path, headers)
        except BaseException:
            protocol.transport.abort()
            raise
        return protocol


async def get(url, path, headers=(), timeout=15.0):
    """One HTTP GET on a connection of its own: status, headers, body."""
    host, port, base = address(url)
    async with asyncio.timeout(timeout):
        reader, writer = await asyncio.open_connection(host, port, ssl=security(url))
        try:
            lines = [f"GET {base + path} HTTP/1.1", f"Host: {host}:{port}", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in headers]
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            status, found = parse_head((await reader.readuntil(b"\r\n\r\n"))[:-4])
            named = dict(found)
            if "content-length" in named:
                body = await reader.readexactly(int(named["content-length"]))
            elif named.get("transfer-encoding") == "chunked":
                body = b""
                while size := int((await reader.readline()).split(b";")[0], 16):
                    body += await reader.readexactly(size)
                    await reader.readline()
            else:
                body = await reader.read()
            return status, found, body
        finally:
            writer.close()


def now():
    """Seconds on a clock that never jumps."""
    return time.perf_counter()
