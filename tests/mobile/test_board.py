"""The program for boards: the ids of Python, the manners of Python's command line."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from bitnet_onnx import __version__
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import generate
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.artifacts import with_json
from tests.support.environment import is_one_sentence
from tests.support.native.board import BUILD, board_shell, program, run
from tests.support.paths import ROOT
from tests.support.questions import LIMIT, answers, questions

QUESTION = "What is 27 + 5?"
ASKED = int(os.environ.get("BITNET_EDGE_QUESTIONS", "60"))  # of 1,200; evenly over the file
README = ROOT / "mobile_demo" / "board" / "README.md"


@pytest.fixture(scope="module")
def unwilling(demo_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an artifact whose chat template is not a concatenation of turns."""
    reason = "the chat template changes a message, expected one that writes it"
    values = {"format_version": 1, "eos_token_ids": [2], "unsupported": reason}
    folder = tmp_path_factory.mktemp("unwilling") / "artifact"
    return with_json(demo_artifact, folder, "chat.json", values)


def records(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, object]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_questions_get_the_ids_and_texts_of_python(demo_artifact: Path) -> None:
    found = questions()
    asked = found[:: len(found) // ASKED][:ASKED]
    lines = "".join(record["question"] + "\n" for record in asked)
    limit = ("--max-new-tokens", str(LIMIT))
    told = records(run(demo_artifact, "--json", *limit, stdin=lines.encode()))
    with Session(demo_artifact) as session:
        expected = answers(session, demo_artifact, asked)
    tokenizer = Tokenizer.from_folder(demo_artifact)
    assert [record["ids"] for record in told] == expected
    assert [record["text"] for record in told] == [tokenizer.decode(ids) for ids in expected]
    text = run(demo_artifact, *limit, stdin=lines.encode()).stdout.decode()
    assert text == "".join(f"{record['text']}\n" for record in told)


def test_one_question_in_every_way(demo_artifact: Path) -> None:
    plain = run(demo_artifact, QUESTION)
    assert (plain.returncode, plain.stdout, plain.stderr) == (0, b"32\n", b"")
    assert run(demo_artifact, stdin=f"{QUESTION}\n".encode()).stdout == b"32\n"
    assert run("--seed=3", "--temperature", "0", demo_artifact, "--", QUESTION).stdout == b"32\n"
    (record,) = records(run(demo_artifact, QUESTION, "--json", "--stats"))
    stats = record.pop("stats")
    assert record == {
        "text": "32", "ids": [22, 21, 2], "finish_reason": "stop", "prompt_tokens": 16
    }  # fmt: skip
    assert isinstance(stats, dict)
    assert stats["new_tokens"] == 3
    assert stats["memory_bytes"] > 10**7
    assert stats["kernel"]
    assert "seed" not in stats


@pytest.mark.parametrize("form", ["json", "text"])
def test_plain_text_is_continued_as_python_does(demo_artifact: Path, form: str) -> None:
    tokenizer = Tokenizer.from_folder(demo_artifact)
    with Session(demo_artifact) as session:
        (expected,) = generate(
            session, [tokenizer.encode(QUESTION)],
            GenerationConfig(max_new_tokens=8, eos_token_id=tokenizer.eos_token_ids),
        )  # fmt: skip
    flags = ("--json",) if form == "json" else ()
    done = run(demo_artifact, QUESTION, "--ignore-chat-template", "--max-new-tokens", "8", *flags)
    if form == "json":
        assert records(done)[0]["ids"] == expected.ids
    else:
        assert done.stdout.decode() == tokenizer.decode(expected.ids) + "\n"


def test_options_act(demo_artifact: Path) -> None:
    def ids(*options: str) -> object:
        return records(run(demo_artifact, "Tell me a word.", "--json", *options))[0]["ids"]

    hot = ("--temperature", "5", "--max-new-tokens", "12")
    assert ids(*hot, "--seed", "1") == ids(*hot, "--seed", "1", "--threads", "2")
    assert len({str(ids(*hot, "--seed", str(seed))) for seed in range(6)}) > 1
    greedy = ids()
    assert ids(*hot, "--seed", "1", "--top-k", "1") == greedy
    assert ids(*hot, "--min-p", "1") == greedy
    assert ids(*hot, "--no-do-sample") == greedy
    assert ids("--do-sample", "--top-p", "0.000001") == greedy
    assert isinstance(greedy, list)
    assert ids("--max-new-tokens", "1") == greedy[:1]
    done = run(demo_artifact, QUESTION, "--stop-string", "2", "--json")
    assert records(done)[0]["finish_reason"] == "stop_string"
    assert records(done)[0]["text"] == "3"


REFUSED = [
    ((), "no artifact is given"),
    (("ART", "one", "two"), "'two' comes after a question"),
    (("ART", "--nothing"), "unrecognized arguments: --nothing"),
    (("ART", "--temp", "1"), "unrecognized arguments: --temp"),
    (("ART", "-x"), "unrecognized arguments: -x"),
    (("ART", "--seed"), "--seed has no value"),
    (("ART", "--system", "--json"), "--system has no value"),
    (("ART", "--json=1"), "--json has a value"),
    (("ART", "--json", "--json"), "--json is given more than once"),
    (("ART", "--do-sample", "--no-do-sample"), "--do-sample/--no-do-sample is given more than"),
    (("ART", "--threads", "two"), "--threads is 'two', expected an integer from 0"),
    (("ART", "--threads", "-1"), "--threads is '-1'"),
    (("ART", "--max-new-tokens", "0"), "--max-new-tokens is '0', expected an integer from 1"),
    (("ART", "--top-k", "9999999999"), "--top-k is '9999999999'"),
    (("ART", "--seed", "18446744073709551616"), "--seed is '18446744073709551616'"),
    (("ART", "--temperature", "nan"), "--temperature is 'nan', expected a number"),
    (("ART", "--temperature", "0x1"), "--temperature is '0x1', expected a number"),
    (("ART", "--temperature", ""), "--temperature is '', expected a number"),
    (("ART", "hi", "--top-p", "0.5"), "--top-p acts only when sampling"),
    (("ART", "hi", "--seed", "1"), "--seed acts only when sampling"),
    (("ART", "hi", "--temperature", "-1"), "temperature is -1"),
    (("ART", "hi", "--temperature", "1", "--top-p", "7"), "top_p is 7"),
    (("ART", "hi", "--repetition-penalty", "0"), "repetition_penalty is 0"),
    (("ART", "hi", "--stop-string", ""), "--stop-string is empty"),
    (("ART", " \n "), "the prompt is empty"),
    (("ART", b"caf\xe9"), "UTF-8"),
    (("ART", "hi", "--system", b"\xff"), "UTF-8"),
    (("ART", "hi", "--system", "x", "--ignore-chat-template"), "--system is given with"),
    (("ART", "word " * 2000), "context of 512"),
    (("ART", "hi", "--onnxruntime", "/no/such.so"), "/no/such.so"),
    (("/no/such/folder", "hi"), "/no/such/folder"),
    (("ART/manifest.json", "hi"), "manifest.json"),
    ((b"\xff\n\x1b[31m", "hi"), "does not exist"),
    (("ART", "hi", "--serve"), "a question is given with --serve"),
    (("ART", "--serve", "0.0.0.0:80"), "expected 127.0.0.1:PORT"),
    (("ART", "--serve=example.org:80"), "expected 127.0.0.1:PORT"),
    (("ART", "--serve=127.0.0.1:65536"), "expected 127.0.0.1:PORT"),
    (("ART", "--serve=unix:"), "expected 1 to 107"),
    (("ART", "--serve=unix:" + "a" * 108), "expected 1 to 107"),
    (("ART", "--serve=unix:/no/such/folder/socket"), "cannot be served on: No such file"),
    (("ART", "--check", "hi"), "--check is given with another option or a question"),
    (("ART", "--check", "--json"), "--check is given with another option or a question"),
    (("ART", "--stop-string=x", "--check"), "--check is given with another option or a question"),
    (("ART", "hi", "--stop-string", b"\xff"), "a stop string is no UTF-8"),
    (("ART", "hi", "--onnxruntime", ""), "--onnxruntime is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "words"), REFUSED)
def test_a_mistake_is_one_sentence_and_2(
    arguments: tuple[str | bytes, ...], words: str, demo_artifact: Path
) -> None:
    given = [
        a if isinstance(a, bytes) else re.sub("^ART", str(demo_artifact), a) for a in arguments
    ]
    done = run(*given)
    talk = done.stderr.decode(errors="surrogateescape")
    assert (done.returncode, done.stdout) == (2, b""), talk
    assert words in talk
    assert is_one_sentence(talk)
    assert "\x1b" not in talk


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("""exec "$@" <&-""", 2, "error: stdin is closed, expected a prompt"),
        ("""exec "$@" < /""", 2, "error: stdin cannot be read: Is a directory"),
        ("""printf 'caf\\351' | "$@" """, 2, "line 1 of stdin holds the byte 0xe9 at offset 3"),
        ("""printf 'a\\ncaf\\351' | "$@" """, 2, "line 2 of stdin holds the byte 0xe9 at offset 3"),
        ("""exec "$@" Hello > /dev/full""", 2, "error: stdout cannot be written: No space left"),
        ("""exec "$@" Hello --json > /dev/full""", 2, "stdout cannot be written: No space left"),
        ("""exec "$@" Hello >&-""", 2, "error: stdout is closed, expected a place"),
        ("""exec "$@" --help > /dev/full""", 2, "error: stdout cannot be written: No space left"),
        ("""exec "$@" --version >&-""", 2, "error: stdout is closed, expected a place"),
        ("""exec "$1" "$2" --check > /dev/full""", 2, "stdout cannot be written: No space left"),
        ("""exec "$@" Hello 2>&- """, 0, ""),
        ("""exec "$@" Hello --stats 2> /dev/full""", 0, ""),
        ("""exec "$@" --nothing 2>&-""", 2, ""),
        ("""exec "$@" Hello <&-""", 0, ""),
        ("""exec "$@" Hello <&- >&- 2>&-""", 2, ""),
        ("""yes '' | head -c 100000 | "$@" """, 0, ""),
        ("""yes a | "$@" | head -c 1; exit ${PIPESTATUS[1]}""", 141, ""),
        ("""head -c 20000000 /dev/zero | "$@" """, 2, "line 1 of stdin has more than 16777216"),
    ],
)
def test_real_streams(line: str, code: int, words: str, demo_artifact: Path) -> None:
    done = board_shell(line, demo_artifact, "--max-new-tokens", "2")
    talk = done.stderr.decode()
    assert done.returncode == code, talk
    assert words in talk
    assert code == 0 or not talk or is_one_sentence(talk)


@pytest.mark.parametrize(
    "text", [b"one\ntwo\n", b"one\r\ntwo\r\n", b"one\rtwo", b"\xef\xbb\xbfone\ntwo",
             b"\n  \none\n\n\ntwo\n\n"],
)  # fmt: skip
def test_lines_of_stdin(text: bytes, demo_artifact: Path) -> None:
    short = ("--max-new-tokens", "2", "--json")
    each = [records(run(demo_artifact, word, *short))[0]["ids"] for word in ("one", "two")]
    told = records(run(demo_artifact, *short, stdin=text))
    assert [record["ids"] for record in told] == each


def test_an_artifact_without_a_conversation_says_why(unwilling: Path) -> None:
    done = run(unwilling, QUESTION)
    assert done.returncode == 2
    assert is_one_sentence(done.stderr.decode())
    assert b"the chat template changes a message" in done.stderr
    assert b"hint: --ignore-chat-template continues plain text" in done.stderr
    assert run(unwilling, QUESTION, "--ignore-chat-template").returncode == 0
    assert run(unwilling, "--serve", "127.0.0.1:0").returncode == 2


def test_a_damaged_copy_is_found(demo_artifact: Path, tmp_path: Path) -> None:
    assert (
        run(demo_artifact, "--check").stdout == b"every file has the hash that the manifest says\n"
    )
    for path in demo_artifact.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    data = bytearray((tmp_path / "model.onnx_data").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "model.onnx_data").write_bytes(data)
    done = run(tmp_path, "--check")
    assert done.returncode == 2
    assert b"model.onnx_data" in done.stderr
    assert is_one_sentence(done.stderr.decode())


def test_ctrl_c_ends_a_command_with_130(demo_artifact: Path) -> None:
    """Not a chat: the questions of a pipe, of which the next never comes."""
    process = subprocess.Popen(
        [program(), demo_artifact], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{QUESTION}\n".encode())
    process.stdin.flush()
    assert process.stdout.readline() == b"32\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_help_names_every_option_and_so_does_the_page() -> None:
    told = run("--help").stdout.decode()
    source = (ROOT / "mobile_demo" / "board" / "src" / "arguments.cc").read_text("utf-8")
    options = set(re.findall(r'"(--[a-z-]+)"', source))
    assert len(options) > 15
    assert {option for option in options if option not in told} == set()
    assert told in README.read_text("utf-8")
    assert run("--version").stdout.decode() == f"bitnet-edge {__version__}\n"


def test_the_program_needs_libc_and_libstdcxx_only() -> None:
    listing = subprocess.run(
        ["readelf", "-dlW", program()], capture_output=True, text=True, check=True
    ).stdout
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", listing))
    assert needed <= {"libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1"}
    assert "BIND_NOW" in listing
    assert re.search(r"GNU_STACK .* RW ", listing)


def test_the_requests_tests_pass() -> None:
    program()
    subprocess.run([BUILD / "board_test_requests"], check=True, timeout=120)
