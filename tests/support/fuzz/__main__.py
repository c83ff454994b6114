"""Run rounds of every kind, each in a fork with limited memory; print what went wrong.

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
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.fuzz.rounds import KINDS, Place, one_round
from tests.support.mutate import limit_memory
from tests.support.paths import ROOT

SECONDS = 120.0  # a round takes a fraction of a second; another program may hold the processor
MEMORY = 1 << 29  # bytes beyond those mapped after the first round


def child(root: Path, asked: dict[str, tuple[int, int]]) -> None:
    """Run rounds of each kind in a fork, which shares what was imported, and leave what it said."""
    place = Place(root)
    place.without_graphs()
    for kind, (first, end) in asked.items():
        forked = os.fork()
        if not forked:
            for stream, name in ((1, "out"), (2, "err")):
                os.dup2(
                    os.open(said(root, kind, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream
                )
            one_kind(place, kind, first, end)
            sys.stdout.flush()
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1])
        said(root, kind, "code").write_text(str(code))
        if code:
            restored(root)


def said(root: Path, kind: str, name: str) -> Path:
    """Return the file with what the fork of a kind printed, or with its exit code."""
    return root / f"{kind}.{name}"


def one_kind(place: Place, kind: str, first: int, end: int) -> None:
    """Run rounds; print a line before and after each."""
    try:
        for seed in range(first, end):
            if seed == first + 1:
                limit_memory(MEMORY)  # the first round has loaded what is loaded lazily
            print(json.dumps({"seed": seed}), flush=True)
            faulthandler.dump_traceback_later(SECONDS, exit=True)
            outcome = one_round(place, kind, seed)
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps({"seed": seed, **outcome}), flush=True)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def rounds(kinds: Iterable[str], first: int, count: int) -> dict[str, dict[str, Any]]:
    """Run rounds of kinds in processes; return how many were read and refused, and the wrong."""
    found: dict[str, dict[str, Any]] = {k: {"read": 0, "refused": 0, "wrong": []} for k in kinds}
    given = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RUST_BACKTRACE": "0"}
    left = dict.fromkeys(found, first)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        Place(root).make()
        while left:
            asked = {kind: (seed, first + count) for kind, seed in left.items()}
            done = subprocess.run(
                [sys.executable, "-m", "tests.support.fuzz", "--child", folder, json.dumps(asked)],
                cwd=ROOT, env=given, capture_output=True, text=True, errors="replace",
            )  # fmt: skip
            assert done.returncode == 0, done.stderr[-4000:]
            left = {}
            for kind in asked:
                died = counted(root, kind, found[kind])
                if died is not None and died + 1 < first + count:
                    left[kind] = died + 1
    return found


def counted(root: Path, kind: str, found: dict[str, Any]) -> int | None:
    """Count the rounds that a fork ran; return the seed of the one that it died of, if it did."""
    lines = [json.loads(line) for line in said(root, kind, "out").read_text("utf-8").splitlines()]
    for line in lines:
        if line.get("wrong"):
            found["wrong"].append(line)
        elif "wrong" in line:
            found["refused" if line["refused"] else "read"] += 1
    code = int(said(root, kind, "code").read_text())
    if code == 0:
        return None
    words = said(root, kind, "err").read_text("utf-8", errors="replace")
    assert lines, words[-4000:]  # it died before the first round
    seed: int = lines[-1]["seed"]
    died = f"the process ended with {code}: {words[-3000:]}"
    found["wrong"].append({"seed": seed, "damage": "", "wrong": died})
    return seed


def restored(folder: Path) -> None:
    """Put back what a process that died had replaced."""
    for kept in folder.rglob("*.kept"):
        kept.replace(kept.with_name(kept.name.removesuffix(".kept")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200, help="of each kind; default: 200")
    parser.add_argument("--seed", type=int, default=0, help="the first round's")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=[*KINDS])
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        root, asked = args.child
        child(Path(root), json.loads(asked))
        return 0
    wrong = False
    for kind in args.kinds:
        found = rounds([kind], args.seed, args.rounds)[kind]
        numbers = f"{found['read']} read, {found['refused']} refused, {len(found['wrong'])} wrong"
        print(f"{kind}: {numbers}", flush=True)
        for one in found["wrong"]:
            print(f"--- {kind} {one['seed']} {one['damage']}\n{one['wrong']}", flush=True)
        wrong = wrong or bool(found["wrong"])
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
