"""A running server of the package, and requests to it. Needs the extra ``server``."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bitnet_onnx.files import sha256
from bitnet_onnx.serve.models import Limits
from bitnet_onnx.serve.run import Site, bound, made
from bitnet_onnx.serve.state import State

__all__ = ["CALLING", "Served", "served", "with_template"]

# A chat template that names tools, in the form of Hermes and Qwen.
CALLING = """
{%- for tool in tools or [] %}{{ 'Tool: ' + tool | tojson + '<|eot_id|>' }}{% endfor %}
{%- for message in messages %}{{ message['role'] | capitalize + ': ' + message['content'] | trim }}
{%- for call in message.tool_calls or [] %}{{ '<tool_call>' + call.function | tojson
 + '</tool_call>' }}{% endfor %}{{ '<|eot_id|>' }}{% endfor %}
{%- if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}
"""


@dataclass
class Served:
    """A server that runs in a thread."""

    url: str
    state: State
    log: list[str] = field(default_factory=list)

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        """Send a body as JSON, or bytes as they are."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.post(
            self.url + path,
            content=content,
            headers={"content-type": "application/json", **headers},
            timeout=60,
        )

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(self.url + path, headers=headers, timeout=60)


@contextmanager
def served(
    folders: Mapping[str, Path],
    limits: Limits | None = None,
    key: str | None = None,
    drain: float = 5.0,
    **place: Any,
) -> Iterator[Served]:
    """Serve artifacts on a free port, in a thread of this process."""
    state = State(folders, limits or Limits(threads=1), key)
    log: list[str] = []
    where = Site(port=0, **place)
    with bound(where) as listening:
        server = made(state, where, listening, drain, log.append)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        try:
            yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", state, log)
        finally:
            server.should_exit = True
            thread.join()
            state.close(5)


def with_template(artifact: Path, folder: Path, template: str = CALLING, **config: Any) -> Path:
    """Link an artifact's files into a new folder, with another chat template.

    config: options that generation_config.json has instead of its own.
    """
    folder.mkdir()
    for path in artifact.iterdir():
        (folder / path.name).symlink_to(path)
    manifest = json.loads((artifact / "manifest.json").read_text("utf-8"))
    changed = {"chat_template.jinja": template}
    if config:
        own = json.loads((artifact / "generation_config.json").read_text("utf-8"))
        changed["generation_config.json"] = json.dumps({**own, **config})
    for name, text in changed.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(text)
        size = (folder / name).stat().st_size
        manifest["files"][name] = {"size": size, "sha256": sha256(folder / name)}
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
