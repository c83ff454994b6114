"""Damage checkpoints thousands of times; open and read each one under a memory limit.

    python -m tests.support.mutate FOLDER COUNT SEED

Prints one JSON object: the numbers of read and refused checkpoints, and all other outcomes. It is a
program because a memory limit holds for a whole process.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bitnet_onnx.errors import CheckpointError, ConfigError
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import checkpoints

SMALL: dict[str, Any] = {"hidden": 16, "heads": 2, "kv_heads": 1, "inner": 24, "layers": 1}
SLACK = 4 << 20  # bytes beyond those mapped after one reading: allocators take memory in steps

Damage = Callable[[random.Random, bytes], bytes]


def limit_memory(allowed: int) -> None:
    """Let the process map at most ``allowed`` more bytes; prove that the limit holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + allowed
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        torch.empty(2 * allowed, dtype=torch.uint8)
    except (MemoryError, RuntimeError):
        return
    sys.exit("the memory limit does not hold")


# ------------------------------------------------------------------------------------ the damage


def flip(numbers: random.Random, content: bytes) -> bytes:
    """Change a few bytes, mostly near the start, where headers are."""
    damaged = bytearray(content)
    header_end = min(8 + int.from_bytes(content[:8], "little"), len(content))
    for _ in range(numbers.choice([1, 1, 2, 8])):
        end = numbers.choice([8, header_end, header_end, len(content)])
        damaged[numbers.randrange(min(end, len(content)))] = numbers.randrange(256)
    return bytes(damaged)


def flip_bit(numbers: random.Random, content: bytes) -> bytes:
    damaged = bytearray(content)
    damaged[numbers.randrange(len(content))] ^= 1 << numbers.randrange(8)
    return bytes(damaged)


def cut(numbers: random.Random, content: bytes) -> bytes:
    return content[: numbers.randrange(len(content))]


def extend(numbers: random.Random, content: bytes) -> bytes:
    return content + numbers.randbytes(numbers.choice([1, 8, 4096]))


def repeat(numbers: random.Random, content: bytes) -> bytes:
    """Copy a slice over another place."""
    at, to = (numbers.randrange(len(content)) for _ in range(2))
    piece = content[at : at + numbers.choice([1, 4, 64])]
    return content[:to] + piece + content[to + len(piece) :]


SIZES = (-1, 0, 1, 3, 7, 2**31, 2**32 + 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30)
ODD: tuple[Any, ...] = (
    *(None, True, "", "x", [], {}, 0.5, -0.0, 1e308, 1e999, "\x00", [[]], {"a": 1}),
    *SIZES,
)
DTYPES = ("BOOL", "U8", "I8", "I64", "F16", "BF16", "F32", "F64", "F8_E4M3", "F4", "C64", "Q2")


def edit_object(numbers: random.Random, fields: dict[str, Any]) -> None:
    """Change, remove, rename or duplicate one entry, at any depth."""
    while True:
        name = numbers.choice(list(fields))
        inner = fields[name]
        if not (isinstance(inner, dict) and inner and numbers.random() < 0.7):
            break
        fields = inner
    kind = numbers.randrange(8)
    if kind == 0:
        del fields[name]
    elif kind == 1:
        fields[numbers.choice(["", "x", f"{name}.weight", "lm_head.weight"])] = fields.pop(name)
    elif kind == 2:
        fields[name] = fields[numbers.choice(list(fields))]
    elif kind == 3 and isinstance(inner, list) and inner:
        fields[name] = [*inner]
        fields[name][numbers.randrange(len(inner))] = numbers.choice(SIZES)
    elif kind == 4 and isinstance(inner, list) and inner:
        steps = (-(2**33), -16, -1, 1, 2, 16, 2**33)
        fields[name] = [n + numbers.choice(steps) if isinstance(n, int) else n for n in inner]
    elif kind == 5 and isinstance(inner, list):
        fields[name] = [*inner, *inner][: numbers.randrange(2 * len(inner) + 1)][::-1]
    elif kind == 6:
        fields[name] = numbers.choice(DTYPES)
    elif isinstance(inner, int) and numbers.random() < 0.5:
        fields[name] = inner + numbers.choice((-2, -1, 1, 2, inner, 64 * inner))
    else:
        fields[name] = numbers.choice(ODD)


def edit_json(numbers: random.Random, content: bytes) -> bytes:
    fields = json.loads(content)
    for _ in range(numbers.choice([1, 1, 1, 2, 4])):
        if fields:
            edit_object(numbers, fields)
    return json.dumps(fields).encode()


def edit_header(numbers: random.Random, content: bytes) -> bytes:
    """Change the safetensors header; its length stays right or becomes wrong."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = edit_json(numbers, content[8:end])
    length = len(header)
    if numbers.random() < 0.1:
        length = numbers.choice([0, length - 1, length + 1, 2**27, 2**40, 2**63, 2**64 - 1])
    return length.to_bytes(8, "little") + header + content[end:]


WEIGHTS: tuple[Damage, ...] = (flip, flip, flip_bit, cut, extend, repeat, edit_header, edit_header)
TEXT: tuple[Damage, ...] = (flip, flip_bit, cut, extend, repeat, edit_json, edit_json, edit_json)


def targets(root: Path) -> list[tuple[Path, tuple[Damage, ...]]]:
    """Make the files to damage: of packed, master, sharded and grouped checkpoints."""
    packed = checkpoints.make(root / "packed", **SMALL)
    masters = checkpoints.make(root / "masters", packed=False, tied=False, **SMALL)
    sharded = checkpoints.make(root / "sharded", shards=2, **SMALL)
    grouped = checkpoints.make_grouped(root / "grouped")
    shard = sharded / "model-00001-of-00002.safetensors"
    return [
        *[(packed / "model.safetensors", WEIGHTS)] * 3,
        *[(masters / "model.safetensors", WEIGHTS)] * 2,
        (shard, WEIGHTS),
        *[(sharded / "model.safetensors.index.json", TEXT)] * 2,
        *[(packed / "config.json", TEXT)] * 2,
        (grouped / "model.safetensors", WEIGHTS),
        (grouped / "config.json", TEXT),
    ]


def main(root: Path, count: int, seed: int) -> None:
    files = targets(root)
    for path, _ in files:
        checkpoints.read_all(open_checkpoint(path.parent))
    limit_memory(SLACK + 2 * max(path.stat().st_size for path, _ in files))
    done: Counter[str] = Counter()
    wrong: list[str] = []
    for i in range(count):
        numbers = random.Random(seed + i)
        path, damages = files[i % len(files)]
        whole = path.read_bytes()
        damage = numbers.choice(damages)
        path.write_bytes(damage(numbers, whole))
        try:
            checkpoints.read_all(open_checkpoint(path.parent))
            done["read"] += 1
        except (CheckpointError, ConfigError) as error:
            done["refused"] += 1
            message = str(error)
            if str(path.parent) not in message or "\n" in message or len(message) > 1000:
                wrong.append(f"{seed + i} {damage.__name__} {path.name}: {message[:1000]!r}")
        except Exception:
            wrong.append(f"{seed + i} {damage.__name__} {path.name}: {traceback.format_exc()}")
        finally:
            path.write_bytes(whole)
    print(json.dumps({**done, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
