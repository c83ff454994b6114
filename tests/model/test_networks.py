"""Networks other than 2B-4T: file -> torch -> artifact -> ids, as by transformers in float32.

The tolerance is that of test_model.py: with these sizes and seeds no activation is on a rounding
tie, and only float32 noise remains, 1e-5 of the largest logit. (With six seeds for each variant, 8
of 48 networks met a tie: logits then differed by up to 5e-4, but not the ids.)
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from bitnet_onnx.artifact import Artifact
from bitnet_onnx.errors import CheckpointError, ConfigError
from bitnet_onnx.exporter.export import export
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.network.config import BitNetConfig
from bitnet_onnx.network.maple import Maple
from bitnet_onnx.network.mixture import Mixture
from bitnet_onnx.network.parts import parts_of
from bitnet_onnx.network.records import RECORDS
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.verification.compare import verify
from bitnet_onnx.weights.checkpoint.write import tensors_of
from bitnet_onnx.weights.open import open_checkpoint
from bitnet_onnx.weights.ternary import sign_binary
from tests.support import checkpoints
from tests.support import oracle_networks as oracle
from tests.support.checkpoints import close
from tests.support.oracle_networks import LLAMA, greedy, ids_of, make_2023, make_llama

CAUSAL = [name for name, record in RECORDS.items() if record.task == "text-generation"]
GROUPED = ("qwen3", "minicpm")  # with group scales here; test_float.py has float linears


def same(folder: Path, theirs: Any, vocab: int = 96) -> None:
    """Compare logits of a batch, and greedy ids, of the torch network and of transformers."""
    ours = BitNetForCausalLM.from_checkpoint(open_checkpoint(folder))
    # None of these activations is on a rounding tie; test_oracle.py resolves such ties.
    ids = ids_of(13, seed=1, batch=2, vocab=vocab)
    with torch.no_grad():
        assert close(ours(ids).logits, theirs(ids).logits)
    prompt = ids_of(5, seed=3, vocab=vocab)
    assert ours.generate(prompt, 16)[0].tolist() == greedy(theirs, prompt, 16)


def same_ids(
    folder: Path, theirs: Any, artifact: Path, vocab: int = 96, head: str = "bf16"
) -> None:
    """Compare greedy ids of the artifact, with and without its library, and of transformers."""
    export(folder, artifact, head=head)
    for length, seed, custom_ops in ((1, 4, True), (9, 5, False)):
        session = Session(artifact, threads=1, custom_ops=custom_ops)
        prompt = ids_of(length, seed, vocab=vocab)
        found = prompt[0].tolist()
        found.append(int(session.prefill(found).argmax()))
        for _ in range(15):
            found.append(int(session.decode(found[-1:])[0].argmax()))
        assert found == greedy(theirs, prompt, 16)


@pytest.mark.parametrize("variant", LLAMA)
def test_llama_computes_what_transformers_computes(tmp_path: Path, variant: str) -> None:
    folder = make_llama(tmp_path / "c", variant)
    same(folder, oracle.load(folder))


@pytest.mark.parametrize("variant", ["bitlinear, a norm in each linear", "llama3 rope"])
def test_a_llama_artifact_gives_the_ids_of_transformers(tmp_path: Path, variant: str) -> None:
    folder = make_llama(tmp_path / "c", variant)
    same_ids(folder, oracle.load(folder), tmp_path / "a")


# ------------------------------------------------------------------------------------- 1bitLLM


def make_one_bit_llm(
    folder: Path, dtype: torch.dtype, seed: int = 0, **changes: Any
) -> tuple[Path, Any]:
    """Write float masters and config.json as 1bitLLM published them; return also the oracle."""
    sizes = {"num_key_value_heads": 4, "tie_word_embeddings": True} | changes
    source = oracle.random_llama(oracle.llama_config(**sizes), seed)
    model, state = oracle.one_bit_llm(source)
    fields = json.loads(source.config.to_json_string())
    theta = fields.pop("rope_parameters")["rope_theta"]
    fields |= {"architectures": ["BitnetForCausalLM"], "weight_bits": 1, "input_bits": 8}
    fields |= {"rope_theta": theta, "rope_scaling": None}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(fields))
    if source.config.tie_word_embeddings:
        del state["lm_head.weight"]
    save_file({name: t.to(dtype) for name, t in state.items()}, folder / "model.safetensors")
    return folder, model


# head_dim 100 is that of the 3B model; 20 is as awkward, but small. K is not a multiple of 128, and
# the vocabulary size is a prime number.
AWKWARD = {"hidden_size": 80, "intermediate_size": 216, "vocab_size": 97}
HUNDRED = {"hidden_size": 200, "num_attention_heads": 2, "num_key_value_heads": 2}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_one_bit_llm_computes_a_llama_with_two_more_norms(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    folder, theirs = make_one_bit_llm(tmp_path / "c", dtype, **AWKWARD)
    same(folder, theirs, vocab=97)


@pytest.mark.parametrize("sizes", [AWKWARD, HUNDRED])
def test_a_one_bit_llm_artifact_gives_the_same_ids(tmp_path: Path, sizes: dict[str, Any]) -> None:
    folder, theirs = make_one_bit_llm(tmp_path / "c", torch.float16, **sizes)
    same_ids(folder, theirs, tmp_path / "a", sizes.get("vocab_size", 96))
    genai = json.loads((tmp_path / "a" / "genai_config.json").read_text())["model"]["decoder"]
    assert genai["head_size"] == {80: 20, 200: 100}[genai["hidden_size"]]


@pytest.mark.parametrize("tied", [True, False])
def test_tables_that_do_not_fit_bfloat16_need_a_float32_head(tmp_path: Path, tied: bool) -> None:
    """1bitLLM published such tables; a float32 head computes with the stored values."""
    folder, theirs = make_one_bit_llm(
        tmp_path / "c", torch.float32, tie_word_embeddings=tied, num_hidden_layers=1
    )
    noise = torch.randn(96, 64, generator=torch.Generator().manual_seed(0)) * 1e-3
    tables = {"model.embed_tokens.weight": theirs.model.embed_tokens.weight}
    if not tied:
        tables["lm_head.weight"] = theirs.lm_head.weight
    for table in tables.values():
        table.data += noise
    edit(folder, **{name: table.detach() for name, table in tables.items()})
    same(folder, theirs)
    same_ids(folder, theirs, tmp_path / "a", head="float32")


# --------------------------------------------------------------------------- the first BitNet


@pytest.mark.parametrize("groups", [1, 4])
def test_the_first_bitnet_computes_the_equations_of_its_paper(tmp_path: Path, groups: int) -> None:
    folder, theirs = make_2023(tmp_path / "c", groups)
    same(folder, theirs)
    same_ids(folder, theirs, tmp_path / "a")


def test_verify_refuses_the_first_bitnet(tmp_path: Path) -> None:
    folder, _ = make_2023(tmp_path / "c", 1)
    export(folder, tmp_path / "a")
    checkpoint, artifact = open_checkpoint(folder), Artifact.open(tmp_path / "a")
    with pytest.raises(ConfigError, match="ties of model_type 'bitnet_2023'"):
        verify(checkpoint, artifact, [[1]], 1)


def test_a_binary_weight_has_no_zero() -> None:
    weight = torch.tensor([[0.0, 1.0, 2.0, -3.0], [4.0, 4.0, 4.0, 4.0]])
    codes, scale = sign_binary(weight[:1], 1)
    assert codes.tolist() == [[-1, 1, 1, -1]]  # the mean is 0, and so is the first weight
    assert scale.tolist() == [1.5]
    codes, scale = sign_binary(weight, 2)
    assert codes.tolist() == [[-1, -1, 1, -1], [1, 1, 1, 1]]
    assert scale.tolist() == [2.25, 3.25]


def config_of(network: str, **sizes: Any) -> BitNetConfig:
    """Return a config of the network, with a norm in each linear where it may have one."""
    wide: dict[str, Any] = {"hidden": 256, "inner": 384} if network in GROUPED else {}
    config = BitNetConfig.from_dict(checkpoints.config_fields(**wide, **sizes))
    if network in GROUPED:
        return replace(config, network=network, group_size=128, dim_model_base=64, scale_emb=2.0)
    record = RECORDS[network]
    if network == "maple":
        sliding = tuple(number % 2 == 0 for number in range(config.num_hidden_layers))
        maple = Maple(4, 2, sliding_window=5, sliding=sliding)
        return replace(config, network=network, quantization="float", mixture=maple)
    if record.experts:
        mixture = Mixture(4, 2, shared_intermediate_size=48 if record.shared_expert else 0)
        return replace(config, network=network, mixture=mixture)
    return replace(config, network=network, linear_norm_eps=1e-6)


@pytest.mark.parametrize("network", CAUSAL)
def test_module_attributes_have_the_names_of_the_tensors(network: str) -> None:
    config = config_of(network, tied=False)
    if network == "bitnet_2023":
        config = replace(config, linear_norm_eps=None)
    parts = parts_of(config)
    names = {f"{name}.weight" for name in (*parts.linears, *parts.experts)}
    names |= {*parts.norms, *parts.tables, *parts.routers}
    with torch.device("meta"):
        assert set(BitNetForCausalLM(config).state_dict()) == names


@pytest.mark.parametrize(
    ("network", "activations"),
    [*((name, "int8") for name in CAUSAL), *((name, "float") for name in GROUPED)],
)
def test_every_network_trains(network: str, activations: str) -> None:
    """Training mode gives the values of evaluation, and a gradient for every parameter."""
    config = replace(config_of(network), float_activations=activations == "float")
    torch.manual_seed(5)  # a seed without a rounding tie
    model = BitNetForCausalLM(replace(config, quantization_groups=2))
    for parameter in model.parameters():
        parameter.data *= 5  # activations of ordinary size
    ids = ids_of(9, seed=0, batch=2)
    output = model.train()(ids, labels=ids)
    assert close(output.logits.detach(), model.eval()(ids).logits.detach())
    assert output.loss is not None
    output.loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_the_first_bitnet_has_no_packed_layout() -> None:
    config = BitNetConfig.from_dict(checkpoints.config_fields())
    with pytest.raises(ConfigError, match="'bitnet_2023' has no packed layout"):
        list(tensors_of(replace(config, network="bitnet_2023"), {}))


# ---------------------------------------------------------- heads that the attention node refuses


@pytest.mark.parametrize("head_dim", [6, 8, 20])
def test_rows_of_different_lengths_work_with_any_head_size(tmp_path: Path, head_dim: int) -> None:
    """Rotary positions follow from each row's own length, in the padded buffers of the cache."""
    checkpoints.make(tmp_path / "c", hidden=4 * head_dim, seed=1)
    export(tmp_path / "c", tmp_path / "a")
    model = BitNetForCausalLM.from_checkpoint(open_checkpoint(tmp_path / "c"))
    for custom_ops in (True, False):
        session = Session(tmp_path / "a", threads=1, custom_ops=custom_ops)
        session.reset(batch_size=2)
        rows = [ids_of(7, 1)[0].tolist(), ids_of(3, 2)[0].tolist()]
        for row, ids in enumerate(rows):
            found = torch.from_numpy(session.prefill(ids[:-1], row=row))
            expected = model(torch.tensor([ids[:-1]])).logits[0, -1]
            assert close(found, expected)
        for _ in range(3):
            both = session.decode([ids[-1] for ids in rows])
            for found, ids in zip(both, rows, strict=True):
                assert close(torch.from_numpy(found), model(torch.tensor([ids])).logits[0, -1])
                ids.append(int(found.argmax()))


# ----------------------------------------------------------------- what a LLaMA folder may hold


def edit(folder: Path, **tensors: torch.Tensor) -> None:
    path = folder / "model.safetensors"
    save_file(load_file(path) | tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("kind", ["equal", "different"])
def test_a_head_beside_tied_embeddings_is_read_as_in_transformers(
    tmp_path: Path, kind: str
) -> None:
    """The first upload of 2B-4T had such a head. transformers ties both only if they are equal."""
    folder = make_llama(tmp_path / "c", "autobitlinear")
    table = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    edit(folder, **{"lm_head.weight": table.clone() if kind == "equal" else table.flip(0)})
    assert open_checkpoint(folder).config.tie_word_embeddings is (kind == "equal")
    same(folder, oracle.load(folder))


def test_a_rotary_buffer_of_an_older_checkpoint_is_ignored(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "c", "bitlinear")
    edit(folder, **{"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)})
    open_checkpoint(folder)


def test_float_weights_that_are_not_ternary_are_refused(tmp_path: Path) -> None:
    name = "model.layers.1.mlp.up_proj"
    folder = make_llama(tmp_path / "c", "autobitlinear")
    edit(folder, **{f"{name}.weight": torch.full((160, 64), 0.5)})
    with pytest.raises(CheckpointError, match=rf"{name}\.weight is not ternary"):
        open_checkpoint(folder).ternary(name)
