"""The container of the server: its files parse, and call what is there."""

from __future__ import annotations

import argparse
import json
import re
from typing import Any

import yaml

from bitnet_onnx.cli import serve
from tests.support.paths import ROOT

FOLDER = ROOT / "examples" / "server"
RECIPE = re.sub(r"\\\n\s*", "", (FOLDER / "Dockerfile").read_text("utf-8"))


def last(instruction: str) -> Any:
    """The value of the last instruction of a name, which is a list of JSON."""
    return json.loads(re.findall(rf"^.*\b{instruction} (\[.*\])$", RECIPE, re.MULTILINE)[-1])


def parsed(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    serve.add_arguments(parser)
    return parser.parse_args(arguments)


def service() -> dict[str, Any]:
    loaded = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
    found: dict[str, Any] = loaded["services"]["server"]
    return found


def test_the_commands_are_those_of_the_program() -> None:
    program, command, *arguments = last("ENTRYPOINT")
    assert (program, command) == ("bitnet-onnx", "serve")
    alone = parsed(arguments + re.findall(r'^CMD \["(.*)"\]$', RECIPE, re.MULTILINE))
    composed = parsed([*arguments, *service()["command"]])
    for given in (alone, composed):
        assert given.host == "0.0.0.0"
        assert given.artifacts == ["model=/artifact"]
        assert given.api_key is None, "other users read a command line"
    assert composed.allow_host == ["server"]
    assert int(service()["stop_grace_period"].removesuffix("s")) > composed.drain


def test_ports_and_health_are_those_of_the_server() -> None:
    port = parsed(["a"]).port
    assert f"EXPOSE {port}\n" in RECIPE
    assert service()["ports"] == [f"127.0.0.1:{port}:{port}"]
    program, flag, code = last("CMD")
    assert (program, flag) == ("python", "-c")
    compile(code, "health", "exec")
    assert f":{port}/health" in code


def test_the_key_is_asked_for_and_the_user_is_nobody() -> None:
    assert set(service()["environment"]) == {serve.KEY}
    assert service()["environment"][serve.KEY].startswith(f"${{{serve.KEY}:?")
    assert re.search(r"^USER [1-9]\d+:[1-9]\d+$", RECIPE, re.MULTILINE)
    assert service()["read_only"] is True
    assert all(volume.endswith(":ro") for volume in service()["volumes"])


def test_what_the_image_is_made_of_is_there() -> None:
    lines = (FOLDER / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    kept = [line[1:] for line in lines if line.startswith("!")]
    assert {"bitnet_onnx", "custom_ops", "pyproject.toml"} < set(kept)
    assert all((ROOT / name).exists() for name in kept)
    made = service()["build"]
    assert (FOLDER / made["context"]).resolve() == ROOT
    assert (ROOT / made["dockerfile"]).is_file()
