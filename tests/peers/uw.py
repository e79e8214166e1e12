"""UW version 1 from its written description alone; shares nothing with the Rust code it is tested against.

All integers are little-endian.

    request   55 57 | 01 | id (16) | method length (1) | method | content length (4) | content
    response  55 57 | 01 | id (16) | content length (4) | content
"""

import struct
from typing import Iterator, NamedTuple, Optional

MAGIC = b"UW"
VERSION = 1
MAX_CONTENT = 10 * 1024 * 1024


class Frame(NamedTuple):
    """A request, or a response (whose method is None)."""

    id: bytes
    method: Optional[bytes]
    content: bytes


class Violation(Exception):
    """Bytes that cannot begin or continue a frame."""


def request(id: bytes, method: bytes, content: bytes, version: int = VERSION) -> bytes:
    head = MAGIC + bytes([version]) + id + bytes([len(method)]) + method
    return head + struct.pack("<I", len(content)) + content


def response(id: bytes, content: bytes, version: int = VERSION) -> bytes:
    return MAGIC + bytes([version]) + id + struct.pack("<I", len(content)) + content


class Decoder:
    """Bytes in, frames out. `resync` skips what is not a frame, as the public client does, and counts it."""

    def __init__(self, requests: bool, resync: bool = False, max_content: int = MAX_CONTENT):
        self.requests = requests
        self.resync = resync
        self.max_content = max_content
        self.skipped = 0
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._buffer += data
        while (frame := self._next()) is not None:
            yield frame

    def is_between_frames(self) -> bool:
        return not self._buffer

    def _next(self) -> Optional[Frame]:
        buffer = self._buffer
        while True:
            if not MAGIC.startswith(bytes(buffer[:2])):
                at = buffer.find(MAGIC, 1)
                keep_last = 1 if buffer.endswith(MAGIC[:1]) else 0
                self._skip(at if at >= 0 else len(buffer) - keep_last, "no magic")
                continue
            if len(buffer) >= 3 and buffer[2] != VERSION:
                self._skip(1, f"version {buffer[2]}")
                continue
            at = 19
            method = None
            if self.requests:
                if len(buffer) < at + 1:
                    return None
                end = at + 1 + buffer[at]
                method = bytes(buffer[at + 1 : end])
                at = end
            if len(buffer) < at + 4:
                return None
            (length,) = struct.unpack_from("<I", buffer, at)
            if length > self.max_content:
                self._skip(3, f"content of {length} bytes")
                continue
            at += 4
            if len(buffer) < at + length:
                return None
            frame = Frame(bytes(buffer[3:19]), method, bytes(buffer[at : at + length]))
            del buffer[: at + length]
            return frame

    def _skip(self, count: int, why: str) -> None:
        if not self.resync:
            raise Violation(why)
        self.skipped += count
        del self._buffer[:count]
