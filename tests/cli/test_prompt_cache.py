"""--prompt-cache: the second start computes only what is new, and says the same."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from bitnet_onnx.cli.main import main
from bitnet_onnx.runtime.session import Session

QUESTION = "Spell the word STONE."


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def fed(talk: str) -> int:
    """Return how many tokens of the prompt were computed, as stderr tells."""
    words = talk.split()
    return int(words[words.index("prefill") + 1])


def held(artifact: Path, file: Path) -> list[int]:
    with Session(artifact, threads=1) as session:
        session.load(file)
        return session.ids()


def test_the_second_start_continues(
    demo_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, artifact = tmp_path / "cache", demo_artifact
    plain = run(capsys, "generate", artifact, QUESTION)
    for count in (fed(plain[2]), 1, 1):
        code, out, talk = run(capsys, "generate", artifact, QUESTION, "--prompt-cache", file)
        assert (code, out, fed(talk)) == (0, plain[1], count)
    written = file.stat().st_mtime_ns, held(artifact, file)
    assert len(written[1]) == fed(plain[2])
    # Another prompt, by its ids: what it shares is used, and the file is its own then.
    text = ",".join(map(str, [*written[1][:6], 9, 8, 7]))
    for count in (3, 1):
        code, _, talk = run(
            capsys, "generate", artifact, "--prompt-ids", text, "--prompt-cache", file
        )
        assert (code, fed(talk)) == (0, count)
    assert held(artifact, file) == [*written[1][:6], 9, 8, 7]
    # A prompt that the file holds leaves it as it is.
    before = file.read_bytes()
    text = ",".join(map(str, written[1][:4]))
    assert run(capsys, "generate", artifact, "--prompt-ids", text, "--prompt-cache", file)[0] == 0
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["cache"]


def test_a_chat_continues(
    demo_artifact: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file, answers = tmp_path / "cache", []
    for _ in range(2):
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{QUESTION}\nWhat is 3 + 4?\n"))
        answers.append(run(capsys, "chat", demo_artifact, "--prompt-cache", file))
    assert answers[0][:2] == answers[1][:2]
    assert fed(answers[1][2]) == 1
    assert len(held(demo_artifact, file)) > 30


def test_a_file_of_another_model_or_of_something_else_is_refused_and_kept(
    demo_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "letter").write_text("Dear Anna")
    with Session(demo_artifact, threads=1) as session:
        session.prefill([1, 2, 3])
        session.save(tmp_path / "other")
    damaged = bytearray((tmp_path / "other").read_bytes())
    model = session.artifact.fingerprint.encode()
    (tmp_path / "other").write_bytes(damaged.replace(model, model[::-1]))
    damaged[-1] ^= 1
    (tmp_path / "damaged").write_bytes(damaged)
    commands: list[list[str | Path]] = [
        ["generate", demo_artifact, QUESTION],
        ["chat", demo_artifact],
    ]
    for name, reason in (
        ("letter", "is not a prompt cache"),
        ("other", "is the prompt cache of another model"),
        ("damaged", "is damaged: its data is not what was written"),
        ("", "is not a file"),
    ):
        file = tmp_path / name
        before = file.read_bytes() if name else b""
        for command in commands:
            code, out, err = run(capsys, *command, "--prompt-cache", file)
            assert (code, out) == (2, "")
            assert err.startswith(f"error: {file} {reason}")
            assert len(err.splitlines()) <= 2
        assert not name or file.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--guidance-scale", "2"], "--guidance-scale, which computes two prompts"),
        (["--do-sample", "--num-return-sequences", "2"], "2 answers for a prompt"),
        (["--prompts-file", "prompts"], "2 prompts"),
    ],
)
def test_more_than_one_row_is_refused(
    options: list[str],
    reason: str,
    demo_artifact: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "prompts").write_text("a\nb\n")
    found = [str(tmp_path / "prompts") if option == "prompts" else option for option in options]
    prompt = [] if "--prompts-file" in options else [QUESTION]
    code, out, err = run(
        capsys, "generate", demo_artifact, *prompt, *found, "--prompt-cache", tmp_path / "cache"
    )
    assert (code, out) == (2, "")
    expected = f"error: --prompt-cache is given with {reason}, expected one prompt and one answer\n"
    assert err == expected
    assert not (tmp_path / "cache").exists()
