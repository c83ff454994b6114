"""Run rounds of every kind, each in a process with limited memory; print what went wrong.

    python -m tests.support.fuzz --rounds 10000 [--seed 0] [--kinds tokenizer template]

A process that dies or takes too long is reported with the seed of its round, and the next goes on
behind it. The exit code is 1 where anything went wrong.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.fuzz.rounds import KINDS, Place, one_round
from tests.support.mutate import limit_memory
from tests.support.paths import ROOT

SECONDS = 120.0  # a round takes a fraction of a second; another program may hold the processor
MEMORY = 1 << 29  # bytes beyond those mapped after the first round


def child(root: Path, kind: str, first: int, end: int) -> None:
    """Run rounds; print a line before and after each."""
    place = Place(root)
    place.without_graphs()
    for seed in range(first, end):
        if seed == first + 1:
            limit_memory(MEMORY)  # the first round has loaded what is loaded lazily
        print(json.dumps({"seed": seed}), flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        outcome = one_round(place, kind, seed)
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps({"seed": seed, **outcome}), flush=True)


def rounds(kind: str, first: int, count: int) -> dict[str, Any]:
    """Run rounds of a kind in processes; return how many were read and refused, and the wrong."""
    found: dict[str, Any] = {"read": 0, "refused": 0, "wrong": []}
    end = first + count
    given = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RUST_BACKTRACE": "0"}
    with tempfile.TemporaryDirectory() as folder:
        Place(Path(folder)).make()
        while first < end:
            command = [sys.executable, "-m", "tests.support.fuzz", "--child", folder, kind]
            done = subprocess.run(
                [*command, str(first), str(end)],
                cwd=ROOT, env=given, capture_output=True, text=True, errors="replace",
            )  # fmt: skip
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            for line in lines:
                if line.get("wrong"):
                    found["wrong"].append(line)
                elif "wrong" in line:
                    found["refused" if line["refused"] else "read"] += 1
            if done.returncode == 0:
                break
            assert lines, done.stderr[-4000:]  # it died before the first round
            first = lines[-1]["seed"] + 1
            died = f"the process ended with {done.returncode}: {done.stderr[-3000:]}"
            found["wrong"].append({"seed": first - 1, "damage": "", "wrong": died})
            restored(Path(folder))
    return found


def restored(folder: Path) -> None:
    """Put back what a process that died had replaced."""
    for kept in folder.rglob("*.kept"):
        kept.replace(kept.with_name(kept.name.removesuffix(".kept")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200, help="of each kind; default: 200")
    parser.add_argument("--seed", type=int, default=0, help="the first round's")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[*KINDS])
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        root, kind, first, end = args.child
        child(Path(root), kind, int(first), int(end))
        return 0
    wrong = False
    for kind in args.kinds:
        found = rounds(kind, args.seed, args.rounds)
        numbers = f"{found['read']} read, {found['refused']} refused, {len(found['wrong'])} wrong"
        print(f"{kind}: {numbers}", flush=True)
        for one in found["wrong"]:
            print(f"--- {kind} {one['seed']} {one['damage']}\n{one['wrong']}", flush=True)
        wrong = wrong or bool(found["wrong"])
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
