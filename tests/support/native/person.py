"""A person at a terminal: types into a command, and reads what its screen shows."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess

import pytest

from tests.support.paths import ROOT

pty = pytest.importorskip("pty")

__all__ = ["Person"]

PATIENCE = 60  # seconds, on a machine that is busy


class Person:
    """Types into a command's terminal and reads its screen."""

    def __init__(self, *command: str, stdout: int | None = None) -> None:
        self._terminal, side = pty.openpty()
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=side, stderr=side, stdout=side if stdout is None else stdout,
            start_new_session=True, env=os.environ | {"TERM": "xterm", "PYTHONPATH": str(ROOT)},
            # A shell starts what runs in the background with SIGINT ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        os.close(side)
        self.screen = ""

    def types(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def sees(self, pattern: str) -> str:
        """Wait for a pattern, and return the screen up to it; it is gone then."""
        while not (found := re.search(pattern, self.screen)):
            ready, _, _ = select.select([self._terminal], [], [], PATIENCE)
            assert ready, f"no {pattern!r} in {self.screen!r}"
            try:
                self.screen += os.read(self._terminal, 4096).decode()
            except OSError:  # the command ended
                pytest.fail(f"no {pattern!r} in {self.screen!r}")
        before, self.screen = self.screen[: found.end()], self.screen[found.end() :]
        return before

    def ends(self) -> int:
        """Return the exit code."""
        while select.select([self._terminal], [], [], PATIENCE)[0]:
            try:
                self.screen += os.read(self._terminal, 4096).decode()
            except OSError:
                break
        os.close(self._terminal)
        return self.process.wait(timeout=PATIENCE)

    def interrupts(self) -> None:
        self.process.send_signal(signal.SIGINT)
