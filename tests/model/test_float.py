"""Float linears are computed as stored: LLaMA, Qwen3 and Granite beside transformers' classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from bitnet_onnx.artifact import Artifact
from bitnet_onnx.errors import ArtifactError, CheckpointError, ConfigError
from bitnet_onnx.exporter.devices import wanted
from bitnet_onnx.exporter.export import export
from bitnet_onnx.exporter.options import FLOAT_LINEARS
from bitnet_onnx.model import BitNetForCausalLM, FloatLinear
from bitnet_onnx.operators import bf16_matmul
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.verification.compare import verify
from bitnet_onnx.weights.checkpoint.write import save_packed
from bitnet_onnx.weights.convert import convert
from bitnet_onnx.weights.open import open_checkpoint
from tests.support import checkpoints, float_networks
from tests.support import oracle_networks as oracle
from tests.support.agreement import agrees
from tests.support.checkpoints import close
from tests.support.float_networks import VARIANTS, variant
from tests.support.oracle_networks import greedy, ids_of

UP = "model.layers.1.mlp.up_proj"


def saved(folder: Path, model: Any, dtype: torch.dtype = torch.bfloat16) -> Path:
    return oracle.save(model, folder, dtype)


@pytest.mark.parametrize("name", VARIANTS)
def test_cached_steps_agree_with_transformers(tmp_path: Path, name: str) -> None:
    """Torch, the graph with and without the library, 64 steps; no tie, so no other id."""
    theirs = variant(name)
    folder = saved(tmp_path / "c", theirs)
    agrees(folder, theirs, tmp_path / "a")
    artifact = Artifact.open(tmp_path / "a")
    assert (artifact.linears, artifact.head) == ("bf16", "bf16")


@pytest.mark.parametrize("name", ["llama, tied, biases", "qwen3", "granite"])
def test_weights_that_bfloat16_does_not_hold_are_float32(tmp_path: Path, name: str) -> None:
    theirs = variant(name, torch.float32)
    folder = saved(tmp_path / "c", theirs, torch.float32)
    export(folder, tmp_path / "a")
    artifact = Artifact.open(tmp_path / "a")
    assert (artifact.linears, artifact.head) == ("float32", "float32")
    agrees(folder, theirs, tmp_path / "b", head="float32")


@pytest.mark.parametrize(
    ("name", "linears"),
    zip(["llama, tied, biases", "qwen3", "granite"], FLOAT_LINEARS, strict=True),
)
def test_the_stock_target_gives_the_ids_of_the_native_one(
    tmp_path: Path, name: str, linears: str
) -> None:
    folder = saved(tmp_path / "c", variant(name))
    found = []
    for target in ("native", "stock"):
        export(folder, tmp_path / target, target=target, linears=linears)
        session = Session(tmp_path / target, threads=1)
        logits = [session.prefill(ids_of(9, 5)[0].tolist())]
        for _ in range(12):
            logits.append(session.decode([int(logits[-1].argmax())])[0].copy())
        found.append(torch.from_numpy(np.stack(logits)))
    assert close(found[0], found[1], 1e-4 if linears == "int8" else 1e-5)  # it rounds activations
    assert found[0].argmax(-1).tolist() == found[1].argmax(-1).tolist()


@pytest.mark.parametrize("linears", ["bf16", "int8"])
def test_the_library_the_body_and_torch_give_the_same_bits(tmp_path: Path, linears: str) -> None:
    """All of the graph but SiLU, which is ONNX Runtime's in both."""
    folder = saved(tmp_path / "c", variant("granite, tied, odd multipliers, biases"))
    export(folder, tmp_path / "a", linears=linears)
    ids = ids_of(70, 3)[0].tolist()
    logits = [
        Session(tmp_path / "a", threads=threads, custom_ops=custom_ops).prefill(ids)
        for threads, custom_ops in ((1, True), (2, True), (1, False))
    ]
    assert all(np.array_equal(logits[0], other) for other in logits[1:])


def test_a_float_linear_is_the_operator_of_the_bf16_head() -> None:
    linear = FloatLinear(40, 24, bias=True).eval()
    linear.weight.data = linear.weight.data.bfloat16().float()
    assert linear.bias is not None
    linear.bias.data.normal_()
    x = torch.randn(3, 5, 40)
    with torch.no_grad():
        assert torch.equal(linear(x), bf16_matmul(x, linear.weight.bfloat16()) + linear.bias)
        trained = linear.train()(x)
    assert close(trained, linear.eval()(x).detach())


@pytest.mark.parametrize("linears", FLOAT_LINEARS)
@pytest.mark.parametrize(("target", "against"), [("native", "torch"), ("stock", "transformers")])
def test_verify_compares_with_linears_rounded_the_same_way(
    tmp_path: Path, linears: str, target: str, against: str
) -> None:
    folder = saved(tmp_path / "c", variant("llama, tied, biases", torch.float32), torch.float32)
    export(folder, tmp_path / "a", target=target, linears=linears)
    (result,) = verify(folder, tmp_path / "a", [[3, 4, 5]], 8, against=against)
    assert result.agrees, result
    assert result.ties == result.non_ties == 0
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors[f"{UP}.weight"][3] *= -1
    save_file(tensors, path, metadata={"format": "pt"})
    (result,) = verify(folder, tmp_path / "a", [[3, 4, 5]], 8)
    assert not result.agrees
    if target == "native":
        assert result.first_difference == "model.layers.1.mlp.down_proj"


def test_joined_projections_change_no_bit(tmp_path: Path) -> None:
    folder = saved(tmp_path / "c", variant("llama"))
    for linears in FLOAT_LINEARS:
        names = [f"{linears}{len(passes)}" for passes in ((), ("projections", "attention"))]
        export(folder, tmp_path / names[0], linears=linears, passes=())
        export(folder, tmp_path / names[1], linears=linears, passes=("projections", "attention"))
        found = [
            Session(tmp_path / name, threads=1).prefill(ids_of(9, 5)[0].tolist()) for name in names
        ]
        assert np.array_equal(found[0], found[1]), linears


def test_a_float_network_trains(tmp_path: Path) -> None:
    folder = saved(tmp_path / "c", variant("granite"))
    model = BitNetForCausalLM.from_checkpoint(open_checkpoint(folder))
    ids = ids_of(9, seed=0, batch=2)
    output = model.train()(ids, labels=ids)
    assert close(output.logits.detach(), model.eval()(ids).logits.detach())
    assert output.loss is not None
    output.loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


# -------------------------------------------------------------------------------- refusals


def test_options_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "c", variant("llama"))
    for linears in ("int4", "ternary", "BF16"):
        with pytest.raises(ConfigError, match=f"linears is '{linears}', expected one of: "):
            export(folder, tmp_path / "a", linears=linears)
    ternary = checkpoints.make(tmp_path / "t")
    with pytest.raises(ConfigError, match="linears is 'bf16', expected one of: ternary") as caught:
        export(ternary, tmp_path / "a", linears="bf16")
    assert caught.value.hint == "leave --linears out"
    assert not (tmp_path / "a").exists()


def test_float_linears_are_not_packed_or_written_as_gguf(tmp_path: Path) -> None:
    folder = saved(tmp_path / "c", variant("llama"))
    for to, error in (("packed", ConfigError), ("gguf", CheckpointError)):
        with pytest.raises(error, match="the linears of this 'llama' are float"):
            convert(folder, tmp_path / "o", to=to)
    with pytest.raises(ConfigError, match="the linears of this 'llama' are float"):
        save_packed(tmp_path / "o", open_checkpoint(folder).config, {})


def test_a_missing_or_unasked_bias_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "c", variant("llama, tied, biases"))
    path = folder / "model.safetensors"
    tensors = load_file(path)
    bias = tensors.pop(f"{UP}.bias")
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"lacks the tensor {UP}\.bias"):
        open_checkpoint(folder)
    save_file(tensors | {f"{UP}.bias": bias * torch.nan}, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"{UP}\.bias holds a NaN"):
        export(folder, tmp_path / "a")
    save_file(tensors | {f"{UP}.bias": bias}, path, metadata={"format": "pt"})
    fields = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(fields | {"mlp_bias": False}))
    with pytest.raises(CheckpointError, match=r"mlp\.down_proj\.bias"):
        open_checkpoint(folder)


def test_a_manifest_that_names_other_linears_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "c", variant("llama"))
    for linears in FLOAT_LINEARS:
        made = export(folder, tmp_path / linears, linears=linears)
        path = made / "manifest.json"
        fields = json.loads(path.read_text())
        for other in {"ternary", *FLOAT_LINEARS} - {linears}:
            path.write_text(json.dumps(fields | {"linears": other}))
            with pytest.raises(ArtifactError, match=f"linears is '{other}', but model.onnx has"):
                Session(made)
        path.write_text(json.dumps(fields | {"linears": "int2"}))
        with pytest.raises(ArtifactError, match="linears is 'int2', expected one of: 'ternary'"):
            Session(made)


def test_devices_get_linears_of_their_own(tmp_path: Path) -> None:
    given = dict.fromkeys(("target", "head", "linears", "kv_cache", "context_length"))
    config = open_checkpoint(saved(tmp_path / "c", variant("llama"))).config
    ternary = open_checkpoint(checkpoints.make(tmp_path / "t")).config
    for device, linears in {"android": "int8", "ios": "int8", "web": "int8", "board": None}.items():
        assert wanted(device, config, given)["linears"] == linears
        assert wanted(device, ternary, given)["linears"] is None
        assert wanted(device, config, given | {"linears": "bf16"})["linears"] == "bf16"
    assert wanted("board", config, given)["head"] is None


def test_a_prompt_in_pieces_and_greedy_ids(tmp_path: Path) -> None:
    theirs = float_networks.make("Granite", **float_networks.GRANITE)
    folder = saved(tmp_path / "c", theirs)
    export(folder, tmp_path / "a", kv_cache="float16")
    export(folder, tmp_path / "b")
    prompt = ids_of(11, 6)
    session = Session(tmp_path / "b", threads=1)
    found = prompt[0].tolist()
    session.prefill(found[:4])
    found.append(int(session.prefill(found[4:]).argmax()))
    for _ in range(15):
        found.append(int(session.decode(found[-1:])[0].argmax()))
    assert found == greedy(theirs, prompt, 16)
    ours = BitNetForCausalLM.from_checkpoint(open_checkpoint(folder))
    assert ours.generate(prompt, 16)[0].tolist() == found
    (result,) = verify(folder, tmp_path / "a", [prompt[0].tolist()], 8)
    assert result.agrees
