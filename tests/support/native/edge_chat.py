"""The conversation of the engine for native apps, in a program of its own."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.native.edge import program

__all__ = ["EdgeChat", "EdgeError"]


class EdgeError(Exception):
    """What a call answered; ``code`` is bitnet_edge_code."""

    def __init__(self, answer: str) -> None:
        code, self.sentence = answer.split(" ", 1)
        self.code = int(code)
        super().__init__(answer)


class EdgeChat:
    """A conversation with the tokenizer and the chat.json of a folder."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [program("edge_chat"), folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            self._check()
        except EdgeError:
            self.close()
            raise

    def start(self, system: str | None) -> None:
        self._call(b"n" if system is None else b"s" + system.encode())

    def add(self, user: str, answer: str) -> None:
        self.add_bytes(user.encode(), answer.encode())

    def add_bytes(self, user: bytes, answer: bytes) -> None:
        self._call(b"a" + struct.pack("<i", len(user)) + user + answer)

    def prompt(self, text: str, context: int) -> tuple[list[int], int]:
        """Return the ids, and how many turns were forgotten."""
        self._call(b"p" + struct.pack("<i", context) + text.encode())
        ids, forgotten = self._read(), self._read()
        return list(struct.unpack(f"<{len(ids) // 4}i", ids)), struct.unpack("<i", forgotten)[0]

    def answered(self, answer: str, ids: Sequence[int]) -> None:
        packed = struct.pack(f"<{len(ids) + 1}i", len(ids), *ids)
        self._call(b"r" + packed + answer.encode())

    def close(self) -> None:
        self._process.communicate()
        assert self._process.returncode in (0, 1), self._process.returncode

    def _call(self, record: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(struct.pack("<I", len(record)) + record)
        self._process.stdin.flush()
        self._check()

    def _check(self) -> None:
        if answer := self._read():
            raise EdgeError(answer.decode())

    def _read(self) -> bytes:
        assert self._process.stdout is not None
        size = self._process.stdout.read(4)
        assert len(size) == 4, f"the program ended: {self._process.wait()}"
        return self._process.stdout.read(struct.unpack("<I", size)[0])
