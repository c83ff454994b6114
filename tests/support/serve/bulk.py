"""Files of requests, and a model that echoes them without computing anything."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

pytest.importorskip("starlette", reason="the extra server")
pytest.importorskip("prometheus_client", reason="the extra server")

from bitnet_onnx.serve.bulk import job
from bitnet_onnx.serve.bulk.lines import Line
from bitnet_onnx.serve.bulk.report import Report
from bitnet_onnx.serve.models import Limits

__all__ = ["asked", "echo", "read", "request"]


class Echo:
    """Answers with the prompt; ``status`` is that of all answers, ``fingerprint`` the model's."""

    fingerprint, lines, status, asked = "echo", 4, 200, 0

    def __init__(self, *ignored: Any) -> None:
        """Take what Answers takes."""

    @classmethod
    def open(cls, folder: Path) -> type[Echo]:
        """Return the artifact, which has a fingerprint and nothing else."""
        return cls

    async def of(self, line: Line) -> dict[str, Any]:
        Echo.asked += 1
        head = {"id": f"batch_req_{line.key.hex()}", "custom_id": line.custom_id}
        if line.wrong:
            error = {"code": line.code, "message": line.wrong}
            return {**head, "response": None, "error": error}
        await asyncio.sleep(0.001)
        body: dict[str, Any] = {"text": json.loads(line.body)["prompt"]}
        if self.status != 200:
            body = {"error": {"message": "the model failed"}}
        return {**head, "response": {"status_code": self.status, "body": body}, "error": None}

    def close(self) -> None:
        """Nothing is open."""


def request(name: str, prompt: str = "a", **changed: Any) -> bytes:
    """Return a line."""
    body = {"prompt": prompt, "max_tokens": 2}
    line = {"custom_id": name, "method": "POST", "url": "/v1/completions", "body": body}
    return json.dumps({**line, **changed}).encode() + b"\n"


def asked(path: Path, count: int) -> Path:
    """Write a file of so many requests."""
    path.write_bytes(b"".join(request(f"r{i}", "a" * (i % 50)) for i in range(count)))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of an output, all of which are whole."""
    text = path.read_bytes()
    assert not text or text.endswith(b"\n")
    return [json.loads(line) for line in text.splitlines()]


def echo(source: Path, target: Path, model: type[Echo] = Echo) -> Report:
    """Answer a file with the echo."""
    report = Report(lambda text: None, 1.0)
    with patch.multiple(job, Answers=model, Artifact=model):
        job.run_model("echo", Path(), Limits(), source, target, report)
    return report


if __name__ == "__main__":
    echo(Path(sys.argv[1]), Path(sys.argv[2]))
