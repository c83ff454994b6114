"""chat --context-shift: the chat goes on where the context is full, with its system prompt."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from bitnet_onnx.cli.main import main
from bitnet_onnx.runtime.cache import sink
from bitnet_onnx.runtime.session import Session


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


def test_the_chat_goes_on(
    demo_artifact: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, ends, shifts = list[int](), list[Session](), list[int]()
    drop, close = sink.SinkCache.drop, Session.close

    def dropped(cache: sink.SinkCache, count: int, row: int) -> None:
        kept.append(cache._sinks)
        shifts.append(count)
        drop(cache, count, row)

    def closed(session: Session) -> None:
        ends.append(session)
        close(session)

    monkeypatch.setattr(sink.SinkCache, "drop", dropped)
    monkeypatch.setattr(Session, "close", closed)
    system = "You are brief."
    plain = []
    for options in ([], ["--context-shift"]):
        questions = "".join(f"What is {n} + 4?\n" for n in range(60))
        monkeypatch.setattr(sys, "stdin", io.StringIO(questions))
        code, out, talk = run(capsys, "chat", demo_artifact, "--system", system, *options)
        assert code == 0
        plain.append(out.splitlines())
        assert ("turns were forgotten" in talk) is (not options)
        assert len(ends) == len(plain)
    assert len(plain[1]) == 60
    assert plain[0][:5] == plain[1][:5]
    assert len(shifts) >= 2
    assert set(kept) != {4}  # the system prompt stays


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--prompt-cache", "file"], "--prompt-cache is given with --context-shift"),
        (["--system", "word " * 300], "expected at most 256, half the context"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    options: list[str],
    reason: str,
    demo_artifact: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "chat", demo_artifact, "--context-shift", *options)
    assert (code, out) == (2, "")
    assert reason in err.splitlines()[0]
    assert not (tmp_path / "file").exists()
