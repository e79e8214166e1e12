"""Reads the JSON of cargo-llvm-cov; see .ci/coverage.

A branch side, a region or a line is reached if any instance of a generic function reaches it. Modules of tests at the
end of a file are left out: they reach themselves.
"""

import json
import os
import sys
from collections import defaultdict

WORST = 20
# Machines that exist for tests, and the bodies of fuzz targets.
LEFT_OUT = ("src/testing/", "src/fuzzing.rs")
TEST_FILE = "/tests.rs"
CODE_REGION = 0


def first_test_line(path):
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.startswith("#[cfg(test)]"):
                return number
    return sys.maxsize


def measure(report, folder):
    root = os.path.join(os.getcwd(), "core", "")
    ends = {}
    branches, regions = defaultdict(int), defaultdict(int)
    for function in report["functions"]:
        names = function["filenames"]
        for spans, counts, is_branch in ((function["branches"], branches, True), (function["regions"], regions, False)):
            for span in spans:
                *place, count, other, file = span[:7] if is_branch else (*span[:5], 0, span[5])
                name = names[file]
                if not name.startswith(root) or (not is_branch and span[7] != CODE_REGION):
                    continue
                name = name[len(root):]
                if not name.startswith(folder) or name.startswith(LEFT_OUT) or name.endswith(TEST_FILE):
                    continue
                end = ends.setdefault(name, first_test_line(os.path.join(root, name)))
                if place[0] >= end:
                    continue
                counts[(name, *place, True)] += count
                if is_branch:
                    counts[(name, *place, False)] += other
    return branches, regions, ends


def lines_of(report, ends):
    """Lines by their segments: a line is reached if a region that covers any of it was entered."""
    root = os.path.join(os.getcwd(), "core", "")
    lines = {}
    for file in report["files"]:
        name = file["filename"]
        name = name[len(root):] if name.startswith(root) else None
        if name not in ends:
            continue
        for line, _, count, has_count, is_entry, is_gap in file["segments"]:
            if has_count and is_entry and not is_gap and line < ends[name]:
                lines[(name, line)] = lines.get((name, line), False) or count > 0
    return lines


def share(reached, total):
    return 100 * reached / total if total else 100.0


def main():
    report = json.load(open(sys.argv[1], encoding="utf-8"))["data"][0]
    minimum = float(sys.argv[2])
    branches, regions, ends = measure(report, sys.argv[3])
    lines = lines_of(report, ends)

    files = defaultdict(lambda: [0, 0])
    missed = defaultdict(list)
    for (name, line, column, *_, side), count in sorted(branches.items()):
        files[name][0] += count > 0
        files[name][1] += 1
        if count == 0:
            missed[name].append(f"{line}:{column} never {str(side).lower()}")
    worst = sorted(files.items(), key=lambda item: item[1][0] - item[1][1])
    for name, (reached, total) in worst[:WORST]:
        if reached < total:
            print(f"{share(reached, total):6.1f} %  {reached:4} of {total:4} branches  {name}")
            if "--missed" in sys.argv:
                print("".join(f"           {place}\n" for place in missed[name]), end="")
    for what, counts in (("lines", lines), ("regions", regions), ("branches", branches)):
        reached = sum(1 for count in counts.values() if count)
        print(f"{what}: {share(reached, len(counts)):.2f} % ({reached} of {len(counts)})")
    reached = share(sum(1 for count in branches.values() if count), len(branches))
    if reached < minimum:
        sys.exit(f"*** branches: {reached:.2f} %, below {minimum:g} %")


if __name__ == "__main__":
    main()
