"""What ``forward`` takes and returns beside logits, compared with transformers' classes.

None of the activations is on a rounding tie with these seeds (``test_oracle.py`` resolves them).
"""

from __future__ import annotations

import os

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # transformers wraps its quantizers in torch.compile

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bitnet_onnx.errors import ConfigError
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import checkpoints
from tests.support import oracle_networks as oracle
from tests.support.granite import networks as granite_networks
from tests.support.oracle_networks import ids_of

transformers = pytest.importorskip("transformers", minversion="5.0")
pytest.importorskip("accelerate")  # its quantized loader asks for it


def trilm(folder: Path) -> Path:
    sizes = {"hidden_size": 128, "intermediate_size": 256}
    model = oracle.random_llama(oracle.llama_config(**sizes), 3)
    return oracle.save(oracle.group_weights(model, torch.float32, 3), folder)


def granite(folder: Path) -> Path:
    """Return a dense Granite: its multipliers are not 1."""
    sizes = {name: granite_networks.SIZES[name] for name in DENSE}
    torch.manual_seed(5)
    model = transformers.GraniteForCausalLM(transformers.GraniteConfig(**sizes)).eval()
    for name, parameter in model.named_parameters():
        parameter.data.normal_(1.0, 0.2) if "norm" in name else parameter.data.normal_(0, 0.2)
    return oracle.save(model, folder)


DENSE = [name for name in granite_networks.SIZES if "experts" not in name]
NETWORKS: dict[str, Callable[[Path], Path]] = {
    "bitnet": lambda folder: checkpoints.make(folder, vocab_size=96),
    "llama": lambda folder: oracle.make_llama(folder, "bitlinear"),
    "qwen3": lambda folder: oracle.save(oracle.qwen3(), folder, torch.float16),
    "trilm": trilm,
    "granite": granite,
    "granitemoe": lambda folder: granite_networks.save(granite_networks.draw(seed=3), folder),
    "granitemoeshared": lambda folder: granite_networks.save(
        granite_networks.draw(**granite_networks.SHARED), folder
    ),
}
Pair = tuple[BitNetForCausalLM, Any]


@pytest.fixture(scope="module", params=NETWORKS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Return a network of this package and transformers' own, of one folder."""
    folder = NETWORKS[request.param](tmp_path_factory.mktemp("forward") / "c")
    ours = BitNetForCausalLM.from_checkpoint(open_checkpoint(folder))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    return ours, nn.Module.float(theirs).eval()  # unpacked weights stay bf16 otherwise


def near(found: Tensor, expected: Tensor) -> bool:
    assert found.shape == expected.shape
    return float((found - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


def all_near(found: tuple[Tensor, ...] | None, expected: tuple[Tensor, ...]) -> bool:
    assert found is not None
    assert len(found) == len(expected)
    return all(near(a, b) for a, b in zip(found, expected, strict=True))


@torch.no_grad()
def test_hidden_states_and_attentions_are_those_of_transformers(pair: Pair) -> None:
    ids = ids_of(11, seed=1, batch=2)
    wanted = {"output_hidden_states": True, "output_attentions": True}
    found, expected = (network(ids, labels=ids, **wanted) for network in pair)
    assert near(found.logits, expected.logits)
    assert near(found.loss, expected.loss)
    assert all_near(found.hidden_states, expected.hidden_states)
    assert all_near(found.attentions, expected.attentions)
    assert found.router_logits is None
    assert found.aux_loss is None
    plain = pair[0](ids)
    assert (plain.loss, plain.hidden_states, plain.attentions) == (None, None, None)
    assert torch.equal(plain.logits, found.logits)


@torch.no_grad()
def test_embeddings_take_the_place_of_ids(pair: Pair) -> None:
    ids = ids_of(7, seed=2)
    rows = pair[1].get_input_embeddings()(ids)
    found, expected = (network(inputs_embeds=rows) for network in pair)
    assert near(found.logits, expected.logits)
    assert torch.equal(found.logits, pair[0](ids).logits)
    for arguments in ({}, {"input_ids": ids, "inputs_embeds": rows}):
        with pytest.raises(ConfigError, match="input_ids and inputs_embeds is given, expected one"):
            pair[0](**arguments)


@torch.no_grad()
@pytest.mark.parametrize("name", ["past_key_values", "cache"])
def test_a_cache_object_holds_what_tuples_hold(pair: Pair, name: str) -> None:
    """transformers continues from a cache that this package filled, and the reverse."""
    ours, theirs = pair
    ids = ids_of(9, seed=3, batch=2)
    first, last = ids[:, :6], ids[:, 6:]
    mine, other = transformers.DynamicCache(), transformers.DynamicCache()
    result = ours(first, **{name: mine})
    assert result.past_key_values is result.cache is mine
    assert mine.get_seq_length() == 6
    theirs(first, past_key_values=other, use_cache=True)
    for layer, kept in zip(mine.layers, other.layers, strict=True):
        assert near(layer.keys, kept.keys)
        assert near(layer.values, kept.values)
    tuples = ours(first).past_key_values
    assert near(ours(last, **{name: other}).logits, theirs(last, past_key_values=mine).logits)
    assert other.get_seq_length() == 9
    assert near(ours(last, past_key_values=tuple(tuples)).logits, ours(ids).logits[:, 6:])


@torch.no_grad()
def test_use_cache_and_the_positions_to_keep(pair: Pair) -> None:
    ours, theirs = pair
    ids, kept = ids_of(8, seed=4), torch.tensor([1, 4, 7])
    assert ours(ids, use_cache=False).past_key_values is None
    assert ours(ids, use_cache=None).past_key_values is not None
    assert theirs(ids, use_cache=False).past_key_values is None
    for keep in (0, 3, kept):
        found, expected = (network(ids, logits_to_keep=keep) for network in pair)
        assert near(found.logits, expected.logits)


@torch.no_grad()
def test_a_cache_that_drops_positions_is_refused(pair: Pair) -> None:
    ours, theirs = pair
    static = transformers.StaticCache(config=theirs.config, max_cache_len=16)
    with pytest.raises(ConfigError, match="has a layer StaticLayer, expected DynamicLayer"):
        ours(ids_of(3, seed=5), past_key_values=static)


@torch.no_grad()
def test_attentions_of_an_int8_cache_add_up_to_one(pair: Pair) -> None:
    ours = pair[0]
    past = ours.empty_cache(torch.int8)
    result = ours(ids_of(5, seed=6), past_key_values=past, output_attentions=True)
    assert result.attentions is not None
    for shares in result.attentions:
        assert near(shares.sum(-1), torch.ones(shares.shape[:-1]))
