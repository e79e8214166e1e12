#!/usr/bin/env python3
"""A UW v1 client that tries one thing on a server, and says what came of it.

    uw_client.py HOST:PORT SCENARIO [--resync] [--count N] [--timeout SECONDS] [--tls-ca FILE]

Prints one JSON object, `{"scenario", "ok", ...}`; exit code 0 if the server did what the description asks, else 1.
The server must know `echo`, `sleep {"ms"}`, `fail {"code","message"}`, `size {"bytes"}` and `ping`. --resync says
that the server skips what is no frame (the default is that it closes the connection); --tls-ca that it speaks TLS,
with a certificate of that CA.
"""

import argparse
import json
import os
import socket
import ssl
import struct
import sys
import threading
import time

import uw


class Failed(Exception):
    """The server did something else."""


class Client:
    def __init__(self, options):
        self.socket = socket.create_connection(options.address, timeout=options.timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if options.tls_ca:
            context = ssl.create_default_context(cafile=options.tls_ca)
            # An end that nobody has told is an error.
            self.socket = context.wrap_socket(
                self.socket, server_hostname=options.address[0], suppress_ragged_eofs=False
            )
        self.decoder = uw.Decoder(requests=False)
        self.frames = []
        self.waiting = {}

    def encode(self, method: str, params) -> bytes:
        """The bytes of a request whose answer is then waited for."""
        content = json.dumps(params, separators=(",", ":")).encode()
        id = os.urandom(16)
        self.waiting[id] = (method, params)
        return uw.request(id, method.encode(), content)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self):
        """The next answer: (method, params, value). None at the end of the stream."""
        while not self.frames:
            try:
                data = self.socket.recv(262144)
            except ConnectionResetError:
                data = b""
            if not data:
                expect(self.decoder.is_between_frames(), "the stream ended inside a frame")
                return None
            self.frames += self.decoder.feed(data)
        frame = self.frames.pop(0)
        expect(frame.id in self.waiting, "an answer to nothing that is waited for")
        method, params = self.waiting.pop(frame.id)
        return method, params, json.loads(frame.content)

    def call(self, method: str, params):
        self.send(self.encode(method, params))
        answer = self.answer()
        expect(answer is not None, f"closed instead of answering {method!r}")
        return answer[2]

    def answers(self, count: int) -> list:
        """Exactly so many answers, each of them checked if it is an echo."""
        got = []
        for _ in range(count):
            answer = self.answer()
            expect(answer is not None, f"closed after {len(got)} of {count} answers")
            expect(answer[0] != "echo" or answer[1] == answer[2], "an echo with another content")
            got.append(answer)
        return got

    def expect_closed(self) -> None:
        expect(self.answer() is None, "an answer instead of the end")


def expect(condition, otherwise: str) -> None:
    if not condition:
        raise Failed(otherwise)


def expect_serving(options) -> None:
    """A new connection is served: whatever was done before, only its own connection paid."""
    expect(Client(options).call("echo", {"still": "there"}) == {"still": "there"}, "no longer serving")


def ping(options):
    answer = Client(options).call("ping", {"timestamp": int(time.time() * 1000)})
    expect("error" not in answer, "ping was answered by an error")


def byte_by_byte(options):
    client = Client(options)
    for n in range(20):
        for byte in client.encode("echo", {"n": n, "text": "ü€𝄞"}):
            client.send(bytes([byte]))
    client.answers(20)


def pipelined(options):
    client = Client(options)
    client.send(b"".join(client.encode("echo", {"n": n}) for n in range(options.count)))
    client.answers(options.count)
    return {"answered": options.count}


def big_bodies(options):
    client = Client(options)
    text = "0123456789abcdef" * (3 * 65536)
    for _ in range(3):
        expect(client.call("echo", {"text": text}) == {"text": text}, "3 MiB came back changed")
    size = client.call("size", {"bytes": len(text)})
    expect(len(size["data"]) == len(text), "the wrong size")
    # Both directions at once: neither side may stop reading because the other does not.
    sender = threading.Thread(
        target=client.send, args=(b"".join(client.encode("echo", {"n": n, "text": text}) for n in range(4)),), daemon=True
    )
    sender.start()
    client.answers(4)
    sender.join(options.timeout)


def out_of_order(options):
    client = Client(options)
    client.send(client.encode("sleep", {"ms": 300}) + client.encode("echo", 1))
    order = [method for method, _, _ in client.answers(2)]
    expect(order == ["echo", "sleep"], "the quick answer waited for the slow one")


def errors(options):
    client = Client(options)
    expect(client.call("nobody-has-this", {})["error"]["code"] == "METHOD_NOT_FOUND", "unknown method")
    expect(client.call("x" * 255, {})["error"]["code"] == "METHOD_NOT_FOUND", "the longest method")
    expect(client.call("", {})["error"]["code"] == "METHOD_NOT_FOUND", "the empty method")
    answer = client.call("fail", {"code": "TEAPOT", "message": "short and stout"})
    expect(answer["error"]["code"] == "TEAPOT", "the code of a failure")
    id = os.urandom(16)
    client.waiting[id] = ("echo", None)
    client.send(uw.request(id, b"echo", b"{not json"))
    answer = client.answer()
    expect(answer is not None and answer[2]["error"]["code"] == "BAD_REQUEST", "content that is not JSON")
    expect(client.call("echo", [1]) == [1], "the connection outlives bad requests")


def half_closed(options):
    client = Client(options)
    client.send(client.encode("sleep", {"ms": 200}) + b"".join(client.encode("echo", n) for n in range(20)))
    client.socket.shutdown(socket.SHUT_WR)
    client.answers(21)
    client.expect_closed()


def half_frame(options):
    client = Client(options)
    client.send(client.encode("echo", {"text": "never finished"})[:-5])
    client.socket.close()
    expect_serving(options)


def silent(options):
    connections = [Client(options) for _ in range(options.count)]
    expect_serving(options)
    return {"connections": len(connections)}


def slow_reader(options):
    client = Client(options)
    client.send(b"".join(client.encode("size", {"bytes": 65536}) for _ in range(400)))
    time.sleep(0.5)
    expect_serving(options)
    client.answers(400)


def violation(options, garbage: bytes) -> None:
    """A good request, then bytes that are no frame, then a good request."""
    client = Client(options)
    expect(client.call("echo", "before") == "before", "before the garbage")
    client.send(garbage + client.encode("echo", "after"))
    if options.resync:
        client.answers(1)
    else:
        client.expect_closed()
    expect_serving(options)


def garbage(options):
    violation(options, b"\x00\xffGET / HTTP/1.1\r\n\r\nU")


def wrong_version(options):
    violation(options, b"UW\x09" + b"\x55\x00" * 8)


def oversized(options):
    violation(options, uw.request(os.urandom(16), b"echo", b"")[:-4] + struct.pack("<I", 0xFFFFFFFF))


SCENARIOS = {
    "ping": ping,
    "byte-by-byte": byte_by_byte,
    "pipelined": pipelined,
    "big-bodies": big_bodies,
    "out-of-order": out_of_order,
    "errors": errors,
    "half-closed": half_closed,
    "half-frame": half_frame,
    "silent": silent,
    "slow-reader": slow_reader,
    "garbage": garbage,
    "wrong-version": wrong_version,
    "oversized": oversized,
}


def main() -> int:
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    parser.add_argument("address")
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--resync", action="store_true")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--timeout", type=float, default=10)
    parser.add_argument("--tls-ca")
    options = parser.parse_args()
    host, _, port = options.address.rpartition(":")
    options.address = (host.strip("[]"), int(port))
    verdict = {"scenario": options.scenario, "ok": True}
    try:
        verdict |= SCENARIOS[options.scenario](options) or {}
    except (Failed, uw.Violation, OSError, ValueError, LookupError, TypeError) as why:
        verdict |= {"ok": False, "why": f"{type(why).__name__}: {why}"}
    print(json.dumps(verdict))
    return 0 if verdict["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
