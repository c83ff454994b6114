"""The output of a run: whole lines, each once, whatever kills the run.

A line is written by one call after its answer is whole, so the output is its own journal: a later
run cuts off a line without its end and leaves out what is answered. A small file beside it says of
which artifact and input it is. Knows files; does not know requests.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from ...errors import BitNetError, ConfigError
from ...files import new_file, read_object
from .lines import KEY, Input, as_array

__all__ = ["Output", "Run", "failed", "key_of"]

PREFIX = "batch_req_"
SYNC_SECONDS = 1.0  # of answers that a power cut may cost; a killed run loses none
FAR = 1 << 40  # a byte that Windows locks: beyond all lines, which others may read
VERSION = 1
AGAIN = "choose another output, or remove both files to begin again"


@dataclass(frozen=True)
class Run:
    """Of which artifact and input an output is."""

    artifact: str
    size: int
    sha256: str


class Output:
    """A file of answers, which no other run uses meanwhile."""

    def __init__(self, path: Path) -> None:
        """Open a new output, or that of a run which was ended. Raises ConfigError."""
        self.path, self._beside = path, path.with_name(f"{path.name}.run")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            self._file = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
        except (OSError, ValueError) as error:  # ValueError: a null character
            raise _cannot(path, error) from error
        self.errors, self.done = 0, as_array(b"")
        self._synced = monotonic()
        try:
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise ConfigError(f"the output {path} is not a file, expected one or a new name")
            self._lock()
            self._former = self._read_former()
        except BaseException:
            os.close(self._file)
            raise

    def _lock(self) -> None:
        try:
            if sys.platform == "win32":
                import msvcrt

                os.lseek(self._file, FAR, os.SEEK_SET)
                msvcrt.locking(self._file, msvcrt.LK_NBLCK, 1)
                os.lseek(self._file, 0, os.SEEK_SET)
            else:
                import fcntl

                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise _cannot(self.path, error) from error
            raise ConfigError(
                f"another run writes {self.path}, expected none", hint="wait for its end"
            ) from None

    def _read_former(self) -> Run | None:
        size = os.fstat(self._file).st_size
        if not size:
            return None
        if not self._beside.exists():
            raise ConfigError(
                f"the output {self.path} exists and no run of this command made it, expected a new"
                " name",
                hint="choose another one; nothing was written",
            )
        found = read_object(self._beside, ConfigError)
        try:
            if found.pop("version") == VERSION:
                run = Run(**found)
                if [*map(type, vars(run).values())] == [str, int, str]:
                    return run
        except (KeyError, TypeError):
            pass
        raise ConfigError(f"{self._beside} is not of this version of the command", hint=AGAIN)

    @property
    def before(self) -> tuple[int, str] | None:
        """How many bytes of the input the former run read, and their SHA-256."""
        return None if self._former is None else (self._former.size, self._former.sha256)

    def begin(self, artifact: str, given: Input) -> None:
        """Find what is answered, and note what the run is of.

        Raises ConfigError where the former run was of another artifact or input.
        """
        if self._former is not None:
            for what, same in (
                (f"{given.path} is not what it was", given.is_as_before),
                ("the artifact is not what it was", self._former.artifact == artifact),
            ):
                if not same:
                    raise ConfigError(
                        f"{what} when {self.path} was begun, expected the same one", hint=AGAIN
                    )
            self.done = self._recovered(given)
        now = Run(artifact, given.size, given.sha256)
        if now != self._former:
            with new_file(self._beside, replaces=True) as file:
                file.write_text(
                    json.dumps({"version": VERSION, **vars(now)}), encoding="utf-8", newline="\n"
                )

    def _recovered(self, given: Input) -> np.ndarray:
        """Return the keys of all whole lines, in order; cut off what comes after them."""
        keys, end = bytearray(), 0
        for number, text in enumerate(self._lines(), 1):
            if not text.endswith(b"\n") or b"\0" in text:  # zeros: of a power cut
                os.ftruncate(self._file, end)
                break
            end += len(text)
            try:
                answer = json.loads(text)
                keys += key_of(answer)
                self.errors += failed(answer)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                raise ConfigError(
                    f"line {number} of {self.path} is not an answer of this command, expected one",
                    hint=AGAIN,
                ) from None
        found = np.sort(as_array(bytes(keys)))
        asked = as_array(given.keys)
        if len(np.unique(found)) < len(found) or not np.isin(found, asked).all():
            raise ConfigError(
                f"{self.path} has answers twice or to other lines than {given.path} has, expected"
                " one to each",
                hint=AGAIN,
            )
        return found

    def _lines(self) -> Iterator[bytes]:
        with open(os.dup(self._file), "rb") as file:
            file.seek(0)
            yield from file

    def add(self, text: bytes) -> None:
        """Append lines. Raises BitNetError, as where the disk is full."""
        try:
            rest = memoryview(text)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            if monotonic() - self._synced > SYNC_SECONDS:
                os.fsync(self._file)
                self._synced = monotonic()
        except OSError as error:
            raise BitNetError(
                f"writing {self.path} failed: {error.strerror}",
                hint="what is answered is kept; run the same command again",
            ) from error

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *error: object) -> None:
        """Let all lines reach the disk."""
        try:
            os.fsync(self._file)
        finally:
            os.close(self._file)


def failed(answer: dict[str, Any]) -> bool:
    """Return whether a line of the output is an error."""
    return answer["response"] is None or answer["response"]["status_code"] != 200


def key_of(answer: dict[str, Any]) -> bytes:
    """Return the key of the line that a line of the output answers; raise ValueError for none."""
    name = str(answer["id"])
    key = bytes.fromhex(name.removeprefix(PREFIX))
    if len(key) != KEY or not name.startswith(PREFIX):
        raise ValueError(name)
    return key


def _cannot(path: Path, error: Exception) -> ConfigError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return ConfigError(f"the output {path} cannot be used: {reason}")
