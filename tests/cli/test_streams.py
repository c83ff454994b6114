"""Whatever stdin, stdout, stderr and files are: an exit code, one sentence, and no traceback."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bitnet_onnx.cli import generate
from bitnet_onnx.cli.main import COMMANDS, main
from bitnet_onnx.cli.streams import lines_of, stdin_lines
from bitnet_onnx.errors import GenerationError
from bitnet_onnx.generation.loop import GenerationResult
from bitnet_onnx.generation.text import TextResult
from tests.support.environment import is_one_sentence, shell
from tests.support.paths import ROOT

QUESTION = "What is 3 + 4?"
SHORT = ("--max-new-tokens", "2")


@pytest.fixture(scope="module")
def calls(demo_checkpoint: Path, demo_artifact: Path) -> dict[str, list[str]]:
    """Return a quick call of every command, which prints to stdout unless it is refused."""
    artifact, checkpoint = str(demo_artifact), str(demo_checkpoint)
    quick = {
        "export": [checkpoint, "-o", artifact],
        "convert": [checkpoint, "-o", checkpoint, "--to", "packed"],
        "generate": [artifact, QUESTION, *SHORT],
        "chat": [artifact, *SHORT],
        "embed": [artifact, QUESTION],
        "bench": [artifact, "--prompt-tokens", "2", "--runs", "1", *SHORT],
        "verify": [checkpoint, artifact, "--prompt-ids", "0,40", "--max-new-tokens", "1"],
        "evaluate": [artifact, "--text-file", str(demo_checkpoint / "config.json")],
        "info": [artifact],
        "synthesize": ["--preset", "2b-4t", "-o", checkpoint],
        "demo": ["--artifact", checkpoint],
        "serve": [checkpoint],
        "batch": [checkpoint, checkpoint, "-o", checkpoint],
        "web": [artifact],
    }
    assert set(quick) == set(COMMANDS)
    return {name: [name, *arguments] for name, arguments in quick.items()}


class Broken(io.TextIOBase):
    """A stream that fails as the operating system's do."""

    encoding = "utf-8"

    def __init__(self, number: int) -> None:
        self._number = number

    def write(self, _: str) -> int:
        raise OSError(self._number, os.strerror(self._number))

    def isatty(self) -> bool:
        return False


def bytes_of(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")


STREAMS: dict[str, dict[str, Any]] = {
    "stdin closed": {"stdin": None},
    "stdin bytes": {"stdin": b"caf\xe9 \xff\n"},
    "stdin empty": {"stdin": b""},
    "stdout closed": {"stdout": None},
    "stdout full": {"stdout": 28},
    "stdout of nobody": {"stdout": 32},
    "stdout cp1252": {"stdout": "cp1252"},
    "stderr closed": {"stderr": None},
    "stderr full": {"stderr": 28},
    "all closed": {"stdin": None, "stdout": None, "stderr": None},
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", STREAMS)
def test_every_command_with_every_stream(
    command: str, kind: str, calls: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process; a code of 0 is for commands that do not use the stream."""
    talk = io.StringIO()
    given: dict[str, Any] = {"stdin": b"Hello\n", "stdout": "utf-8", "stderr": talk}
    for name, stream in {**given, **STREAMS[kind]}.items():
        if isinstance(stream, bytes):
            stream = bytes_of(stream)
        elif isinstance(stream, str):
            stream = io.TextIOWrapper(io.BytesIO(), encoding=stream)
        elif isinstance(stream, int):
            stream = Broken(stream)
        monkeypatch.setattr(sys, name, stream)
    code = main(calls[command])
    refused = command in (
        *("export", "convert", "embed", "synthesize", "demo", "serve", "batch", "web"),
    )
    uses = {
        "stdin": {"chat"},
        "stdout": {"generate", "chat", "bench", "verify", "evaluate", "info"},
    }
    stream, _, what = kind.partition(" ")
    if refused or kind == "all closed":
        assert code == 2
    elif command in uses.get(stream, ()) and what not in ("empty", "cp1252"):
        assert code == (141 if what == "of nobody" else 2)
    else:
        assert code == 0
    if code == 2 and not kind.startswith(("stderr", "all")):
        assert is_one_sentence(talk.getvalue()), talk.getvalue()
    assert "Traceback" not in talk.getvalue()


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("""exec "$@" <&-""", 2, "error: stdin is closed, expected a prompt"),
        ("""printf 'caf\\351' | "$@" """, 2, "line 1 of stdin holds the byte 0xe9 at offset 3"),
        ("""exec "$@" Hello > /dev/full""", 2, "error: stdout cannot be written: No space left"),
        ("""exec "$@" Hello >&-""", 2, "error: stdout is closed, expected a place"),
        ("""exec "$@" --help > /dev/full""", 2, "error: stdout cannot be written: No space left"),
        ("""exec "$@" Hello 2>&- """, 0, ""),
        ("""exec "$@" Hello 2> /dev/full""", 0, ""),
        ("""exec "$@" --nothing 2>&-""", 2, ""),
        ("""exec "$@" Hello <&- >&- 2>&-""", 2, ""),
        ("""PYTHONIOENCODING=latin-1; export PYTHONIOENCODING; printf 'caf\\351' | "$@" """, 0, ""),
    ],
)
def test_real_streams(line: str, code: int, words: str, demo_artifact: Path) -> None:
    done = shell(line, "generate", demo_artifact, *SHORT)
    talk = done.stderr.decode()
    assert done.returncode == code, talk
    assert words in talk
    assert "Traceback" not in talk
    assert "Exception ignored" not in talk
    assert code == 0 or not talk or is_one_sentence(talk)


def test_a_pipe_that_nobody_reads_is_141(demo_artifact: Path) -> None:
    line = """{ "$@"; echo $? >&2; } | true"""
    done = shell(line, "info", demo_artifact)
    assert done.stderr.decode().splitlines()[-1] in ("141", "0")  # 0: true ended after the write
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_json_is_escaped_where_stdout_lacks_a_character(monkeypatch: pytest.MonkeyPatch) -> None:
    result = TextResult("\u2192 \U0001f642", GenerationResult(1, [7], "stop"))
    for encoding in ("ascii", "cp1252", "utf-8"):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
        generate._print("json", [result])
        sys.stdout.flush()
        assert json.loads(raw.getvalue().decode(encoding))["text"] == result.text
        assert (b"\\u2192" in raw.getvalue()) == (encoding != "utf-8")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_stdout_that_lacks_a_character(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, talk = io.BytesIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    monkeypatch.setattr(sys, "stderr", talk)
    monkeypatch.setitem(COMMANDS, "info", Printing)
    assert main(["info"]) == 2
    assert talk.getvalue().startswith(
        f"error: stdout takes {'charmap' if 'cp' in encoding else ''}"
    )
    assert "which has no '\\u2192'\nhint: set the environment variable PYTHONIOENCODING=utf-8" in (
        talk.getvalue()
    )


class Printing:
    """A command that prints an arrow."""

    HELP = ""

    @staticmethod
    def add_arguments(_: Any) -> None:
        pass

    @staticmethod
    def run(_: Any) -> None:
        print("a \u2192 b")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            PermissionError(13, "Permission denied", "x.json"),
            "x.json cannot be used: Permission de",
        ),
        (OSError(5, "Input/output error"), "a file cannot be used: Input/output error"),
        (OSError("half a sentence\nand more"), "a file cannot be used: half a sentence and more"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "a text cannot be encoded or dec"),
        (MemoryError(), "the memory is not enough: an allocation failed"),
        (MemoryError("3 GiB"), "the memory is not enough: 3 GiB"),
        (ModuleNotFoundError(name="torch"), "this command needs the package torch"),
        (ModuleNotFoundError(name="torch.nn"), "'bitnet-onnx[export]'"),
        (ModuleNotFoundError(name="starlette.types"), "'bitnet-onnx[server]'"),
        (ModuleNotFoundError(name="ray"), "'bitnet-onnx[ray]'"),
    ],
)
def test_what_no_other_place_explains_is_one_sentence(
    error: Exception, words: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def fail(_: Any) -> None:
        raise error

    monkeypatch.setattr(Printing, "run", fail)
    monkeypatch.setitem(COMMANDS, "info", Printing)
    assert main(["info"]) == 2
    err = capsys.readouterr().err
    assert is_one_sentence(err)
    assert words in err


PROMPTS = {
    "lf": b"one\ntwo\n",
    "crlf": b"one\r\ntwo\r\n",
    "cr": b"one\rtwo",
    "bom": b"\xef\xbb\xbfone\ntwo",
    "blank lines": b"\n  \none\n\n\ntwo\n\n",
}
INSIDE = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\x1dh\x1ei"


@pytest.mark.parametrize("kind", PROMPTS)
def test_lines_of_a_prompts_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts"
    path.write_bytes(PROMPTS[kind])
    assert lines_of(path) == ["one", "two"]
    path.write_text(f"{INSIDE}\n\ufeff{INSIDE}\n", "utf-8")
    assert lines_of(path) == [INSIDE, f"\ufeff{INSIDE}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", bytes_of(PROMPTS[kind]))
        assert [line for line in stdin_lines() if line.strip()] == ["one", "two"]
        patch.setattr(sys, "stdin", bytes_of(f"{INSIDE}\n".encode()))
        assert list(stdin_lines()) == [INSIDE]


@pytest.mark.parametrize("content", [b"caf\xe9", b"\xff\xfeH\0i\0", b"ok\n\x80"])
def test_bytes_that_are_no_text_are_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "prompts").write_bytes(content)
    with pytest.raises(GenerationError, match=r"prompts holds the byte 0x.. at offset \d"):
        lines_of(tmp_path / "prompts")
    with pytest.raises(GenerationError, match="cannot be read: Is a directory"):
        lines_of(tmp_path)


def test_a_byte_order_mark_is_not_fed(
    demo_artifact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fed = []
    for content in (b"Hello\r\nyou", b"\xef\xbb\xbfHello\nyou", b"Hello\nyou"):
        monkeypatch.setattr(sys, "stdin", bytes_of(content))
        plain = ("--ignore-chat-template", "--format", "json", *SHORT)
        assert main(["generate", str(demo_artifact), *plain]) == 0
        fed.append(capsys.readouterr().out)
    assert fed[0] == fed[1] == fed[2]


@pytest.mark.parametrize("output", ["file", "link", "deep/below", "."])
def test_an_output_that_cannot_be_made_is_one_sentence(
    output: str, demo_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "file").write_text("")
    (tmp_path / "deep").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path / "empty")
    target = output if output == "." else str(tmp_path / output)
    for arguments in (
        ["export", str(demo_checkpoint), "-o", target],
        ["convert", str(demo_checkpoint), "-o", target, "--to", "packed"],
        ["convert", str(demo_checkpoint), "-o", target, "--to", "gguf"],
    ):
        assert main(arguments) == 2
        assert is_one_sentence(capsys.readouterr().err)
    assert sorted(tmp_path.rglob("*")) == before


SLOW = """
import sys, time
from pathlib import Path
from bitnet_onnx.cli import info, main
from bitnet_onnx.files import new_folder, write_text

def run(args):
    with new_folder(Path(sys.argv[1]) / "above" / "out") as folder:
        write_text(folder / "half", "half")
        print("ready", flush=True)
        while True:
            time.sleep(0.01)

info.run = run
raise SystemExit(main.main(["info"]))
"""


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_leaves_nothing(name: str, code: int, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert list(tmp_path.rglob("half"))
        process.send_signal(getattr(signal, name))
        _, talk = process.communicate(timeout=60)
    assert (process.returncode, talk.strip()) == (code, b"")
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As under nohup."""
    with subprocess.Popen(
        [sys.executable, "-c", SLOW, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert process.poll() is None
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 143


def test_the_handlers_of_a_program_that_calls_main_are_put_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    streams = sys.stdout, sys.stderr
    assert main(["info"]) == 0
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before
    assert (sys.stdout, sys.stderr) == streams
    assert "kernel" in capsys.readouterr().out
