"""The workflows for those who host the repository: they parse, and call what is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
each = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def jobs(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    found: dict[str, Any] = loaded["jobs"]
    return found


def commands(path: Path) -> Iterator[str]:
    for job in jobs(path).values():
        yield from (step["run"] for step in job["steps"] if "run" in step)


def targets() -> set[str]:
    text = (ROOT / "Makefile").read_text("utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    return set(phony[1].split())


def test_there_is_one() -> None:
    assert WORKFLOWS


@each
def test_every_target_is_in_the_makefile(path: Path) -> None:
    called = [name for text in commands(path) for name in re.findall(r"\bmake ([\w-]+)", text)]
    assert called
    assert set(called) <= targets()


@each
def test_every_script_is_there(path: Path) -> None:
    for text in commands(path):
        for script in re.findall(r"^(\S*/\S+)", text, re.MULTILINE):
            assert (ROOT / script).is_file(), script


@each
def test_jobs_may_read_alone(path: Path) -> None:
    loaded = yaml.safe_load(path.read_text("utf-8"))
    assert loaded["permissions"] == {"contents": "read"}
