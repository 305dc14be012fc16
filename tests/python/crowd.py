#!/usr/bin/env python3
"""Many idle devices in one process, which come back by the rules of docs/protocol.md, section 8.

    python3 tests/python/crowd.py --hub ws://127.0.0.1:8001/ws --partner-key iplp_… --devices 2500 --first 0

Each connects from an address of its own in 127.1.0.0/16 and upwards, by its number, registers, answers pings, and does nothing
else. One JSON line on stdout a second: `{"event": "crowd", "connected": …, "attempts": …, "closed": {code: …}}`. It ends when
nobody reads them any more. 10,000 devices are four of these: one process holds 20,000 files at most.
"""

import argparse
import asyncio
import collections
import ipaddress
import json
import pathlib
import random
import sys
import time
import types

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import node  # noqa: E402: the other half of this folder, which keeps the protocol

FIRST_ADDRESS = ipaddress.IPv4Address("127.1.0.1")
# Attempts under way at the same time, as far as one process may know of another's.
AT_ONCE = 200
# Section 8, Reconnecting.
FIRST_S, SHORT_S, PATIENCE_S, LONGEST_S, STABLE_S = 1, 30, 600, 600, 60


class Crowd:
    def __init__(self, options):
        self.options = options
        self.connected = self.attempts = 0
        self.closed = collections.Counter()
        self.turns = asyncio.Semaphore(AT_ONCE)

    async def device(self, number):
        hello = node.Node(self.options).hello()
        address = str(FIRST_ADDRESS + number)
        failures, failing_since = 0, None
        while True:
            began = time.monotonic()
            wish = await self.life(hello, address)
            if wish is None:
                return
            now = time.monotonic()
            if now - began >= STABLE_S:
                failures, failing_since = 0, None
            failing_since = failing_since or now
            longest = SHORT_S if now - failing_since < PATIENCE_S else LONGEST_S
            wait = random.uniform(0, min(FIRST_S * 2 ** min(failures, 20), longest))
            failures += 1
            await asyncio.sleep(wish * random.uniform(1, 1.1) if wish else wait)

    async def life(self, hello, address):
        """One connection: how long the hub wants the device to stay away, or None where that is for ever."""
        self.attempts += 1
        welcomed = False
        writer = None
        try:
            async with self.turns:
                socket = await asyncio.wait_for(self.connect(address), node.HANDSHAKE_S)
                writer = socket.writer
                await socket.send(node.encode({"type": "control", "part": json.dumps(hello).encode(), "more": False}))
            heard_by = node.HANDSHAKE_S
            while True:
                message = await asyncio.wait_for(socket.receive(), heard_by)
                for frame in node.decode(message):
                    if frame["type"] == "ping":
                        await socket.send(node.encode({"type": "pong", "value": frame["value"]}))
                    elif frame["type"] == "close":
                        self.closed[frame["code"]] += 1
                        return None if frame["code"] in node.NOT_AGAIN else frame["retryAfterS"]
                    elif frame["type"] == "control" and not welcomed:
                        welcomed = True
                        self.connected += 1
                        heard_by = node.PING_AFTER_S + 2 * node.PONG_WITHIN_S
        except node.Gone as gone:
            self.closed[str(gone.code)] += 1
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
            self.closed[type(error).__name__] += 1
        finally:
            self.connected -= welcomed
            if writer:
                writer.close()
        return 0

    async def connect(self, address):
        return await node.WebSocket.connect(self.options.hub, self.options.ca, address)

    async def report(self):
        while True:
            said = {"event": "crowd", "connected": self.connected, "attempts": self.attempts, "closed": self.closed}
            print(json.dumps(said), flush=True)
            await asyncio.sleep(1)


async def main(options):
    crowd = Crowd(options)
    numbers = range(options.first, options.first + options.devices)
    tasks = [asyncio.create_task(crowd.device(number)) for number in numbers]
    try:
        await crowd.report()
    except BrokenPipeError:
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hub", required=True, help="ws://… or wss://…")
    parser.add_argument("--ca", help="file with the certificates to trust")
    parser.add_argument("--partner-key", required=True)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    given = parser.parse_args()
    asyncio.run(main(types.SimpleNamespace(**vars(given), allow=[], terms="2026-11", once=False)))
