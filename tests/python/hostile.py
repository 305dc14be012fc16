#!/usr/bin/env python3
"""Nodes that break the protocol (docs/protocol.md, section 9) against a real hub, and how the hub ends each.

    python3 tests/python/hostile.py --hub ws://127.0.0.1:8001/ws --partner-key iplp_… --rounds 5 --mute 500

One JSON line per attack: `{"event": "ended", "attack": …, "close": …, "status": …, "seconds": …}`, where `close` is the code in
the hub's CLOSE frame and `status` that of the WebSocket. At last `{"event": "over"}`. The short attacks run `--rounds` times; so
many connections as `--mute` says open a WebSocket and say nothing, and `--silent` ones register and then say nothing.
"""

import argparse
import asyncio
import json
import os
import pathlib
import struct
import sys
import time
import types

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import node  # noqa: E402: the other half of this folder, which keeps the protocol

PING = node.encode({"type": "ping", "value": 1})
PONG = node.encode({"type": "pong", "value": 1})
# Longer than any wait of the protocol.
PATIENCE_S = 60


def control(message, more=False):
    part = message if isinstance(message, bytes) else json.dumps(message).encode()
    return node.encode({"type": "control", "part": part, "more": more})


def opening(stream):
    frame = {"type": "open", "stream": stream, "kind": "tcp", "windowBytes": 65536, "timeoutMs": 1000, "customer": 1}
    return node.encode(frame | {"destination": "127.0.0.1:80", "early": b"", "fin": False})


def raw(kind, length, stream=0, payload=b"", flags=0):
    """A frame whose length may lie."""
    return struct.pack(">BBHI", kind, flags, length, stream) + payload


class Attack:
    """One connection to the hub."""

    def __init__(self, options):
        self.options = options
        self.node = node.Node(options)
        self.close = self.status = None

    async def connect(self):
        self.socket = await node.WebSocket.connect(self.options.hub)

    async def register(self):
        await self.connect()
        await self.send(control(self.node.hello()))
        await self.welcome()

    async def welcome(self):
        while True:
            for frame in node.decode(await self.socket.receive()):
                if frame["type"] == "control":
                    return
                if frame["type"] == "close":
                    raise AssertionError(f"not welcome: {frame}")

    async def send(self, *messages):
        """As far as the hub takes it: whoever was closed may learn of it while it is still talking."""
        try:
            for message in messages:
                self.socket.write(2, message)
                await self.socket.writer.drain()
        except ConnectionError:
            pass

    async def flood(self, message, times):
        """Without reading: until all is said, or the hub has said what it thinks of it and takes no more."""
        try:
            await asyncio.wait_for(self.send(*[message] * times), PATIENCE_S)
        except asyncio.TimeoutError:
            pass

    async def ended(self):
        """Reads to the end."""
        try:
            while True:
                for frame in node.decode(await self.socket.receive()):
                    if frame["type"] == "close":
                        self.close = frame["code"]
        except node.Gone as gone:
            self.status = None if gone.code is None else 4000 + gone.code
        finally:
            self.socket.writer.close()


async def garbage(attack):
    await attack.connect()
    await attack.send(os.urandom(1) + bytes([0x80]) + os.urandom(3000))


async def no_bytes(attack):
    await attack.connect()
    await attack.send(b"")


async def text(attack):
    await attack.connect()
    attack.socket.write(1, b'{"type":"hello"}')


async def long_message(attack):
    await attack.register()
    await attack.send(PING * 16_385)


async def long_frame(attack):
    await attack.register()
    await attack.send(raw(3, 16_385, 1, bytes(16_385)))


async def short_frame(attack):
    await attack.register()
    await attack.send(raw(6, 8, 0, bytes(7)))


async def empty_frame(attack):
    await attack.register()
    await attack.send(raw(5, 0, 0))


async def data_first(attack):
    await attack.connect()
    await attack.send(node.encode({"type": "data", "stream": 1, "data": b"x", "fin": False}))


async def no_hello(attack):
    await attack.connect()
    await attack.send(control({"type": "status", "sharing": True}))


async def bad_hello(attack):
    await attack.connect()
    await attack.send(control({"type": "hello", "versions": "two"}))


async def bad_partner(attack):
    await attack.connect()
    await attack.send(control(attack.node.hello() | {"partnerKey": "iplp_" + "0" * 48}))


async def two_hellos(attack):
    await attack.register()
    await attack.send(control(attack.node.hello()))


async def pings(attack):
    await attack.register()
    await attack.flood(PING, 5_000)


async def packed_pings(attack):
    await attack.register()
    await attack.flood(PING * 5_000, 20)


async def pongs(attack):
    await attack.register()
    await attack.flood(PONG * 5_000, 20)


async def extensions(attack):
    await attack.register()
    await attack.flood(raw(0x40, 0) * 5_000, 20)


async def control_messages(attack):
    await attack.register()
    await attack.flood(control({"type": "status", "sharing": True}) * 10, 1_000)


async def endless_control(attack):
    await attack.register()
    await attack.flood(control(b"x" * 60_000, more=True), 1_000)


async def endless_hello(attack):
    await attack.connect()
    await attack.flood(control(b"x" * 60_000, more=True), 1_000)


async def opens(attack):
    await attack.register()
    await attack.flood(b"".join(opening(stream) for stream in range(2, 2_002, 2)), 1)
    await attack.flood(b"".join(opening(stream) for stream in range(2_002, 4_202, 2)), 1)


async def hubs_id(attack):
    await attack.register()
    await attack.send(opening(7))


async def unknown_stream(attack):
    await attack.register()
    await attack.send(node.encode({"type": "data", "stream": 9, "data": b"x", "fin": False}))


async def too_much_credit(attack):
    await attack.register()
    await attack.send(node.encode({"type": "window", "stream": 0, "creditBytes": 1 << 31}))


async def mute(attack):
    await attack.connect()


async def silent(attack):
    await attack.register()


SHORT = [
    garbage, no_bytes, text, long_message, long_frame, short_frame, empty_frame, data_first, no_hello, bad_hello,
    bad_partner, two_hellos, pings, packed_pings, pongs, extensions, control_messages, endless_control, endless_hello,
    opens, hubs_id, unknown_stream, too_much_credit,
]


async def launch(kind, options):
    attack, began = Attack(options), time.monotonic()
    problem = None
    try:
        await asyncio.wait_for(kind(attack), PATIENCE_S)
        await asyncio.wait_for(attack.ended(), PATIENCE_S)
    except (OSError, asyncio.TimeoutError, node.Gone, AssertionError) as error:
        problem = repr(error)
    seconds = round(time.monotonic() - began, 2)
    said = {"event": "ended", "attack": kind.__name__, "close": attack.close, "status": attack.status}
    print(json.dumps(said | {"seconds": seconds, "problem": problem}), flush=True)


async def main(options):
    waiting = [asyncio.create_task(launch(silent, options)) for _ in range(options.silent)]
    waiting += [asyncio.create_task(launch(mute, options)) for _ in range(options.mute)]
    for _ in range(options.rounds):
        for kind in SHORT:
            await launch(kind, options)
    await asyncio.gather(*waiting)
    print(json.dumps({"event": "over"}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hub", required=True, help="ws://…")
    parser.add_argument("--partner-key", required=True)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--mute", type=int, default=10)
    parser.add_argument("--silent", type=int, default=1)
    given = parser.parse_args()
    given = types.SimpleNamespace(**vars(given), allow=[], terms="2026-11", ca=None, once=False)
    asyncio.run(main(given))
