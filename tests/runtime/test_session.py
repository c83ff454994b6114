"""Sessions are compared with the torch network, and with themselves run in other ways.

The bound between torch and ONNX Runtime is that of test_model.py: with these seeds no activation is
on a rounding tie, so only float32 noise remains.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from bitnet_onnx import native
from bitnet_onnx.artifact import WEIGHTS, Artifact, write_manifest
from bitnet_onnx.errors import ArtifactError, GenerationError, LibraryError, SessionError
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import generate
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.network.config import BitNetConfig
from bitnet_onnx.runtime import session as session_module
from bitnet_onnx.runtime import steps as steps_module
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.verification.reference import load_reference
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import checkpoints
from tests.support.sessions import scores

IDS = [17, 3, 88, 40, 5, 61, 29, 94, 2, 50, 77, 31, 8]


@pytest.fixture(scope="module")
def folder(pair: tuple[Path, Path]) -> Path:
    return pair[1]


@pytest.fixture
def session(folder: Path) -> Session:
    return Session(folder, threads=1)


def reference(pair: tuple[Path, Path]) -> BitNetForCausalLM:
    model = load_reference(open_checkpoint(pair[0]), "torch", Artifact.open(pair[1]).head)
    assert isinstance(model, BitNetForCausalLM)
    return model


# --------------------------------------------------------------------------------- the network


@torch.no_grad()
def test_logits_are_those_of_torch(pair: tuple[Path, Path], session: Session) -> None:
    expected = reference(pair)(torch.tensor([IDS])).logits[0]
    found = torch.from_numpy(scores(session, IDS))
    # The int8 head rounds its input to 16 bits: by half a step, which is 1/32512 of the largest.
    bound = 1e-5 if session.artifact.head == "bf16" else 3e-4
    assert checkpoints.close(found, expected, bound)
    session.reset()
    assert np.array_equal(session.prefill(IDS), found[-1])


def test_greedy_ids_are_those_of_the_naive_loop(pair: tuple[Path, Path], session: Session) -> None:
    model = reference(pair)
    for prompt in (IDS[:1], IDS[:5], IDS):
        expected = model.generate(torch.tensor([prompt]), 20)[0, len(prompt) :].tolist()
        [result] = generate(session, [prompt], GenerationConfig(max_new_tokens=20))
        assert result.ids == expected


# ----------------------------------------------------------------------------------- the cache


def test_single_steps_equal_one_call(session: Session) -> None:
    """They differ by float32 noise: attention may sum one position in another order than many."""
    whole = scores(session, IDS)
    session.reset()
    steps = [session.prefill(IDS[:1]).copy()]
    steps += [session.decode([token])[0].copy() for token in IDS[1:]]
    assert session.lengths == (len(IDS),)
    close_rows(np.stack(steps), whole)


def close_rows(found: np.ndarray, expected: np.ndarray) -> None:
    assert checkpoints.close(torch.from_numpy(found), torch.from_numpy(expected))
    assert found.argmax(-1).tolist() == expected.argmax(-1).tolist()


@pytest.mark.parametrize("chunk", [1, 2, 5, 12, 13, 64])
def test_chunked_prefill_equals_unchunked(
    session: Session, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    whole = scores(session, IDS)
    monkeypatch.setattr(steps_module, "CHUNK", chunk)
    session.reset()
    close_rows(scores(session, IDS), whole)
    assert session.lengths == (len(IDS),)
    session.reset()
    close_rows(session.prefill(IDS)[None], whole[-1:])


def test_a_truncated_row_can_be_fed_again(session: Session) -> None:
    whole = scores(session, IDS)
    session.truncate(5)
    assert np.array_equal(scores(session, IDS[5:]), whole[5:])
    session.truncate(5)
    session.prefill([1, 1, 1, 1])
    session.truncate(5)
    close_rows(scores(session, IDS[5:]), whole[5:])
    session.truncate(0)
    assert np.array_equal(scores(session, IDS), whole)


def test_a_batch_equals_each_of_its_rows(session: Session) -> None:
    prompts = [IDS[:7], IDS[3:4], IDS, IDS[2:9]]
    alone = [
        generate(session, [prompt], GenerationConfig(max_new_tokens=9))[0].ids for prompt in prompts
    ]
    together = generate(session, prompts, GenerationConfig(max_new_tokens=9))
    assert [result.ids for result in together] == alone

    session.reset(len(prompts))
    first = [session.prefill(prompt, row).copy() for row, prompt in enumerate(prompts)]
    second = session.decode([11, 12, 13, 14]).copy()
    for row, prompt in enumerate(prompts):
        session.reset()
        assert np.array_equal(session.prefill(prompt), first[row])
        assert np.array_equal(session.decode([11 + row])[0], second[row])


def test_the_context_can_be_filled_but_not_exceeded(session: Session) -> None:
    full = [index % 90 for index in range(session.context_length)]
    session.prefill(full[:-1])
    session.decode([3])
    for more in (lambda: session.decode([3]), lambda: session.prefill([3])):
        with pytest.raises(
            GenerationError, match=f"at most the context of {session.context_length}"
        ):
            more()
    assert session.lengths == (session.context_length,)
    session.truncate(2)
    with pytest.raises(GenerationError, match="context"):
        session.prefill(full)
    assert session.lengths == (2,)


# ------------------------------------------------------------------------------- the same bits


def test_results_with_and_without_the_library_agree(folder: Path, session: Session) -> None:
    """Linears and the int8 head are exact; the bf16 head may round its last bit differently."""
    stock = Session(folder, threads=1, custom_ops=False)
    with_library, without = scores(session, IDS), scores(stock, IDS)
    if session.artifact.head == "int8":
        assert np.array_equal(with_library, without)
    else:
        assert np.abs(with_library - without).max() <= np.spacing(np.abs(with_library).max())
    kept, other = session.take(), stock.take()
    for name, cached in kept.buffers.items():
        assert np.array_equal(cached, other.buffers[name])
    first, second = (
        generate(s, [IDS[:4]], GenerationConfig(max_new_tokens=20)) for s in (session, stock)
    )
    assert first[0].ids == second[0].ids


def test_sessions_with_one_and_two_threads_give_the_same_bits(
    folder: Path, session: Session
) -> None:
    other = Session(folder, threads=2)
    assert np.array_equal(scores(session, IDS), scores(other, IDS))
    for token in IDS:  # the sessions take turns
        assert np.array_equal(session.decode([token]), other.decode([token]))


# ------------------------------------------------------------------------------ other processes

IDS_OF_A_KERNEL = """
import json, os, sys
import numpy as np
from bitnet_onnx import native
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import generate
from bitnet_onnx.runtime.session import Session
assert os.environ["ORT_DISABLE_TELEMETRY"] == sys.argv[3]
session = Session(sys.argv[1], threads=1)
prompt = json.loads(sys.argv[2])
logits = np.concatenate(list(session.score(prompt)))
result = generate(session, [prompt], GenerationConfig(max_new_tokens=20))[0]
print(json.dumps([native.active_kernel(), result.ids, logits.tobytes().hex()]))
"""


def elsewhere(
    folder: Path, telemetry: str = "1", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the script in another process, where the library is not loaded yet."""
    inherited = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    package = str(Path(native.__file__).parent.parent)
    return subprocess.run(
        [sys.executable, "-c", IDS_OF_A_KERNEL, str(folder), json.dumps(IDS), telemetry],
        env={**inherited, "PYTHONPATH": package, **environment},
        capture_output=True,
        text=True,
    )


def test_every_kernel_gives_the_same_bits(folder: Path) -> None:
    answers = []
    for kernel in native.kernels():
        done = elsewhere(folder, BITNET_ONNX_KERNEL=kernel)
        assert done.returncode == 0, done.stderr
        active, *answer = json.loads(done.stdout)
        assert active == kernel
        answers.append(answer)
    assert len(answers) >= 1
    assert all(answer == answers[0] for answer in answers)


def test_telemetry_is_off_unless_the_user_set_it(folder: Path) -> None:
    done = elsewhere(folder, telemetry="0", ORT_DISABLE_TELEMETRY="0")
    assert done.returncode == 0, done.stderr


def test_a_missing_or_wrong_library_or_kernel_is_refused(folder: Path, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.so"
    garbage.write_bytes(b"\x7fELF" + bytes(60))
    cases = [
        ({"BITNET_ONNX_LIBRARY": str(tmp_path / "no.so")}, "no.so does not exist"),
        ({"BITNET_ONNX_LIBRARY": str(tmp_path)}, f"{tmp_path} does not exist"),
        ({"BITNET_ONNX_LIBRARY": str(garbage)}, "garbage.so is not a bitnet_onnx custom-op"),
        ({"BITNET_ONNX_KERNEL": "mmx"}, "is 'mmx', expected one that this CPU can run: "),
    ]
    for environment, message in cases:
        done = elsewhere(folder, **environment)
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("bitnet_onnx.errors.LibraryError: ")
        assert message in last


# -------------------------------------------------------------------------------------- refuse


def test_a_library_that_onnx_runtime_refuses_is_an_error(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    garbage = tmp_path / "garbage.so"
    garbage.write_bytes(b"not a library")
    native.active_kernel()  # this process has loaded the library, and ONNX Runtime gets another
    monkeypatch.setattr(native, "library_path", lambda: garbage)
    with pytest.raises(LibraryError, match="refused the custom-op library"):
        Session(folder)


@pytest.mark.parametrize("wrong", [[-1], [96], [3, 1 << 40], []])
def test_ids_outside_the_vocabulary_and_empty_lists_are_refused(
    session: Session, wrong: list[int]
) -> None:
    for feed in (session.prefill, lambda ids: scores(session, ids)):
        with pytest.raises(GenerationError, match="expected"):
            feed(wrong)
    with pytest.raises(GenerationError, match="expected"):
        session.decode(wrong)
    assert session.lengths == (0,)


def test_wrong_rows_lengths_and_sizes_are_refused(folder: Path, session: Session) -> None:
    session.prefill(IDS)
    with pytest.raises(GenerationError, match="row is 1"):
        session.prefill(IDS, row=1)
    with pytest.raises(GenerationError, match="decode got 2 ids"):
        session.decode([1, 2])
    for length in (-1, 14):
        with pytest.raises(GenerationError, match=f"truncate got length {length} for row 0"):
            session.truncate(length)
    with pytest.raises(GenerationError, match="row"):
        session.truncate(0, row=1)
    with pytest.raises(GenerationError, match="batch_size is 0"):
        session.reset(0)
    with pytest.raises(GenerationError, match="threads is -1"):
        Session(folder, threads=-1)


@pytest.mark.parametrize("content", [b"", b"\xff" * 999, b"truncated"])
def test_a_model_file_that_is_not_onnx_is_refused(
    folder: Path, tmp_path: Path, content: bytes
) -> None:
    """The manifest matches the damaged file, as if the exporter had written it."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    whole = (tmp_path / "model.onnx").read_bytes()
    damaged = whole[: len(whole) // 2] if content == b"truncated" else content
    (tmp_path / "model.onnx").write_bytes(damaged)
    (tmp_path / "manifest.json").unlink()
    fields = {**Artifact.open(folder).manifest}
    del fields["files"], fields["format_version"]
    write_manifest(tmp_path, fields)
    assert Artifact.open(tmp_path).data_size == (tmp_path / WEIGHTS).stat().st_size
    with pytest.raises(ArtifactError, match=r"cannot load .*model\.onnx") as caught:
        Session(tmp_path)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------ users and versions


def test_floats_are_refused_and_numpy_integers_accepted(session: Session) -> None:
    expected = session.prefill(IDS).copy()
    for feed in (session.prefill, session.decode, lambda ids: scores(session, ids)):
        wrong: Any
        for wrong in ([4.9], np.array([4.0]), ["4"], [None]):
            with pytest.raises(GenerationError, match="expected an integer"):
                feed(wrong)
    assert session.lengths == (len(IDS),)
    several: list[Any] = [
        np.array(IDS),
        np.array(IDS, np.uint8),
        [np.int32(token) for token in IDS],
    ]
    for ids in several:
        session.reset()
        assert np.array_equal(session.prefill(ids), expected)
        assert session.ids() == IDS
        assert all(type(token) is int for token in session.ids())


def test_a_position_counts_only_when_it_is_computed(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.prefill(IDS)
    expected = session.decode([5]).copy()
    session.truncate(len(IDS))

    def fail(binding: object) -> None:
        raise RuntimeError("first line\nsecond line")

    broken = Broken(session._steps.runtime, fail)
    monkeypatch.setattr(session._steps, "runtime", broken)
    for step in (lambda: session.decode([5]), lambda: session.prefill([5, 6])):
        with pytest.raises(SessionError, match=r"ONNX Runtime failed in a step: first line$"):
            step()
        assert session.ids() == IDS
    monkeypatch.undo()
    assert np.array_equal(session.decode([5]), expected)


class Broken:
    """An ONNX Runtime session that fails in each run."""

    def __init__(self, runtime: Any, run: Callable[[object], None]) -> None:
        self.io_binding, self.run_with_iobinding = runtime.io_binding, run


def test_a_closed_session_refuses_every_call(folder: Path) -> None:
    with Session(folder, threads=1) as session:
        session.prefill(IDS)
    session.close()
    for use in (lambda: session.prefill(IDS), session.reset, session.claim, session.take):
        with pytest.raises(SessionError, match="the session is closed, expected an open one"):
            use()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists mapped files")
def test_a_closed_session_keeps_no_weights_mapped(demo_artifact: Path, tmp_path: Path) -> None:
    """Windows removes no file that is mapped, and memory is freed when it is given back.

    The session has files of its own: a session of another test may not be collected yet.
    """
    artifact = shutil.copytree(demo_artifact, tmp_path / "artifact")
    weights = str(artifact / WEIGHTS)
    session = Session(artifact, threads=1)
    session.prefill(IDS)
    session.decode([1])
    assert weights in Path("/proc/self/maps").read_text("utf-8")
    session.close()
    assert weights not in Path("/proc/self/maps").read_text("utf-8")


def test_a_dropped_session_is_freed_at_once(folder: Path) -> None:
    """Its weights are memory, so they do not wait for Python to look for cycles."""
    session = Session(folder, threads=1)
    session.prefill(IDS)
    session.decode([1])
    session.claim().release()
    list(session.score(IDS))
    with pytest.raises(GenerationError):
        session.decode([1 << 40])
    runtime = weakref.ref(session._steps)
    gc.disable()
    try:
        del session
        assert runtime() is None
    finally:
        gc.enable()


def test_a_score_of_a_long_prompt_comes_in_chunks(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scores(session, IDS)
    monkeypatch.setattr(session_module, "CHUNK", 5)
    session.reset()
    chunks = list(session.score(IDS))
    assert [chunk.shape for chunk in chunks] == [(5, 96), (5, 96), (3, 96)]
    close_rows(np.concatenate(chunks), whole)
    half = session.score(IDS)
    next(half)
    session.truncate(0)  # the thread takes its own session back, which ends the score
    with pytest.raises(SessionError, match="another stream or thread has taken the session over"):
        next(half)


def test_rows_move_between_sessions(folder: Path, session: Session) -> None:
    session.prefill(IDS)
    kept = session.take()
    expected = session.decode([7])[0].copy()
    other = Session(folder, threads=1)
    other.reset(2)
    other.prefill([1, 2])
    other.put(kept, row=1)
    assert other.ids(1) == IDS
    assert np.array_equal(other.decode([3, 7])[1], expected)
    other.reorder([1, 1, 0])
    assert other.lengths == (len(IDS) + 1, len(IDS) + 1, 3)
    other.fork(4)
    assert [other.ids(row) for row in range(4)] == [[*IDS, 7]] * 4


def test_an_artifact_of_version_1_gives_the_same_numbers(
    folder: Path, session: Session, tmp_path: Path
) -> None:
    """bitnet_onnx 0.1.0 wrote other file names, and the checkpoint's config.json."""
    old = tmp_path / "old"
    old.mkdir()
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "model.onnx.data"
    onnx.save(model, old / "model.onnx")
    (old / "model.onnx.data").write_bytes((folder / WEIGHTS).read_bytes())
    (old / "config.json").write_bytes((folder / "checkpoint_config.json").read_bytes())
    fields = {**Artifact.open(folder).manifest}
    del fields["files"], fields["format_version"]
    write_manifest(old, fields)
    manifest = json.loads((old / "manifest.json").read_text())
    del manifest["task"], manifest["network"]
    (old / "manifest.json").write_text(json.dumps(manifest | {"format_version": 1}))
    with Session(old, threads=1) as first:
        assert np.array_equal(scores(first, IDS), scores(session, IDS))
    assert BitNetConfig.from_file(Artifact.open(old).config_path).hidden_size == 64
