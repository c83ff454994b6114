"""The first layers of a network, from its own graph: the bits of a network that has only them."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from bitnet_onnx.errors import ArtifactError, BitNetError, GenerationError, SessionError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.runtime.cut import first_layers
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.verification.reference import load_reference
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import oracle_networks as oracle
from tests.support.checkpoints import close
from tests.support.float_networks import GRANITE, make
from tests.support.granite import networks as mixtures
from tests.support.sessions import scores

IDS = [5, 9, 2, 61, 33, 8, 8, 70]


def _float(kind: str, **fields: Any) -> Callable[[Path], Path]:
    return lambda folder: oracle.save(
        make(kind, num_hidden_layers=3, **fields), folder, torch.bfloat16
    )


# Layers begin and end in several ways: with multipliers, and with sums that are or are not
# operators of their own.
NETWORKS: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "granite": (_float("Granite", **GRANITE), {}),
    "qwen3, no passes": (_float("Qwen3", head_dim=24, tie_word_embeddings=True), {"passes": ()}),
    "stock": (_float("Llama"), {"target": "stock"}),
    "stock, no passes": (_float("Llama"), {"target": "stock", "passes": ()}),
    # A loop over the experts reads values of the graph around it.
    "stock experts": (
        lambda folder: mixtures.save(mixtures.draw(num_hidden_layers=3), folder),
        {"target": "stock"},
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_first_layers_compute_what_the_reference_does(tmp_path: Path, name: str) -> None:
    build, options = NETWORKS[name]
    checkpoint = build(tmp_path / "m")
    export(checkpoint, tmp_path / "a", context_length=32, **options)
    with Session(tmp_path / "a", threads=1) as session:
        whole = scores(session, IDS)
        for layers in (1, 2):
            network = load_reference(open_checkpoint(checkpoint), "torch", session.artifact.head)
            network.model.layers = network.model.layers[:layers]
            with torch.no_grad():
                expected = network(torch.tensor([IDS])).logits[0]
            early = session.early_exit(layers)
            assert early is session.early_exit(layers)
            assert early.artifact.num_hidden_layers == layers
            found = torch.from_numpy(scores(early, IDS))
            assert close(found, expected)
            assert not close(found, torch.from_numpy(whole))
            assert len(early._steps.cache.buffers) == 2 * layers
        session.reset()
        np.testing.assert_array_equal(scores(session, IDS), whole)
    with pytest.raises(SessionError, match="the session is closed"):
        early.prefill(IDS)


def test_the_bits_are_those_of_a_network_with_few_layers(
    demo_checkpoint: Path, demo_artifact: Path, tmp_path: Path
) -> None:
    shorter = shutil.copytree(demo_checkpoint, tmp_path / "m")
    config = json.loads((shorter / "config.json").read_text("utf-8"))
    (shorter / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    tensors = load_file(shorter / "model.safetensors")
    kept = {n: t for n, t in tensors.items() if not re.match(r"model\.layers\.[2-9]", n)}
    save_file(kept, shorter / "model.safetensors", {"format": "pt"})
    export(shorter, tmp_path / "a")
    with Session(demo_artifact, threads=1) as session, Session(tmp_path / "a", threads=1) as other:
        np.testing.assert_array_equal(scores(session.early_exit(2), IDS), scores(other, IDS))


def test_layers_that_a_network_lacks_are_refused(demo_artifact: Path) -> None:
    with Session(demo_artifact, threads=1) as session:
        every = session.artifact.num_hidden_layers
        for layers in (0, -1, every, every + 1):
            with pytest.raises(GenerationError, match=f"{layers}, expected fewer than the {every}"):
                session.early_exit(layers)
        with pytest.raises(GenerationError, match="assistant_early_exit"):
            session.early_exit("two")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda graph: graph.ClearField("node"), "no node reads model.layers.1.input_layernorm"),
        (
            lambda graph: graph.node[-2].input.__setitem__(1, "other"),
            "no node reads model.norm.weight",
        ),
    ],
)
def test_a_graph_without_layers_is_refused(demo_artifact: Path, change: Any, words: str) -> None:
    with Session(demo_artifact, threads=1) as session:
        model = onnx.load(demo_artifact / "model.onnx", load_external_data=False)
        change(model.graph)
        with pytest.raises(ArtifactError, match=words) as caught:
            first_layers(session.artifact, model.SerializeToString(), 1)
        assert isinstance(caught.value, BitNetError)
        assert caught.value.hint


def test_no_weights_are_copied(demo_artifact: Path) -> None:
    """What the cut graph holds itself is less than a hundredth of the weights that it reads."""
    with Session(demo_artifact, threads=1) as session:
        _, model = first_layers(session.artifact, None, 4)
        found = onnx.ModelProto.FromString(model)
        beside = [t for t in found.graph.initializer if t.data_location == t.EXTERNAL]
        names = {t.name for t in found.graph.initializer}
        assert beside
        assert not any(name.startswith("model.layers.4.self_attn") for name in names)
        assert len(model) < session.artifact.data_size / 10


def test_a_session_in_use_is_not_disturbed(demo_artifact: Path) -> None:
    with Session(demo_artifact, threads=1) as session:
        session.prefill([3, 4, 5])
        lease = session.claim()
        early = session.early_exit(2)
        early.prefill([7, 8])
        assert lease.ids() == [3, 4, 5]
        assert early.ids() == [7, 8]
        lease.decode([6])
        found: list[Any] = []
        other = threading.Thread(target=lambda: found.append(session.early_exit(2)))
        other.start()
        other.join()
        assert found == [early]


def test_float32_products_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a call's size changes a bit, there are no drafts, and the session is as before."""
    artifact = tmp_path / "a"
    export(_float("Llama")(tmp_path / "m"), artifact, linears="float32", head="float32",
           context_length=32)  # fmt: skip
    with Session(artifact, threads=1) as session:
        assert not session.exact_in_groups
        lease = session.claim()
        first = lease.prefill(IDS)
        exact = session.exact_for(9)
        again = session.claim()
        assert again.ids() == IDS
        calls = list[int]()
        made = type(session._steps).score

        def counted(self: Any, chunk: np.ndarray, row: int) -> np.ndarray:
            calls.append(len(chunk))
            return np.asarray(made(self, chunk, row))

        monkeypatch.setattr(type(session._steps), "score", counted)
        assert session.exact_for(9) is exact
        assert not calls
        again.truncate(0)
        np.testing.assert_array_equal(again.prefill(IDS), first)
        if exact:
            one_by_one = [again.score([token])[0] for token in IDS]
            again.reset()
            np.testing.assert_array_equal(again.score(IDS)[-1], first)
            assert len(one_by_one) == len(IDS)

    def differs(self: Any, chunk: np.ndarray, row: int) -> np.ndarray:
        found: np.ndarray = made(self, chunk, row)
        return found + np.float32(1e-6) * (len(chunk) == 7)

    monkeypatch.setattr(type(session._steps), "score", differs)
    with Session(artifact, threads=1) as session:
        assert session.exact_for(6)
        assert not session.exact_for(7)
        assert session.exact_for(6)
        assert not session.exact_for(20)
    with Session(artifact, threads=1, custom_ops=False) as session:
        assert not session.exact_for(2)
