#!/usr/bin/env python3
"""A small IPLoop node, written from docs/protocol.md alone: it uses nothing of ours and nothing but the standard library.

It proves the page, so it is short where a product may not be: it dials the addresses that it was given with --allow and
no other, does not reconnect, offers no UDP, and leaves the floods of section 9 to others.

    python3 tests/python/node.py --hub ws://127.0.0.1:8001/ws --partner-key iplp_… --allow 127.0.0.1:8080 [--once]
    python3 tests/python/node.py --self-test

One JSON line on stdout says when it is registered. With --once it ends, with status 0, after the first stream that ended
without a reset.
"""

import argparse
import asyncio
import base64
import collections
import datetime
import hashlib
import json
import os
import pathlib
import secrets
import signal
import socket
import ssl
import struct
import sys
import time
import urllib.parse
import uuid

from frames import (
    Breach, CLOSE, DATA, HANDSHAKE_S, MAX_DATA, MAX_MESSAGE, MAX_STREAMS, MAX_STREAM_WINDOW, Malformed, NOT_AGAIN,
    OPENED, PING_AFTER_S, PONG_WITHIN_S, RESET, STREAM_WINDOW, TUNNEL_WINDOW, VERSION, decode, encode,
)

# ---- the WebSocket: section 2 and RFC 6455 --------------------------------------------------------------------------------


class Gone(Exception):
    """The connection ended; `code` is a close code, or None where nobody gave one."""

    def __init__(self, code, reason=""):
        super().__init__(f"closed with {code} {reason}".rstrip())
        self.code = code


class WebSocket:
    GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, url, ca=None, source=None):
        parts = urllib.parse.urlsplit(url)
        tls = ssl.create_default_context(cafile=ca) if parts.scheme == "wss" else None
        port = parts.port or (443 if tls else 80)
        local = (source, 0) if source else None
        reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=tls, local_addr=local)
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        writer.write((
            f"GET {parts.path or '/ws'} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: iploop.v2\r\n\r\n"
        ).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        accept = base64.b64encode(hashlib.sha1((key + cls.GUID).encode()).digest()).decode()
        if " 101 " not in head[0] or headers.get("sec-websocket-accept") != accept:
            raise Gone(None, f"no WebSocket: {head[0]}")
        if headers.get("sec-websocket-protocol") != "iploop.v2":
            raise Gone(None, "the hub does not speak iploop.v2")
        return cls(reader, writer)

    async def receive(self):
        """The next binary message."""
        message = b""
        try:
            while True:
                first, second = await self.reader.readexactly(2)
                opcode, length = first & 0x0F, second & 0x7F
                if length == 126:
                    length = int.from_bytes(await self.reader.readexactly(2), "big")
                elif length == 127:
                    length = int.from_bytes(await self.reader.readexactly(8), "big")
                if len(message) + length > MAX_MESSAGE or second & 0x80 or first & 0x70 or opcode == 1:
                    raise Breach("malformed", "a WebSocket message that carries no tunnel")
                payload = await self.reader.readexactly(length)
                if opcode == 8:
                    code = int.from_bytes(payload[:2], "big")
                    raise Gone(code - 4000 if 4000 <= code <= 4999 else None, payload[2:].decode(errors="replace"))
                if opcode == 9:
                    self.write(10, payload)
                elif opcode in (0, 2):
                    message += payload
                    if first & 0x80:
                        return message
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Gone(None, str(error)) from None

    def write(self, opcode, payload):
        mask = secrets.token_bytes(4)
        length = len(payload)
        head = bytes([0x80 | opcode])
        if length < 126:
            head += bytes([0x80 | length])
        elif length < 65536:
            head += bytes([0x80 | 126]) + struct.pack(">H", length)
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", length)
        key = (mask * (length // 4 + 1))[:length]
        masked = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(length, "big")
        self.writer.write(head + mask + masked)

    async def send(self, message):
        self.write(2, message)
        await self.writer.drain()

    async def close(self, code):
        self.write(8, struct.pack(">H", 4000 + code if code < 1000 else 4999))
        try:
            await asyncio.wait_for(self.writer.drain(), 5)
        finally:
            self.writer.close()


# ---- streams: sections 4 and 5 --------------------------------------------------------------------------------------------


class Stream:
    """A stream that the hub asked for."""

    def __init__(self, node, frame):
        self.node, self.id, self.open = node, frame["stream"], frame
        self.credit = frame["windowBytes"]        # what we may send
        self.window = STREAM_WINDOW               # what the hub may send
        self.read_since_grant = 0
        self.is_open = False                      # OPENED was sent
        self.fin_came = frame["fin"]
        self.fin_sent = False
        self.received = asyncio.Queue()           # bounded by the window
        self.pending = b""                        # read from the destination, not sent yet
        self.pending_fin = False
        self.sent = asyncio.Event()
        self.writer = None
        if frame["early"]:
            self.received.put_nowait(frame["early"])
        if frame["fin"]:
            self.received.put_nowait(None)
        self.task = asyncio.create_task(self.run())

    async def run(self):
        try:
            await self.dial()
            both = [asyncio.create_task(work) for work in (self.into_tunnel(), self.out_of_tunnel())]
            try:
                await asyncio.gather(*both)
            finally:
                for direction in both:
                    direction.cancel()
            self.node.forget(self, clean=True)
        except Refusal as refusal:
            self.reset(refusal.code, refusal.detail)
        except ConnectionError:
            self.reset("connection_reset")
        except asyncio.CancelledError:
            self.abort()
            raise
        except Exception as error:  # noqa: BLE001: one stream's fault must not be the tunnel's
            print(f"stream {self.id}: {error!r}", file=sys.stderr)
            self.reset("internal")
        finally:
            if self.writer:
                self.writer.close()

    async def dial(self):
        if self.open["kind"] != "tcp":
            raise Refusal("unsupported")
        destination = self.open["destination"]
        if destination not in self.node.allow:
            raise Refusal("forbidden", b"test_allow")
        host, _, port = destination.rpartition(":")
        began = time.monotonic()
        try:
            connecting = asyncio.open_connection(host.strip("[]"), int(port))
            self.reader, self.writer = await asyncio.wait_for(connecting, max(self.open["timeoutMs"], 1) / 1000)
        except ConnectionRefusedError:
            raise Refusal("refused") from None
        except (asyncio.TimeoutError, TimeoutError):
            raise Refusal("dial_timeout") from None
        except OSError:
            raise Refusal("unreachable") from None
        dial_ms = int((time.monotonic() - began) * 1000)
        self.is_open = True
        self.node.control({"type": "opened", "stream": self.id, "windowBytes": self.window, "dialMs": dial_ms})

    async def into_tunnel(self):
        while True:
            data = await self.reader.read(MAX_DATA)
            self.pending, self.pending_fin = data, not data
            self.sent.clear()
            self.node.has_data(self)
            await self.sent.wait()
            if not data:
                return

    async def out_of_tunnel(self):
        while (data := await self.received.get()) is not None:
            self.writer.write(data)
            await self.writer.drain()
            self.read_since_grant += len(data)
            # At the latest at half a window; none after FIN.
            if self.read_since_grant >= STREAM_WINDOW // 4 and not self.fin_came:
                credit, self.read_since_grant = self.read_since_grant, 0
                self.window += credit
                self.node.control({"type": "window", "stream": self.id, "creditBytes": credit})
        self.writer.write_eof()

    def next_data(self, most):
        """The next DATA, or None while credit or data is missing."""
        if self.pending_fin:
            self.fin_sent, self.pending_fin = True, False
            self.sent.set()
            return {"type": "data", "stream": self.id, "data": b"", "fin": True}
        part = self.pending[:min(most, self.credit)]
        if not part:
            return None
        self.pending = self.pending[len(part):]
        self.credit -= len(part)
        if not self.pending:
            self.sent.set()
        return {"type": "data", "stream": self.id, "data": part, "fin": False}

    def reset(self, code, detail=b""):
        stray = 0 if self.fin_came or not self.is_open else self.window
        if self.node.forget(self, stray=stray):
            self.node.control({"type": "reset", "stream": self.id, "code": RESET[code], "detail": detail})

    def given_up(self):
        """RESET came."""
        self.node.forget(self)
        self.task.cancel()

    def abort(self):
        """Tells the destination by a reset, never by an end that looks whole."""
        if self.writer:
            linger = struct.pack("ii", 1, 0)
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.writer.transport.abort()


class Refusal(Exception):
    def __init__(self, code, detail=b""):
        super().__init__(code)
        self.code, self.detail = code, detail


# ---- the tunnel: sections 6 to 9 ------------------------------------------------------------------------------------------


class Node:
    stream_type = Stream

    def __init__(self, options):
        self.options, self.allow = options, set(options.allow)
        self.streams = {}
        self.last_id = 0
        self.send_credit = self.receive_credit = TUNNEL_WINDOW
        self.stray = 0                            # what may still come on streams that we reset
        self.outbox = collections.deque()         # ahead of all DATA
        self.turns = collections.deque()          # streams with something to send
        self.wake = asyncio.Event()
        self.control_parts = b""
        self.welcomed = False
        self.heard_at = time.monotonic()
        self.pings_open = 0
        self.served = asyncio.Event()
        self.bytes_up = self.bytes_down = self.count = 0

    def control(self, frame):
        self.outbox.append(encode(frame))
        self.wake.set()

    def has_data(self, stream):
        if stream not in self.turns:
            self.turns.append(stream)
        self.wake.set()

    def forget(self, stream, clean=False, stray=0):
        self.stray += stray
        if clean:
            self.served.set()
        return self.streams.pop(stream.id, None) is not None

    def say(self, message):
        self.control({"type": "control", "part": json.dumps(message).encode(), "more": False})

    async def run(self):
        self.socket = await asyncio.wait_for(WebSocket.connect(self.options.hub, self.options.ca), HANDSHAKE_S)
        self.say(self.hello())
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        tasks = [asyncio.create_task(work) for work in (
            self.receive(), self.send(), self.live(), self.handshake_deadline(), stop.wait(),
            self.served_once() if self.options.once else asyncio.Event().wait(),
        )]
        code, reason, status = CLOSE["done"], b"", 0
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except Gone as gone:
            print(gone, file=sys.stderr)
            self.socket.writer.close()
            # 3: not to be tried again unchanged.
            return 3 if gone.code in NOT_AGAIN else 2
        except (Breach, Malformed) as error:
            print(f"the hub broke the protocol: {error}", file=sys.stderr)
            code, reason, status = getattr(error, "code", CLOSE["malformed"]), str(error).encode()[:256], 4
        finally:
            for task in [*tasks, *(stream.task for stream in self.streams.values())]:
                task.cancel()
        try:
            await self.socket.send(encode({"type": "close", "code": code, "retryAfterS": 0, "reason": reason}))
            await self.socket.close(code)
        except (ConnectionError, asyncio.TimeoutError):
            pass
        return status

    def hello(self):
        text = f"Consent text {self.options.terms}".encode()
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "type": "hello",
            "versions": [VERSION],
            "agent": "python-node/1.0.0",
            "partnerKey": self.options.partner_key,
            "device": {
                "id": secrets.token_hex(16), "secret": secrets.token_hex(32), "os": "linux", "net": "ethernet",
                "sdkVersion": "1.0.0", "appId": "io.iploop.python-node", "appVersion": "1.0.0",
            },
            "consent": {
                "id": str(uuid.uuid4()), "textVersion": self.options.terms, "textHash": hashlib.sha256(text).hexdigest(),
                "language": "en", "givenAt": now, "act": "command-line", "networks": ["wifi", "ethernet"],
                "minimumAge": True,
            },
            "capabilities": [],
            "maxStreams": MAX_STREAMS,
            "testAllow": sorted(self.allow),
            "status": {"sharing": True},
        }

    async def served_once(self):
        await self.served.wait()
        # What is still to be sent goes out first.
        while self.outbox or self.turns:
            await asyncio.sleep(0.01)

    async def handshake_deadline(self):
        await asyncio.sleep(HANDSHAKE_S)
        if not self.welcomed:
            raise Breach("handshake_timeout", "no welcome")
        await asyncio.Event().wait()

    async def live(self):
        while True:
            silent = time.monotonic() - self.heard_at
            if silent >= PING_AFTER_S + 2 * PONG_WITHIN_S:
                raise Breach("silent", "two pings were not answered")
            due = PING_AFTER_S + self.pings_open * PONG_WITHIN_S
            if silent >= due:
                self.pings_open += 1
                self.control({"type": "ping", "value": self.pings_open})
            else:
                await asyncio.sleep(due - silent)

    async def send(self):
        """Control frames first, then one DATA of each stream in turn, to messages of about 16 KiB."""
        while True:
            message = b""
            while self.outbox and len(message) < MAX_DATA:
                message += self.outbox.popleft()
            for _ in range(len(self.turns)):
                if len(message) >= MAX_DATA:
                    break
                stream = self.turns.popleft()
                frame = stream.next_data(min(MAX_DATA, self.send_credit)) if stream.id in self.streams else None
                if frame:
                    self.send_credit -= len(frame["data"])
                    self.bytes_down += len(frame["data"])
                    message += encode(frame)
                if stream.id in self.streams and (stream.pending or stream.pending_fin):
                    self.turns.append(stream)
            if message:
                await self.socket.send(message)
            else:
                self.wake.clear()
                await self.wake.wait()

    async def receive(self):
        while True:
            message = await self.socket.receive()
            self.heard_at, self.pings_open = time.monotonic(), 0
            received = 0
            for frame in decode(message):
                received += self.handle(frame)
            if received:
                self.receive_credit += received
                self.control({"type": "window", "stream": 0, "creditBytes": received})

    def handle(self, frame):
        """Acts on a frame; returns the bytes of DATA in it."""
        kind = frame["type"]
        if not self.welcomed and kind not in ("control", "ping", "pong", "close", "extension"):
            raise Breach("unexpected", f"{kind} before the welcome")
        if kind == "data":
            return self.handle_data(frame)
        if kind == "open":
            self.handle_open(frame)
        elif kind == "ping":
            self.outbox.appendleft(encode({"type": "pong", "value": frame["value"]}))
            self.wake.set()
        elif kind == "control":
            self.handle_control(frame)
        elif kind == "close":
            raise Gone(frame["code"], frame["reason"].decode(errors="replace"))
        elif kind == "window" and frame["stream"] == 0:
            self.send_credit += frame["creditBytes"]
            if self.send_credit > TUNNEL_WINDOW:
                raise Breach("window_overflow", "more credit for the tunnel than was used")
            self.wake.set()
        elif "stream" in frame:
            self.handle_stream(kind, frame)
        return 0

    def handle_stream(self, kind, frame):
        stream = self.known(frame["stream"])
        if stream is None:
            return
        if kind == "reset":
            stream.given_up()
        elif kind == "window":
            stream.credit += frame["creditBytes"]
            if not stream.is_open or stream.credit > MAX_STREAM_WINDOW:
                raise Breach("window_overflow", "too much credit")
            self.wake.set()
        else:
            raise Breach("unexpected", f"{kind} on a TCP stream of the hub's")

    def handle_open(self, frame):
        number = frame["stream"]
        if number % 2 == 0 or number <= self.last_id:
            raise Breach("stream_id_reuse", f"stream {number}")
        if frame["windowBytes"] > MAX_STREAM_WINDOW:
            raise Breach("window_overflow", "the first window is too large")
        self.last_id = number
        if len(self.streams) >= MAX_STREAMS:
            self.control({"type": "reset", "stream": number, "code": RESET["busy"], "detail": b""})
            return
        self.count += 1
        self.streams[number] = self.stream_type(self, frame)

    def handle_data(self, frame):
        length = len(frame["data"])
        self.receive_credit -= length
        if self.receive_credit < 0:
            raise Breach("window_overflow", "more data than the tunnel's credit")
        stream = self.known(frame["stream"])
        if stream is None:
            self.stray -= length
            if self.stray < 0:
                raise Breach("stream_finished", "data on a stream that is over")
            return length
        if not stream.is_open:
            raise Breach("unexpected", "data before OPENED")
        if stream.fin_came:
            raise Breach("stream_finished", "data after FIN")
        stream.window -= length
        if stream.window < 0:
            raise Breach("window_overflow", "more data than the stream's credit")
        self.bytes_up += length
        if length:
            stream.received.put_nowait(frame["data"])
        if frame["fin"]:
            stream.fin_came = True
            stream.received.put_nowait(None)
        return length

    def known(self, number):
        stream = self.streams.get(number)
        # We open none, so even ids never were open.
        if stream is None and (number % 2 == 0 or number > self.last_id):
            raise Breach("unknown_stream", f"stream {number}")
        return stream

    def handle_control(self, frame):
        self.control_parts += frame["part"]
        if len(self.control_parts) > 1 << 20:
            raise Breach("malformed", "the control message is too long")
        if frame["more"]:
            return
        text, self.control_parts = self.control_parts, b""
        try:
            message = json.loads(text)
        except ValueError:
            return  # Section 6: what is no message is ignored.
        if message.get("type") == "welcome" and not self.welcomed:
            self.welcomed = True
            self.heartbeat_task = asyncio.create_task(self.heartbeat(message["heartbeatS"]))
            ready = {"event": "ready", "nodeId": message["nodeId"], "publicIp": message.get("publicIp")}
            print(json.dumps(ready), flush=True)
        elif message.get("type") == "notice":
            print(f"notice: {message.get('code')}: {message.get('message')}", file=sys.stderr)

    async def heartbeat(self, seconds):
        while True:
            await asyncio.sleep(seconds)
            self.say({
                "type": "heartbeat", "bytesUp": self.bytes_up, "bytesDown": self.bytes_down, "streams": self.count,
                "refused": {},
            })


# ---- the vectors ----------------------------------------------------------------------------------------------------------


def expand(notation):
    data = b""
    for token in notation.split():
        digits, _, times = token.partition("*")
        data += bytes.fromhex(digits) * int(times or 1)
    return data


def from_vector(frame):
    """A frame of the vectors in the form that we decode to."""
    frame = dict(frame)
    for field in ("early", "data", "part"):
        if field in frame:
            frame[field] = expand(frame[field])
    for field in ("detail", "reason"):
        if field in frame:
            frame[field] = frame[field].encode()
    for field in ("customer", "value"):
        if field in frame:
            frame[field] = int(frame[field])
    return frame


def decode_all(data):
    frames = []
    try:
        for frame in decode(data):
            frames.append(frame)
    except Malformed as error:
        return frames, str(error)
    return frames, None


def self_test(path):
    vectors = json.loads(path.read_text())
    wrong, cases = [], 0

    def check(name, got, expected):
        nonlocal cases
        cases += 1
        if got != expected:
            wrong.append(f"{name}:\n  expected {expected!r:.300}\n       got {got!r:.300}")

    for case in vectors["frames"]:
        frame, data = from_vector(case["frame"]), expand(case["hex"])
        check(case["name"], decode_all(data), ([frame], None))
        check(case["name"] + ", written", encode(frame), data)
    for case in vectors["decodeOnly"]:
        check(case["name"], decode_all(expand(case["hex"])), ([from_vector(case["frame"])], None))
    for case in vectors["invalid"]:
        check(case["name"], decode_all(expand(case["hex"])), ([], case["error"]))
    for case in vectors["messages"] + vectors["invalidMessages"]:
        frames = [from_vector(frame) for frame in case["frames"]]
        check(case["name"], decode_all(expand(case["hex"])), (frames, case.get("error")))
    for text in wrong:
        print(text, file=sys.stderr)
    print(json.dumps({"event": "self-test", "cases": cases, "wrong": len(wrong)}))
    return 1 if wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hub", help="ws://… or wss://…")
    parser.add_argument("--partner-key", default=os.environ.get("IPLOOP_PARTNER_KEY"))
    parser.add_argument("--allow", action="append", default=[], metavar="HOST:PORT", help="may be dialed; repeatable")
    parser.add_argument("--terms", default="2026-11", help="version of the consent text that the owner agreed to")
    parser.add_argument("--ca", help="file with the certificates to trust")
    parser.add_argument("--once", action="store_true", help="end after the first stream that ended well")
    parser.add_argument("--self-test", action="store_true", help="walk the vectors and end")
    options = parser.parse_args()
    if options.self_test:
        return self_test(pathlib.Path(__file__).parents[2] / "iploop-protocol/vectors/frames.json")
    if not options.hub or not options.partner_key:
        parser.error("--hub and --partner-key are needed")
    try:
        return asyncio.run(Node(options).run())
    except (OSError, Gone, asyncio.TimeoutError) as error:
        print(f"no tunnel: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
