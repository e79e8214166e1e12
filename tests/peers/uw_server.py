#!/usr/bin/env python3
"""A UW v1 server, well-behaved or not.

    uw_server.py [--port N] [--mode MODE] [--after N] [--batch N] [--delay-ms N] [--resync] [--lifetime SECONDS]
                 [--tls CERT_AND_KEY]

Prints `LISTENING port` first, and stops by itself after --lifetime. Methods: `echo` (answers its params), `sleep
{"ms"}`, `fail {"code","message"}`, `size {"bytes"}`, `not_json`, `ping`, `stats` (what this server has seen; the
`repeated` is how many `once {"key"}` requests ran more than once), `once {"key"}`.

The first --after answers of each connection are good ones; then the mode sets in. Pings and `stats` always get a
good answer in modes that answer at all, so that a test can look at a misbehaving server.
"""

import argparse
import asyncio
import json
import os
import socket
import ssl
import struct
from collections import Counter

import uw

MODES = {
    "good": "answers each request when it is done, so out of order if `sleep` is among them",
    "reversed": "collects --batch requests, then answers them last first",
    "late": "answers after --delay-ms",
    "twice": "answers twice",
    "stranger": "answers an id that nobody asked for, then the right one",
    "silent": "reads, and never answers",
    "deaf": "never reads",
    "dribble": "one byte per write",
    "garbage": "bytes that are no frame before each answer",
    "wrong-version": "answers in version 9",
    "oversized": "claims 4 GiB - 1 of content",
    "cut": "half an answer, then closes",
    "close": "closes without answering",
    "reset": "resets the connection without answering",
    "half-close": "stops sending, goes on reading",
}
GARBAGE = b"\x00U\xffnot a frame U\x01\x02"


def dump(value) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def error(code: str, message: str) -> bytes:
    return dump({"error": {"code": code, "message": message}})


class Server:
    def __init__(self, options):
        self.options = options
        self.connections = 0
        self.open = 0
        self.violations = 0
        self.half_frames = 0
        self.skipped = 0
        self.requests = Counter()
        self.once = Counter()

    def stats(self) -> dict:
        return {
            "connections": self.connections,
            "open": self.open,
            "violations": self.violations,
            "half_frames": self.half_frames,
            "skipped": self.skipped,
            "requests": dict(self.requests),
            "repeated": sum(1 for times in self.once.values() if times > 1),
        }

    async def content(self, request: uw.Frame) -> bytes:
        method = request.method.decode("utf-8", "replace")
        self.requests[method] += 1
        try:
            params = json.loads(request.content)
        except ValueError:
            return error("BAD_REQUEST", "the content is not JSON")
        if method == "echo":
            return request.content
        if method == "sleep":
            await asyncio.sleep(params["ms"] / 1000)
            return dump({"slept_ms": params["ms"]})
        if method == "fail":
            return error(params["code"], params["message"])
        if method == "size":
            return dump({"data": "x" * params["bytes"]})
        if method == "not_json":
            return b"{not json"
        if method == "ping":
            return dump({"timestamp": params.get("timestamp", 0)})
        if method == "stats":
            return dump(self.stats())
        if method == "once":
            self.once[params["key"]] += 1
            return request.content
        return error("METHOD_NOT_FOUND", f"no method {method!r}")


class Connection:
    def __init__(self, server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.server = server
        self.options = server.options
        self.reader = reader
        self.writer = writer
        self.answered = 0
        self.batch = []
        self.ended = False
        self.tasks = set()
        self.sending = asyncio.Lock()

    async def run(self) -> None:
        self.server.connections += 1
        self.server.open += 1
        decoder = uw.Decoder(requests=True, resync=self.options.resync)
        try:
            if self.options.mode == "deaf":
                await asyncio.sleep(self.options.lifetime)
            while data := await self.reader.read(65536):
                skipped = decoder.skipped
                for request in decoder.feed(data):
                    task = asyncio.create_task(self.answer(request))
                    self.tasks.add(task)
                    task.add_done_callback(self.tasks.discard)
                self.server.skipped += decoder.skipped - skipped
            if not decoder.is_between_frames():
                self.server.half_frames += 1
            # The peer sends nothing more, but may still wait for what it has asked.
            await asyncio.gather(*self.tasks)
        except uw.Violation:
            self.server.violations += 1
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.server.open -= 1
            for task in self.tasks:
                task.cancel()
            self.writer.close()

    async def answer(self, request: uw.Frame) -> None:
        mode = self.options.mode
        good = uw.response(request.id, await self.server.content(request))
        if mode == "late":
            await asyncio.sleep(self.options.delay_ms / 1000)
        try:
            async with self.sending:
                exempt = mode != "silent" and request.method in (b"ping", b"stats")
                misbehave = self.answered >= self.options.after and not exempt
                self.answered += 1
                await (self.misbehave(request, good) if misbehave else self.send(good))
        except ConnectionError:
            pass

    async def send(self, data: bytes) -> None:
        if not self.ended and not self.writer.is_closing():
            self.writer.write(data)
            await self.writer.drain()

    async def misbehave(self, request: uw.Frame, good: bytes) -> None:
        mode = self.options.mode
        if mode in ("good", "late"):
            await self.send(good)
        elif mode == "reversed":
            self.batch.append(good)
            if len(self.batch) == self.options.batch:
                await self.send(b"".join(reversed(self.batch)))
                self.batch.clear()
        elif mode == "twice":
            await self.send(good + good)
        elif mode == "stranger":
            await self.send(uw.response(os.urandom(16), b'"nobody asked"') + good)
        elif mode == "dribble":
            for byte in good:
                await self.send(bytes([byte]))
                await asyncio.sleep(0)
        elif mode == "garbage":
            await self.send(GARBAGE + good)
        elif mode == "wrong-version":
            await self.send(uw.response(request.id, good[23:], version=9))
        elif mode == "oversized":
            await self.send(good[:19] + struct.pack("<I", 0xFFFFFFFF) + good[23:])
        elif mode == "cut":
            await self.send(good[: len(good) // 2])
            self.writer.close()
        elif mode == "close":
            self.writer.close()
        elif mode == "reset":
            linger = struct.pack("ii", 1, 0)
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.writer.transport.abort()
        elif mode == "half-close" and not self.ended:
            self.ended = True
            self.writer.write_eof()


async def main() -> None:
    modes = "\n".join(f"  {name:14} {what}" for name, what in MODES.items())
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__, epilog=f"modes:\n{modes}"
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--mode", choices=MODES, default="good")
    parser.add_argument("--after", type=int, default=0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--delay-ms", type=int, default=500)
    parser.add_argument("--resync", action="store_true")
    parser.add_argument("--lifetime", type=float, default=300)
    parser.add_argument("--tls")
    options = parser.parse_args()
    server = Server(options)
    tls = None
    if options.tls:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.tls)
    listener = await asyncio.start_server(
        lambda reader, writer: Connection(server, reader, writer).run(),
        "127.0.0.1",
        options.port,
        backlog=4096,
        ssl=tls,
    )
    print("LISTENING", listener.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(options.lifetime)


if __name__ == "__main__":
    asyncio.run(main())
