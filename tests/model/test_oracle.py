"""Networks that transformers made and saved are read and compared with transformers itself.

Its classes draw the weights and its ``save_pretrained`` writes them, without code of this package.
It rounds activations on a tie as the tested model did (``ties.py``). No other activation may be
rounded differently; then all logits agree to 1e-5 of the largest one.
"""

from __future__ import annotations

import os

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # transformers wraps its quantizers in torch.compile

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from bitnet_onnx.artifact import Artifact
from bitnet_onnx.errors import ConfigError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.network.parts import parts_of
from bitnet_onnx.verification.compare import verify
from bitnet_onnx.weights.open import open_checkpoint
from tests.support.checkpoints import FRAGILE, close
from tests.support.oracle_networks import LLAMA, make_llama
from tests.support.ties import MaskedTieBreaker, recorded

transformers = pytest.importorskip("transformers", minversion="5.0")
pytest.importorskip("accelerate")  # its quantized loader asks for it

VOCAB = 160
STEPS = 32
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 128,
    "intermediate_size": 272,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "tie_word_embeddings": True,
}


class Variant(NamedTuple):
    """The differences from SIZES, how linears are stored, and in which float type."""

    changes: dict[str, Any]
    linear_class: str = "autobitlinear"
    mode: str = "offline"
    packed: bool = True
    dtype: torch.dtype = torch.bfloat16


def theta(value: float) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": value}}


UNTIED = {"tie_word_embeddings": False}
VARIANTS: dict[str, Variant] = {
    "grouped by 4": Variant({}),
    "not grouped": Variant({"num_key_value_heads": 8}),
    "grouped by 8": Variant({"num_key_value_heads": 1}),
    "untied": Variant(UNTIED),
    "codes as floats": Variant({}, packed=False),
    "float32 file": Variant(UNTIED, dtype=torch.float32),
    "online": Variant({}, mode="online"),
    "online untied float32": Variant(UNTIED, mode="online", dtype=torch.float32),
    "divides": Variant({}, linear_class="bitlinear"),
    "divides untied float32": Variant(UNTIED, linear_class="bitlinear", dtype=torch.float32),
    "odd sizes": Variant({"hidden_size": 144, "intermediate_size": 380}),
    "odd sizes, online": Variant(
        {"hidden_size": 80, "intermediate_size": 150, "num_key_value_heads": 1} | theta(1e4),
        mode="online",
    ),
    "one head": Variant({"num_attention_heads": 1, "num_key_value_heads": 1}),
    "head_dim given": Variant({"head_dim": 16} | theta(100.0)),
    "small theta": Variant(theta(10.0)),
    "large theta": Variant(theta(5e6), linear_class="bitlinear"),
    "large eps": Variant({"rms_norm_eps": 1e-3}, mode="online"),
    "seven layers": Variant({"num_hidden_layers": 7}),
}


def draw(variant: Variant, seed: int) -> Any:
    """Draw a random network of transformers' own classes.

    Norms differ from 1, so that each matters. Linears are so large that attention differs from a
    plain average; otherwise the quantizers would hide a wrong position.
    """
    from transformers.integrations.bitnet import replace_with_bitnet_linear

    quantization = transformers.BitNetQuantConfig(
        linear_class=variant.linear_class, quantization_mode=variant.mode
    )
    config = transformers.BitNetConfig(
        **SIZES | variant.changes, quantization_config=quantization.to_dict()
    )
    torch.manual_seed(seed)
    network = transformers.BitNetForCausalLM(config).to(variant.dtype)
    for name, parameter in network.named_parameters():
        mean, std = (1.0, 0.2) if "norm" in name else (0.0, 0.2 if "proj" in name else 0.5)
        nn.init.normal_(parameter, mean=mean, std=std)
    if variant.mode == "offline":
        replace_with_bitnet_linear(network, ["lm_head"], quantization)
        fill_codes(network)
    return network


def fill_codes(network: nn.Module) -> None:
    """Fill the linears with random codes and scales, packed as their class packs them."""
    from transformers.integrations.bitnet import BitLinear, pack_weights

    linear: Any  # torch types a module's attributes as tensors or modules
    for linear in network.modules():
        if not hasattr(linear, "weight_scale"):
            continue
        codes = torch.randint(-1, 2, (linear.out_features, linear.in_features)).float()
        scale = torch.rand(1) * 0.1 + 0.1
        divides = isinstance(linear, BitLinear)
        linear.weight_scale.copy_(1 / scale if divides else scale)
        linear.weight.data.copy_(pack_weights(codes) if divides else codes)


def save(network: Any, folder: Path, packed: bool) -> None:
    """Call ``save_pretrained``, which stores autobitlinear codes as floats unless packed here."""
    from transformers.integrations.bitnet import AutoBitLinear, pack_weights

    state = network.state_dict()
    for name, linear in network.named_modules():
        if packed and isinstance(linear, AutoBitLinear):
            state[f"{name}.weight"] = pack_weights(linear.weight.detach().float().clone())
    network.save_pretrained(folder, state_dict=state)


class Pair:
    """A folder read by this package and by transformers, fed the same ids, with ties resolved."""

    def __init__(self, folder: Path) -> None:
        checkpoint = open_checkpoint(folder)
        self.linears = list(parts_of(checkpoint.config).linears)
        self.ours = BitNetForCausalLM.from_checkpoint(checkpoint)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.theirs: Any = nn.Module.float(theirs).eval()  # unpacked weights stay bf16 otherwise
        self.breaker = MaskedTieBreaker(self.theirs, self.linears)
        self.past: tuple[Any, Any] = (None, None)

    @torch.no_grad()
    def step(self, ids: Tensor, rows: Tensor | None = None, **arguments: Any) -> list[Tensor]:
        """Append ids to both caches; return the logits [B, S, V] of both."""
        with recorded(self.ours, self.linears) as inputs:
            found = self.ours(ids, past_key_values=self.past[0], **arguments)
        self.breaker.rows = rows
        with self.breaker.against(inputs):
            expected = self.theirs(ids, past_key_values=self.past[1], use_cache=True, **arguments)
        self.past = (found.past_key_values, expected.past_key_values)
        return [found.logits, expected.logits]

    def check_ties(self) -> None:
        """Check that only ties were rounded differently, and that the linears' inputs agree."""
        assert self.breaker.non_ties == 0
        assert max(self.breaker.input_differences.values()) <= FRAGILE


def make(folder: Path, variant: Variant, seed: int = 0) -> Pair:
    save(draw(variant, seed), folder, variant.packed)
    return Pair(folder)


def ids_of(batch: int, length: int, seed: int) -> Tensor:
    return torch.randint(0, VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", VARIANTS)
def test_greedy_ids_and_logits_are_those_of_transformers(tmp_path: Path, name: str) -> None:
    """A prompt in one call is followed by 32 steps with both caches, fed the tested model's choice.

    Every fourth step is fed a random id: random networks soon repeat themselves.
    """
    pair = make(tmp_path, VARIANTS[name])
    ids, others, chosen = ids_of(1, 12, seed=1), ids_of(STEPS, 1, seed=4), set()
    for step in range(STEPS):
        found, expected = pair.step(ids)
        assert close(found, expected)
        assert found[0, -1].argmax() == expected[0, -1].argmax()
        ids = found[:, -1:].argmax(-1)
        chosen.add(ids.item())
        if step % 4 == 3:
            ids = others[step : step + 1]
    pair.check_ties()
    assert len(chosen) > 8


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_artifacts_agree_with_transformers(tmp_path: Path, name: str) -> None:
    """Its files are exported and run by ONNX Runtime for 32 steps, as is and with ties resolved."""
    variant = VARIANTS[name]
    save(draw(variant, seed=0), tmp_path / "c", variant.packed)
    agrees_with_transformers(tmp_path, "float32" if variant.dtype == torch.float32 else "bf16")


@pytest.mark.slow
@pytest.mark.parametrize("name", LLAMA)
def test_llama_artifacts_agree_with_transformers(tmp_path: Path, name: str) -> None:
    make_llama(tmp_path / "c", name, max_position_embeddings=96)
    agrees_with_transformers(tmp_path, "bf16")


def agrees_with_transformers(folder: Path, head: str) -> None:
    """Export ``folder``/c and compare the artifact with transformers."""
    export(folder / "c", folder / "a", head=head)
    artifact = Artifact.open(folder / "a")
    prompt = ids_of(1, 12, seed=1)[0] % artifact.vocab_size
    (result,) = verify(
        open_checkpoint(folder / "c"), artifact, [prompt.tolist()], STEPS, against="transformers"
    )
    assert result.agrees, result.to_dict()
    # Random logits lie close together: in two of these networks a tie changes one id.
    same = result.same_ids_as_is
    assert same == STEPS or (result.ties and same == STEPS - 1)


def padded(side: str) -> tuple[Tensor, Tensor]:
    """Return mask and positions of a batch of 3 with 0, 3 and 7 of 10 tokens padded."""
    mask = torch.ones(3, 10, dtype=torch.long)
    mask[1, :3] = mask[2, :7] = 0
    mask = mask if side == "left" else mask.flip(1)
    return mask, (mask.cumsum(1) - 1).clamp(min=0)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["grouped by 4", "online", "divides"])
def test_padded_batches_agree_with_transformers(tmp_path: Path, name: str, side: str) -> None:
    """A batch is fed at once; with padding on the left, single steps follow, as in generation."""
    pair = make(tmp_path, VARIANTS[name])
    mask, positions = padded(side)
    ids = ids_of(3, 10, seed=2)
    found, expected = pair.step(ids, mask.bool(), attention_mask=mask, position_ids=positions)
    assert found.isfinite().all()
    assert close(found[mask.bool()], expected[mask.bool()])
    for _ in range(STEPS if side == "left" else 0):
        ids, positions = found[:, -1:].argmax(-1), positions[:, -1:] + 1
        mask = torch.cat([mask, torch.ones(3, 1, dtype=torch.long)], dim=1)
        found, expected = pair.step(ids, attention_mask=mask, position_ids=positions)
        assert close(found, expected)
        assert torch.equal(found.argmax(-1), expected.argmax(-1))
    pair.check_ties()


@pytest.mark.parametrize("cuts", [[1] * 12, [5, 1, 6], [11, 1]])
def test_a_prompt_in_pieces_agrees_with_transformers(tmp_path: Path, cuts: list[int]) -> None:
    """Chunked prefill appends several tokens to a cache that holds some."""
    pair = make(tmp_path, VARIANTS["grouped by 8"])
    for piece in ids_of(2, 12, seed=3).split(cuts, dim=1):
        found, expected = pair.step(piece)
        assert close(found, expected)
    pair.check_ties()


def other_weight(model: BitNetForCausalLM) -> None:
    weight: Any = model.get_submodule("model.layers.0.mlp.down_proj").weight
    weight[3, 5] = -1 if weight[3, 5] == 1 else 1


def other_scale(model: BitNetForCausalLM) -> None:
    scale: Any = model.get_submodule("model.layers.1.self_attn.o_proj").weight_scale
    scale *= 1.01


def other_eps(model: BitNetForCausalLM) -> None:
    norm: Any = model.get_submodule("model.layers.2.mlp.ffn_sub_norm")
    norm.eps = 1e-2


def other_theta(model: BitNetForCausalLM) -> None:
    model.config = dataclasses.replace(model.config, rope_theta=4e5)


@pytest.mark.parametrize("change", [other_weight, other_scale, other_eps, other_theta])
def test_a_changed_network_is_not_explained_by_ties(
    tmp_path: Path, change: Callable[[BitNetForCausalLM], None]
) -> None:
    """The comparison can fail: it notices a small change and does not count it as a tie."""
    pair = make(tmp_path, VARIANTS["grouped by 4"])
    change(pair.ours)
    found, expected = pair.step(ids_of(1, 30, seed=1))
    assert not close(found, expected)
    with pytest.raises(AssertionError):
        pair.check_ties()


def test_a_head_dim_that_transformers_cannot_run_is_refused(tmp_path: Path) -> None:
    """transformers gives attn_sub_norm hidden_size entries, whatever heads * head_dim is."""
    network = draw(Variant({"head_dim": 32}), seed=0)
    with pytest.raises(RuntimeError, match="size of tensor"):
        network.float()(ids_of(1, 4, seed=0))
    save(network, tmp_path, packed=True)
    with pytest.raises(ConfigError, match="norm before o_proj has hidden_size entries"):
        open_checkpoint(tmp_path)
