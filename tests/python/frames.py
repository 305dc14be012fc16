"""Frames of the tunnel, written from the protocol's page alone (docs/protocol.md, sections 3, 10 and 13)."""

import ipaddress
import re
import struct

# Section 13.
VERSION = 2
MAX_DATA = 16_384
MAX_MESSAGE = 131_072
TUNNEL_WINDOW = 8_388_608
MAX_STREAM_WINDOW = 8_388_608
HANDSHAKE_S, PING_AFTER_S, PONG_WITHIN_S = 10, 25, 10
# Ours.
STREAM_WINDOW = 256 * 1024
MAX_STREAMS = 256

# Section 10.
RESET = {
    "cancelled": 1, "busy": 2, "draining": 3, "forbidden": 5, "dns_failed": 6, "refused": 7, "unreachable": 8,
    "dial_timeout": 9, "connection_reset": 10, "unsupported": 11, "internal": 13,
}
CLOSE = {
    "done": 0, "malformed": 1, "unexpected": 2, "window_overflow": 3, "unknown_stream": 4, "stream_id_reuse": 5,
    "handshake_timeout": 7, "silent": 8, "stream_finished": 9,
}
NOT_AGAIN = {20, 21, 22, 23, 24, 25, 26, 28}


# ---- frames: section 3 ----------------------------------------------------------------------------------------------------

OPEN, OPENED, DATA, RESET_FRAME, WINDOW, PING, PONG, CONTROL, DRAIN, DATAGRAM, CLOSE_FRAME = range(1, 12)
ON_TUNNEL = {PING, PONG, CONTROL, DRAIN, CLOSE_FRAME}


class Malformed(Exception):
    """Bytes that are no frame; the text is the kind of mistake as the vectors name it."""


class Breach(Exception):
    """The hub broke the protocol: the code says how."""

    def __init__(self, code, reason):
        super().__init__(f"{code}: {reason}")
        self.code = CLOSE[code]


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        if self.at + length > len(self.data):
            raise Malformed("truncated")
        self.at += length
        return self.data[self.at - length:self.at]

    def number(self, length):
        return int.from_bytes(self.take(length), "big")

    def rest(self):
        return self.take(len(self.data) - self.at)


def read_name(data):
    try:
        name = data.decode("ascii").lower()
    except UnicodeDecodeError:
        raise Malformed("field") from None
    name = name[:-1] if name.endswith(".") else name
    labels = name.split(".")
    if len(name) > 253 or not all(re.fullmatch(r"[a-z0-9_-]{1,63}", label) for label in labels):
        raise Malformed("field")
    if re.fullmatch(r"[0-9]+|0x.*", labels[-1]):
        try:
            return str(ipaddress.IPv4Address(data.decode("ascii")))
        except ValueError:
            raise Malformed("field") from None
    return name


def read_destination(cursor):
    kind = cursor.number(1)
    if kind == 1:
        host = str(ipaddress.IPv4Address(cursor.take(4)))
    elif kind == 4:
        host = f"[{ipaddress.IPv6Address(cursor.take(16))}]"
    elif kind == 3:
        host = read_name(cursor.take(cursor.number(1)))
    else:
        raise Malformed("field")
    return f"{host}:{cursor.number(2)}"


def write_destination(text):
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
        packed = bytes([1 if address.version == 4 else 4]) + address.packed
    except ValueError:
        packed = bytes([3, len(host)]) + host.encode("ascii")
    return packed + struct.pack(">H", int(port))


def decode(data):
    """All frames of a message, one by one, as dictionaries; Malformed where there is no frame."""
    if not data:
        raise Malformed("empty")
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise Malformed("truncated")
        kind, flags, length, stream = struct.unpack_from(">BBHI", data, at)
        at += 8
        if at + length > len(data):
            raise Malformed("truncated")
        yield decode_payload(kind, flags & 1 == 1, stream, bytes(data[at:at + length]))
        at += length


def decode_payload(kind, flag, stream, payload):
    if 0x40 <= kind <= 0x7F:
        return {"type": "extension"}
    if not OPEN <= kind <= CLOSE_FRAME:
        raise Malformed("type")
    if kind != WINDOW and (kind in ON_TUNNEL) != (stream == 0):
        raise Malformed("stream")
    low, high = {
        OPEN: (0, 65535), OPENED: (8, 8), DATA: (0 if flag else 1, MAX_DATA), RESET_FRAME: (2, 130), WINDOW: (4, 4),
        PING: (8, 8), PONG: (8, 8), CONTROL: (1, 65535), DRAIN: (4, 4), DATAGRAM: (0, 65535), CLOSE_FRAME: (6, 262),
    }[kind]
    if not low <= len(payload) <= high:
        raise Malformed("length")
    cursor = Cursor(payload)
    if kind == OPEN:
        frame = {"type": "open", "stream": stream}
        if len(payload) < 17:
            raise Malformed("truncated")
        transport = {1: "tcp", 2: "udp"}.get(cursor.number(1))
        if transport is None:
            raise Malformed("field")
        frame |= {"kind": transport, "windowBytes": cursor.number(4), "timeoutMs": cursor.number(4)}
        frame |= {"customer": cursor.number(8), "destination": read_destination(cursor)}
        frame |= {"early": cursor.rest(), "fin": flag}
        if len(frame["early"]) > MAX_DATA or (transport == "udp" and frame["early"]):
            raise Malformed("length")
        if transport == "udp" and flag:
            raise Malformed("field")
        return frame
    if kind == OPENED:
        return {"type": "opened", "stream": stream, "windowBytes": cursor.number(4), "dialMs": cursor.number(4)}
    if kind == DATA:
        return {"type": "data", "stream": stream, "data": payload, "fin": flag}
    if kind == RESET_FRAME:
        return {"type": "reset", "stream": stream, "code": cursor.number(2), "detail": cursor.rest()}
    if kind == WINDOW:
        credit = cursor.number(4)
        if credit == 0:
            raise Malformed("field")
        return {"type": "window", "stream": stream, "creditBytes": credit}
    if kind in (PING, PONG):
        return {"type": "ping" if kind == PING else "pong", "value": cursor.number(8)}
    if kind == CONTROL:
        return {"type": "control", "part": payload, "more": flag}
    if kind == DRAIN:
        return {"type": "drain", "graceMs": cursor.number(4)}
    if kind == DATAGRAM:
        frame = {"type": "datagram", "stream": stream, "peer": read_destination(cursor), "data": cursor.rest()}
        if len(frame["data"]) > 2048:
            raise Malformed("length")
        return frame
    return {"type": "close", "code": cursor.number(2), "retryAfterS": cursor.number(4), "reason": cursor.rest()}


def encode(frame):
    kind, stream, flag = frame["type"], frame.get("stream", 0), bool(frame.get("fin") or frame.get("more"))
    number, payload = {
        "open": lambda: (OPEN, struct.pack(
            ">BIIQ", {"tcp": 1, "udp": 2}[frame["kind"]], frame["windowBytes"], frame["timeoutMs"], frame["customer"],
        ) + write_destination(frame["destination"]) + frame["early"]),
        "opened": lambda: (OPENED, struct.pack(">II", frame["windowBytes"], frame["dialMs"])),
        "data": lambda: (DATA, frame["data"]),
        "reset": lambda: (RESET_FRAME, struct.pack(">H", frame["code"]) + frame["detail"]),
        "window": lambda: (WINDOW, struct.pack(">I", frame["creditBytes"])),
        "ping": lambda: (PING, struct.pack(">Q", frame["value"])),
        "pong": lambda: (PONG, struct.pack(">Q", frame["value"])),
        "control": lambda: (CONTROL, frame["part"]),
        "drain": lambda: (DRAIN, struct.pack(">I", frame["graceMs"])),
        "datagram": lambda: (DATAGRAM, write_destination(frame["peer"]) + frame["data"]),
        "close": lambda: (CLOSE_FRAME, struct.pack(">HI", frame["code"], frame["retryAfterS"]) + frame["reason"]),
    }[kind]()
    return struct.pack(">BBHI", number, flag, len(payload), stream) + payload
