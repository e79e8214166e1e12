#!/usr/bin/env python3
"""The two peers against each other, and the wire against bytes written by hand. Exit code 1 if anything fails."""

import json
import re
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import uw
from uw_client import SCENARIOS

HERE = Path(__file__).parent
ID = bytes(range(16))
REQUEST = bytes.fromhex("5557 01 000102030405060708090a0b0c0d0e0f 04 6563686f 02000000 7b7d")
RESPONSE = bytes.fromhex("5557 01 000102030405060708090a0b0c0d0e0f 02000000 7b7d")


@contextmanager
def server(*arguments):
    command = [sys.executable, HERE / "uw_server.py", "--lifetime", "60", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield re.fullmatch(r"LISTENING (\d+)\n", process.stdout.readline())[1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def client(port, scenario, *arguments):
    command = [sys.executable, HERE / "uw_client.py", f"127.0.0.1:{port}", scenario, "--timeout", "2", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=30)
    verdict = json.loads(done.stdout)
    assert (done.returncode == 0) == verdict["ok"], "the exit code and the verdict disagree"
    return verdict


def test_the_wire_is_the_one_that_is_written_down():
    assert uw.request(ID, b"echo", b"{}") == REQUEST
    assert uw.response(ID, b"{}") == RESPONSE
    assert len(uw.response(ID, b"")) == 23
    assert list(uw.Decoder(requests=True).feed(REQUEST)) == [(ID, b"echo", b"{}")]
    assert list(uw.Decoder(requests=False).feed(RESPONSE)) == [(ID, None, b"{}")]


def test_cuts_do_not_matter():
    stream = REQUEST + b"\x00U" + REQUEST
    for size in range(1, len(stream)):
        decoder = uw.Decoder(requests=True, resync=True)
        frames = [f for at in range(0, len(stream), size) for f in decoder.feed(stream[at : at + size])]
        assert len(frames) == 2 and decoder.skipped == 2, size


def test_strict_refuses_what_is_no_frame():
    for bad in (b"X", b"UX", b"UW\x02", REQUEST[:24] + b"\xff\xff\xff\xff"):
        try:
            list(uw.Decoder(requests=True).feed(bad))
        except uw.Violation:
            continue
        raise AssertionError(bad)


def test_a_good_server_passes_every_scenario():
    with server() as port, ThreadPoolExecutor(4) as pool:
        for verdict in pool.map(lambda scenario: client(port, scenario), SCENARIOS):
            assert verdict["ok"], verdict


def test_a_resynchronising_server_passes():
    with server("--resync") as port:
        for scenario in ("garbage", "wrong-version", "oversized"):
            verdict = client(port, scenario, "--resync")
            assert verdict["ok"], verdict


def test_the_client_notices_each_misbehaviour():
    modes = "twice stranger silent deaf garbage wrong-version oversized cut close reset half-close".split()
    for mode in modes:
        with server("--mode", mode, "--after", "3") as port:
            verdict = client(port, "pipelined", "--count", "20")
            assert not verdict["ok"], (mode, verdict)


def test_the_client_accepts_what_is_only_unusual():
    for mode in (["dribble"], ["reversed", "--batch", "20"], ["late", "--delay-ms", "200"]):
        with server("--mode", *mode) as port:
            verdict = client(port, "pipelined", "--count", "20")
            assert verdict["ok"], (mode, verdict)


def test_the_client_notices_a_server_that_forgives_what_it_should_not():
    with server("--resync") as port:
        assert not client(port, "garbage")["ok"]
    with server() as port:
        assert not client(port, "garbage", "--resync")["ok"]


def main() -> int:
    tests = [(name, test) for name, test in globals().items() if name.startswith("test_")]
    failed = 0
    for name, test in tests:
        try:
            test()
            print("ok     ", name, flush=True)
        except Exception:
            failed += 1
            print("FAILED ", name, flush=True)
            traceback.print_exc()
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
