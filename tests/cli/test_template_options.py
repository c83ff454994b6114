"""--tools, --documents and --template-variable reach the chat template, or are refused by name."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from bitnet_onnx.artifact import MANIFEST
from bitnet_onnx.cli.main import main
from bitnet_onnx.text.tokenizer import Tokenizer

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
TEMPLATE = (
    "{{ tools | tojson if tools }}{% for d in documents or [] %}{{ d.text }}{% endfor %}"
    "{% if enable_thinking is false %}no thoughts{% endif %}{{ name }}"
    "{% for m in messages %}{{ m.content }}<|eot_id|>{% endfor %}"
)


@pytest.fixture(scope="module")
def artifact(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model with a template that uses every option."""
    folder = tmp_path_factory.mktemp("tools") / "artifact"
    shutil.copytree(demo_artifact, folder)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    digest = hashlib.sha256(TEMPLATE.encode()).hexdigest()
    manifest["files"]["chat_template.jinja"] = {"size": len(TEMPLATE), "sha256": digest}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def prompt_tokens(capsys: pytest.CaptureFixture[str], artifact: Path, *options: str) -> int:
    command = ["generate", str(artifact), "Hello", "--format", "json", "--max-new-tokens", "1"]
    assert main([*command, *options]) == 0
    return int(json.loads(capsys.readouterr().out)["prompt_tokens"])


def test_the_options_reach_the_template(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tools, documents = tmp_path / "tools.json", tmp_path / "documents.json"
    tools.write_text("\ufeff" + json.dumps(TOOLS), "utf-8")
    documents.write_text(json.dumps([{"title": "a", "text": "some text"}]))
    found = prompt_tokens(
        capsys, artifact, "--tools", str(tools), "--documents", str(documents),
        "--template-variable", "enable_thinking=false", "--template-variable", 'name="Ann"',
    )  # fmt: skip
    expected = Tokenizer.from_folder(artifact).encode_chat(
        [{"role": "user", "content": "Hello"}],
        tools=TOOLS,
        documents=[{"title": "a", "text": "some text"}],
        chat_template_kwargs={"enable_thinking": False, "name": "Ann"},
    )
    assert found == len(expected) > prompt_tokens(capsys, artifact)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read as JSON: No such file"),
        (b"", "cannot be read as JSON"),
        (b"{", "cannot be read as JSON"),
        (b'[{"a": 1, "a": 2}]', "cannot be read as JSON: 'a' is given more than once"),
        (b"\xff", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b'{"tools": []}', "holds other JSON, expected a list of objects"),
        (b'["weather"]', "holds other JSON, expected a list of objects"),
        (b"[{}]", "holds other JSON, expected a list of objects"),
    ],
)
@pytest.mark.parametrize("command", ["generate", "chat"])
@pytest.mark.parametrize("option", ["--tools", "--documents"])
def test_a_file_of_a_wrong_form_is_refused(
    artifact: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    option: str,
    content: bytes | None,
    message: str,
) -> None:
    path = tmp_path / "file.json"
    if content is not None:
        path.write_bytes(content)
    prompt = ["Hello"] if command == "generate" else []
    assert main([command, str(artifact), *prompt, option, str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {option} {path} {message}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--template-variable", "enable_thinking"], "expected NAME=JSON"),
        (["--template-variable", "enable_thinking=no"], "expected NAME=JSON"),
        (["--template-variable", "a b=1"], "expected NAME=JSON"),
        (["--template-variable", 'a={"b": 1, "b": 2}'], "expected NAME=JSON"),
        (["--template-variable", "=1"], "expected NAME=JSON"),
        (["--template-variable", "a=1", "--template-variable", "a=2"], "a variable twice"),
        (["--template-variable", "nothing=1"], "does not use nothing"),
        (["--template-variable", "messages=[]"], "names 'messages'"),
        (["--template-variable", "name=1", "--ignore-chat-template"], "without a chat template"),
    ],
)
def test_a_variable_that_has_no_place_is_refused(
    artifact: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["generate", str(artifact), "Hello", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_template_without_tools_is_told(
    demo_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tools.json"
    path.write_text(json.dumps(TOOLS))
    for command in (["generate", str(demo_artifact), "Hello"], ["chat", str(demo_artifact)]):
        assert main([*command, "--tools", str(path)]) == 2
        assert "error: the chat template does not use tools" in capsys.readouterr().err
