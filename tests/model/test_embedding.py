"""Networks that embed texts: file -> torch -> artifact, as by transformers' bodies in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import bitnet_onnx
from bitnet_onnx.errors import CheckpointError
from bitnet_onnx.model import BitNetEmbedding
from bitnet_onnx.model.embedding import compact, pool
from bitnet_onnx.model.gated import gelu
from bitnet_onnx.weights.open import open_checkpoint
from tests.support.embedding import networks as oracle
from tests.support.embedding.networks import cosine

NESTED = {
    "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e5},
    "sliding_attention": {"rope_type": "default", "rope_theta": 2e4},
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("qwen3", {}),
    "qwen3, MHA, theta 1e4": ("qwen3", {"num_key_value_heads": 4, "rope_theta": 1e4}),
    "qwen3, K no multiple of 128, one head": (
        "qwen3",
        {"hidden_size": 72, "intermediate_size": 200, "num_attention_heads": 1, "head_dim": 16}
        | {"num_key_value_heads": 1},
    ),
    "qwen3, eps 1e-5": ("qwen3", {"rms_norm_eps": 1e-5, "num_hidden_layers": 3}),
    "gemma3": ("gemma3_text", {}),
    "gemma3, scalar 256": ("gemma3_text", {"query_pre_attn_scalar": 256}),
    "gemma3, sections of rope_parameters": (
        "gemma3_text",
        {"rope_parameters": NESTED, "rope_theta": None, "rope_local_base_freq": None},
    ),
    "gemma3, the default pattern": ("gemma3_text", {"layer_types": None, "num_hidden_layers": 7}),
    "gemma3, full layers": ("gemma3_text", {"layer_types": ["full_attention"] * 3}),
    "gemma3, sliding layers": ("gemma3_text", {"layer_types": ["sliding_attention"] * 3}),
}
LENGTHS = (1, 2, 9, 30, 5)


def texts_of(lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> list[list[int]]:
    random = torch.Generator().manual_seed(seed)
    return [torch.randint(2, 96, (n,), generator=random).tolist() for n in lengths]


def made(folder: Path, kind: str, changes: dict[str, Any], **how: Any) -> tuple[Path, Any]:
    """Write a checkpoint; return also the oracle."""
    changes = {name: value for name, value in changes.items() if value is not None}
    if "layer_types" not in changes and kind != "qwen3" and "num_hidden_layers" in changes:
        changes["layer_types"] = None  # not that of three layers
    body, stored = oracle.random_body(kind, **changes)
    return oracle.save_body(folder, body, stored, **how), body


def loaded(folder: Path, mode: str) -> BitNetEmbedding:
    checkpoint = open_checkpoint(folder)
    return BitNetEmbedding.from_checkpoint(checkpoint, checkpoint.pooling._replace(mode=mode))


@torch.no_grad()
def in_torch(folder: Path, mode: str, texts: list[list[int]]) -> np.ndarray:
    network = loaded(folder, mode)
    return np.stack([network(torch.tensor([ids]))[0].numpy() for ids in texts])


@pytest.mark.parametrize("mode", ["last", "mean"])
@pytest.mark.parametrize("case", CASES)
def test_torch_computes_what_the_wrapped_body_computes(
    tmp_path: Path, case: str, mode: str
) -> None:
    """The oracle rounds activations on a tie as the tested network does."""
    folder, body = made(tmp_path / "c", *CASES[case])
    network = loaded(folder, mode)
    for ids in texts_of():
        found, expected = oracle.embed_alike(network, body, ids, mode)
        assert cosine(found, expected) > 1 - 1e-10
        assert abs(found.norm() - 1) < 1e-6


@pytest.mark.parametrize(
    ("case", "mode"),
    [
        ("qwen3", "last"),
        ("qwen3", "mean"),
        ("gemma3", "last"),
        ("gemma3, scalar 256", "mean"),
        ("gemma3, sliding layers", "last"),
    ],
)
def test_an_artifact_gives_the_bits_of_torch_in_any_batch(
    tmp_path: Path, case: str, mode: str
) -> None:
    """With the library and by the function bodies; a stock artifact's attention rounds."""
    folder, _ = made(tmp_path / "c", *CASES[case])
    texts = texts_of()
    expected = in_torch(folder, mode, texts)
    bitnet_onnx.export(folder, tmp_path / "a", pooling=mode)
    bitnet_onnx.export(folder, tmp_path / "s", pooling=mode, target="stock")
    for name, custom_ops in (("a", True), ("a", False), ("s", True)):
        with bitnet_onnx.load(tmp_path / name, threads=1, custom_ops=custom_ops) as model:
            found = model.embed(texts)
            for size in (1, 2, 3):
                np.testing.assert_array_equal(model.embed(texts, batch_size=size), found)
            alone = np.concatenate([model.embed([ids]) for ids in texts])
        np.testing.assert_array_equal(alone, found)
        if name == "a":
            np.testing.assert_array_equal(found, expected, strict=True)
        for vector, theirs in zip(found, expected, strict=True):
            assert cosine(torch.from_numpy(vector), torch.from_numpy(theirs)) > 1 - 1e-9


@pytest.mark.parametrize("kind", ["qwen3", "gemma3_text"])
def test_names_with_and_without_a_prefix_and_a_head_are_one_network(
    tmp_path: Path, kind: str
) -> None:
    folder, body = made(tmp_path / "bare", kind, {})
    prefixed, _ = made(tmp_path / "prefixed", kind, {}, prefix="model.")
    stored = oracle.random_body(kind)[1] | {"lm_head.weight": torch.ones(96, 64)}
    headed = oracle.save_body(tmp_path / "headed", body, stored)
    texts = texts_of((4,))
    expected = in_torch(folder, "last", texts)
    for other in (prefixed, headed):
        np.testing.assert_array_equal(in_torch(other, "last", texts), expected)
    assert "lm_head.weight is not read" in open_checkpoint(headed).notes[0]


@pytest.mark.parametrize("norms", [True, False])
def test_packed_weights_give_the_vectors_of_their_masters(tmp_path: Path, norms: bool) -> None:
    """Also where quantization_config says neither mode nor class: the tensors say it."""
    body, stored = oracle.random_body("qwen3", norms=norms)
    masters = oracle.save_body(tmp_path / "masters", body, stored)
    packed = dict(stored)
    for name in [name for name in stored if name.endswith("_proj.weight")]:
        mean = stored[name].abs().mean().clamp(min=1e-5)
        codes = (stored[name] * (1.0 / mean)).round().clamp(-1, 1).to(torch.int64) + 1
        quarter = len(codes) // 4
        whole = sum(codes[i * quarter : (i + 1) * quarter] << 2 * i for i in range(4))
        assert isinstance(whole, torch.Tensor)
        packed[name], packed[f"{name}_scale"] = whole.to(torch.uint8), mean.reshape(1)
    silent = {"quant_method": "bitnet"}
    linear = {**silent, "linear_class": "autobitlinear"}
    texts = texts_of((3, 8))
    expected = in_torch(masters, "mean", texts)
    for name, section in (("silent", silent), ("said", linear)):
        folder = tmp_path / name
        tensors = {key: t if "proj.weight" in key else t.bfloat16() for key, t in packed.items()}
        if section is silent:  # a class of None divides
            tensors |= {k: 1.0 / packed[k] for k in packed if k.endswith("_scale")}
        oracle.save_body(folder, body, {}, quantization_config=section)
        save_file(tensors, folder / "model.safetensors")
        found = in_torch(folder, "mean", texts)
        np.testing.assert_allclose(found, expected, atol=2e-6)
    unsaid = oracle.save_body(tmp_path / "none", body, stored, quantization_config=silent)
    np.testing.assert_array_equal(in_torch(unsaid, "mean", texts), expected)


def test_a_body_without_norms_and_quantization_is_float(tmp_path: Path) -> None:
    """Such as Qwen3-Embedding; with the norms it is BitNet's, whatever config.json says."""
    body, stored = oracle.random_body("qwen3", norms=True)
    folder = oracle.save_body(tmp_path / "n", body, stored, quantization_config=None)
    assert open_checkpoint(folder).config.quantization == "online"
    texts = texts_of((6,))
    found = torch.from_numpy(in_torch(folder, "last", texts)[0])
    assert cosine(found, oracle.embed(body, texts[0], "last")) > 1 - 1e-10
    plain, stored = oracle.plain_body("qwen3")
    folder = oracle.save_body(tmp_path / "f", plain, stored, quantization_config=None)
    assert open_checkpoint(folder).config.float_linears
    found = torch.from_numpy(in_torch(folder, "last", texts)[0])
    assert cosine(found, oracle.embed(plain, texts[0], "last")) > 1 - 1e-10
    bitnet_onnx.export(folder, tmp_path / "a")
    with bitnet_onnx.load(tmp_path / "a", threads=1) as model:
        np.testing.assert_array_equal(torch.from_numpy(model.embed(texts)[0]), found)


def test_a_missing_norm_is_named(tmp_path: Path) -> None:
    body, stored = oracle.random_body("gemma3_text")
    del stored["layers.1.mlp.down_proj.norm.weight"]
    folder = oracle.save_body(tmp_path / "c", body, stored)
    with pytest.raises(CheckpointError, match=r"lacks the tensor model\.layers\.1\.mlp\.down_proj"):
        open_checkpoint(folder)


@pytest.mark.parametrize("kind", ["qwen3", "gemma3_text"])
def test_training_gives_the_values_of_evaluation_and_every_gradient(
    tmp_path: Path, kind: str
) -> None:
    folder, _ = made(tmp_path / "c", kind, {})
    network = BitNetEmbedding.from_checkpoint(open_checkpoint(folder))
    ids = torch.tensor(texts_of((7,)))
    expected = network(ids)
    found = network.train()(ids)
    assert cosine(found[0].detach(), expected[0].detach()) > 1 - 1e-4
    (found * torch.randn(64)).sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_gelu_is_that_of_torch() -> None:
    x = torch.cat([torch.linspace(-12, 12, 4801), torch.tensor([0.0, -0.0, 1e-30, -1e30, 1e30])])
    expected = torch.nn.functional.gelu(x.double(), approximate="tanh")
    assert (gelu(x).double() - expected).abs().max() < 1e-6
    assert gelu(torch.tensor([torch.nan])).isnan().all()


def test_padding_before_a_text_moves_behind_it() -> None:
    ids = torch.tensor([[0, 0, 5, 6], [7, 8, 0, 0], [1, 2, 3, 4], [0, 0, 0, 0]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    moved, counts = compact(ids, mask)
    assert moved.tolist()[:3] == [[5, 6, 0, 0], [7, 8, 0, 0], [1, 2, 3, 4]]
    assert counts.tolist() == [2, 2, 4, 0]
    x = torch.randn(4, 4, 3)
    assert torch.equal(pool(x, counts, "last")[:3], x[[0, 1, 2], [1, 1, 3]])
    torch.testing.assert_close(pool(x, counts, "mean")[1], x[1, :2].mean(0))
