#!/usr/bin/env python3
"""Many serving devices in one process, some of them dead or slow.

    python3 tests/python/fleet.py --hub ws://127.0.0.1:8001/ws --partner-key iplp_… --allow 127.0.0.1:8080 --devices 200 --dead 40 --slow 20

Each connects from an address of its own in 127.2.0.0/16, by its number, and dials what it may. A dead one is connected,
answers pings, and never answers a dial; a slow one takes `--slow-s` before each. One JSON line on stdout for every device that is
registered: `{"event": "ready", …}`.
"""

import argparse
import asyncio
import ipaddress
import pathlib
import sys
import types

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import node  # noqa: E402: the other half of this folder, which keeps the protocol

FIRST_ADDRESS = ipaddress.IPv4Address("127.2.0.1")


class Dead(node.Stream):
    async def dial(self):
        await asyncio.Event().wait()


class Slow(node.Stream):
    async def dial(self):
        await asyncio.sleep(self.node.options.slow_s)
        await super().dial()


class Member(node.Node):
    def __init__(self, options, number):
        super().__init__(options)
        self.address = str(FIRST_ADDRESS + number)
        if number < options.dead:
            self.stream_type = Dead
        elif number < options.dead + options.slow:
            self.stream_type = Slow

    async def run(self):
        self.socket = await node.WebSocket.connect(self.options.hub, source=self.address)
        self.say(self.hello())
        await asyncio.gather(self.receive(), self.send(), self.live())


async def main(options):
    await asyncio.gather(*(Member(options, number).run() for number in range(options.devices)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hub", required=True, help="ws://…")
    parser.add_argument("--partner-key", required=True)
    parser.add_argument("--allow", action="append", default=[], metavar="HOST:PORT", help="may be dialed; repeatable")
    parser.add_argument("--devices", type=int, default=200)
    parser.add_argument("--dead", type=int, default=0)
    parser.add_argument("--slow", type=int, default=0)
    parser.add_argument("--slow-s", type=float, default=0.5)
    given = parser.parse_args()
    try:
        asyncio.run(main(types.SimpleNamespace(**vars(given), terms="2026-11", once=False)))
    except (node.Gone, OSError) as error:
        sys.exit(f"no tunnel: {error}")
