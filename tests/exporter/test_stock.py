"""The target "stock": the integers and ids of the native target, without custom operators."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from bitnet_onnx import native
from bitnet_onnx.artifact import Artifact
from bitnet_onnx.bench.measure import bench, describe
from bitnet_onnx.cli.main import main
from bitnet_onnx.errors import ConfigError
from bitnet_onnx.exporter import export as export_module
from bitnet_onnx.exporter import stock
from bitnet_onnx.exporter.export import export
from bitnet_onnx.exporter.options import Options
from bitnet_onnx.exporter.trace import trace
from bitnet_onnx.generation.config import GenerationConfig
from bitnet_onnx.generation.loop import generate
from bitnet_onnx.network.config import BitNetConfig
from bitnet_onnx.operators import FEATURES, LANES, stock_functions
from bitnet_onnx.runtime import steps as steps_module
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.text.tokenizer import Tokenizer
from bitnet_onnx.verification.compare import CLOSE, verify
from bitnet_onnx.weights.open import open_checkpoint
from bitnet_onnx.weights.synthesize import PRESETS
from tests.support import checkpoints
from tests.support.genai import greedy as genai_greedy
from tests.support.nodes import one_node
from tests.support.oracle_networks import make_2023
from tests.support.sessions import scores

IDS = [17, 3, 88, 40, 5, 61, 29, 94, 2, 50, 77, 31, 8]
Artifacts = dict[str, Path]
FORMS = {"packed": 0, "unpacked": stock.UNPACKED}  # bytes of the largest network to unpack


# --------------------------------------------------------------------------------- one operator


def run_body(op: str, packed: bool, x: np.ndarray, made: dict[str, np.ndarray]) -> Any:
    """Run the operator's body of stock operators on X [B, S, K]."""
    rows, width, bits = len(made["W"]), x.shape[-1], 2 if op == "TernaryMatMul" else 8
    blocks = -(-width // FEATURES)
    sizes: dict[str, Any] = {"width": [width]} if op == "TernaryMatMul" else {}
    weights = made
    if packed:
        missing = [0, blocks * FEATURES - width]
        sizes = {"K": blocks * LANES, "N": rows, "bits": bits, "missing": missing}
        weight = stock.to_blocks(made["W"], width, bits)
        weights = {"W": weight, "ones": np.ones((rows, blocks), np.float32), "scale": made["scale"]}
    graph = helper.make_graph(
        [helper.make_node(op, ["X", *weights], ["Y"], domain="bitnet", **sizes)],
        "one_node",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, list("bsk"))],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    imports = [("", 23), ("bitnet", 1), ("com.microsoft", 1)]
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(*pair) for pair in imports],
        functions=[
            ir.serde.serialize_function(f) for f in stock_functions([op] * packed) if f.name == op
        ],
        ir_version=11,
    )
    return one_node.session(model.SerializeToString(), library=False).run(None, {"X": x})[0]


def same_bits(op: str, x: np.ndarray, made: dict[str, np.ndarray]) -> None:
    expected = one_node.run(op, x, made, library=True)
    for packed in (True, False):
        np.testing.assert_array_equal(run_body(op, packed, x, made), expected)


@pytest.mark.parametrize("op", ["TernaryMatMul", "Int8MatMul"])
@pytest.mark.parametrize(
    ("rows", "features"),
    [(1, 1), (3, 126), (16, 127), (17, 128), (5, 254), (33, 255), (4, 640), (7, 2560), (2, 6912)],
)
def test_a_stock_body_gives_the_bits_of_the_native_operator(
    op: str, rows: int, features: int
) -> None:
    random = np.random.default_rng(rows + features)
    x = random.standard_normal((2, 3, features), np.float32)
    x[0, 1] = 0
    x[1, 0] *= 1e-7
    x[1, 1] *= 1e30
    same_bits(op, x, one_node.constants(op, rows, features, seed=features))


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("features", [128, 2560, 6912, 16384])
def test_the_largest_possible_sums_are_exact(features: int, sign: int) -> None:
    """All activations have the largest code and all weights are equal: the sum is K * 127."""
    x = np.full((1, 2, features), sign * 3.7, np.float32)
    x[0, 1, ::2] *= -1
    for code in (-1, 1):
        packed = one_node.pack(np.full((3, features), code))
        same_bits("TernaryMatMul", x, {"W": packed, "scale": np.array([0.3], np.float32)})


def test_the_quantizer_never_gives_minus_128() -> None:
    """MatMulNBits would give a block with -128 another scale."""
    random = np.random.default_rng(0)
    peak = random.integers(0x3727C5AC, 0x7F7FFFFF, 1_000_000, np.int64).astype(np.uint32)
    peak = peak.view(np.float32)  # from 1e-5 to the largest float
    assert np.rint(peak * (np.float32(127) / peak)).max() == 127
    with np.errstate(over="ignore"):
        assert np.rint(peak * (np.float32(32512) / peak)).max() == 32512


@pytest.mark.parametrize("op", ["TernaryMatMul", "Int8MatMul"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_only_a_token_that_is_not_finite_becomes_nan(op: str, value: float) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 300), np.float32)
    x[0, 1, 299] = value
    made = one_node.constants(op, 5, 300, seed=1)
    same_bits(op, x, made)
    assert np.isnan(run_body(op, True, x, made)[0, 1]).all()


# -------------------------------------------------------------------------------- whole networks

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "bitnet": ("bf16", {"inner": 508}),
    "bitnet, tied int8": ("int8", {"hidden": 128, "inner": 252}),
    "bitnet, heads of 20": ("int8", {"hidden": 80, "tied": False}),
    "llama": ("float32", {"model_type": "llama", "hidden_act": "silu", "tied": False}),
}


def make(folder: Path, network: str) -> Path:
    _, sizes = NETWORKS[network]
    fields = checkpoints.config_fields(layers=1, **sizes)
    made = checkpoints.tensors(fields, seed=3)
    if network == "llama":
        made = {name: tensor for name, tensor in made.items() if "sub_norm" not in name}
    return checkpoints.write(folder, fields, made)


def export_all(source: Path, folder: Path, head: str = "bf16") -> Artifacts:
    """Export the native and both stock artifacts; trace once, since it takes seconds."""
    config = open_checkpoint(source).config
    graph = trace(config, Options("native", head, "float32", config.max_position_embeddings, ()))
    made = {"checkpoint": source}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_module, "trace", lambda *_: graph.clone())
        made["native"] = export(source, folder / "native", head=head)
        patch.setattr(native, "library_path", lambda: pytest.fail("the library was looked for"))
        for form, limit in FORMS.items():
            patch.setattr(stock, "UNPACKED", limit)
            made[form] = export(source, folder / form, target="stock", head=head)
    return made


@pytest.fixture(scope="module", params=NETWORKS)
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    folder = tmp_path_factory.mktemp("stock")
    source = make(folder / "checkpoint", request.param)
    return export_all(source, folder, head=NETWORKS[request.param][0])


@pytest.fixture(scope="module")
def demos(demo_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    return export_all(demo_checkpoint, tmp_path_factory.mktemp("demos"))


def greedy(
    folder: Path, prompts: list[list[int]], steps: int = 20, eos: Sequence[int] = ()
) -> list[list[int]]:
    session = Session(folder, threads=1)
    return [
        generate(session, [p], GenerationConfig(max_new_tokens=steps, eos_token_id=eos))[0].ids
        for p in prompts
    ]


def test_ids_are_those_of_the_native_artifact(
    folders: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [IDS[:1], IDS[:5], IDS]
    expected = greedy(folders["native"], prompts)
    native_session = Session(folders["native"], threads=1)
    logits = scores(native_session, IDS)
    # Two operators sum floats in another order; all others are exact.
    model = onnx.load(folders["packed"] / "model.onnx", load_external_data=False)
    inexact = {node.op_type for node in model.graph.node} & {"GroupQueryAttention", "Gemm"}
    assert bool(inexact) == (Artifact.open(folders["packed"]).head_dim != 20)
    bound = CLOSE[native_session.artifact.head] if inexact else 0.0
    for form in FORMS:
        assert greedy(folders[form], prompts) == expected
        session = Session(folders[form], threads=1)
        whole = scores(session, IDS)
        assert np.abs(whole - logits).max() <= bound * np.abs(logits).max()
        assert generate(session, prompts, GenerationConfig(max_new_tokens=20))[2].ids == expected[2]
    monkeypatch.setattr(steps_module, "CHUNK", 4)
    for form in FORMS:
        assert greedy(folders[form], prompts) == expected


def test_the_folder_holds_only_stock_operators_and_no_library(folders: Artifacts) -> None:
    for form in FORMS:
        folder = folders[form]
        onnx.checker.check_model(str(folder / "model.onnx"))
        model = onnx.load(folder / "model.onnx", load_external_data=False)
        assert {o.domain for o in model.opset_import} <= {"", "com.microsoft"}
        assert {node.domain for node in model.graph.node} <= {"", "com.microsoft"}
        assert not model.functions
        assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
        products = {node.op_type for node in model.graph.node} & {"MatMulNBits"}
        assert bool(products) == (form == "packed")
        assert not [path for path in folder.iterdir() if path.suffix in (".so", ".dylib", ".dll")]
        assert "custom_ops_library" not in (folder / "genai_config.json").read_text()
        artifact = Artifact.open(folder)
        artifact.check_hashes()
        assert artifact.target == artifact.manifest["target"] == "stock"
        plain = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        assert [i.name for i in plain.get_inputs()][:2] == ["input_ids", "attention_mask"]


def test_stock_artifacts_pass_verify(folders: Artifacts) -> None:
    for form in FORMS:
        checkpoint = open_checkpoint(folders["checkpoint"])
        (result,) = verify(checkpoint, Artifact.open(folders[form]), [IDS], 12)
        assert result.agrees, result.to_dict()


def test_the_first_bitnet_with_groups_gives_the_native_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its linears are several products over parts of K, and quantize before the operator."""
    source, _ = make_2023(tmp_path / "c", groups=4)
    expected = greedy(export(source, tmp_path / "native"), [IDS])
    for form, limit in FORMS.items():
        monkeypatch.setattr(stock, "UNPACKED", limit)
        assert greedy(export(source, tmp_path / form, target="stock"), [IDS]) == expected


def test_linears_and_head_are_unpacked_separately_by_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small network with a large vocabulary keeps its int8 table at 8 bits."""
    source = checkpoints.make(tmp_path / "c", layers=1, vocab=900)
    monkeypatch.setattr(stock, "UNPACKED", 4 * 900 * 64 - 1)
    folder = export(source, tmp_path / "a", target="stock", head="int8")
    nodes = onnx.load(folder / "model.onnx", load_external_data=False).graph.node
    products = [node for node in nodes if node.op_type == "MatMulNBits"]
    assert [[a.i for a in node.attribute if a.name == "bits"] for node in products] == [[8]]
    assert greedy(folder, [IDS]) == greedy(export(source, tmp_path / "n", head="int8"), [IDS])


# ------------------------------------------------------------------------------ the bundled model


def questions(demos: Artifacts, count: int) -> tuple[Tokenizer, list[list[int]]]:
    """Return prompts of held-out questions of every kind."""
    lines = (demos["checkpoint"] / "questions.jsonl").read_text("utf-8").splitlines()
    tokenizer = Tokenizer.from_folder(demos["native"])
    asked = [json.loads(line)["question"] for line in lines[:: len(lines) // count]]
    return tokenizer, [tokenizer.encode_chat([{"role": "user", "content": q}]) for q in asked]


def test_the_bundled_model_gives_the_native_ids_without_the_library(
    demos: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stock artifacts answer 60 questions without looking for the library."""
    tokenizer, prompts = questions(demos, 60)
    assert len(prompts) >= 60

    def answers(name: str) -> list[list[int]]:
        config = GenerationConfig(max_new_tokens=32, eos_token_id=tokenizer.eos_token_ids)
        return [result.ids for result in generate(Session(demos[name]), prompts, config)]

    expected = answers("native")
    monkeypatch.setattr(native, "library_path", lambda: pytest.fail("the library was looked for"))
    for form in FORMS:
        assert answers(form) == expected


@pytest.mark.skipif(
    find_spec("onnxruntime_genai") is None, reason="onnxruntime-genai is not installed"
)
def test_onnxruntime_genai_gives_the_native_ids(demos: Artifacts) -> None:
    """onnxruntime-genai leaves out the eos that ended an answer."""
    tokenizer, prompts = questions(demos, 6)
    expected = [
        [token for token in ids if token not in tokenizer.eos_token_ids]
        for ids in greedy(demos["native"], prompts, 24, tokenizer.eos_token_ids)
    ]
    for form in FORMS:
        assert genai_greedy(demos[form], prompts, 24) == expected


# ------------------------------------------------------------------------------- the command line


def test_commands_run_on_a_stock_artifact(
    demos: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(demos["unpacked"])
    assert main(["generate", folder, "What is 27 + 5?"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "32"
    assert main(["info", folder, "--check"]) == 0
    assert '"target": "stock"' in capsys.readouterr().out
    assert main(["verify", str(demos["checkpoint"]), folder, "--max-new-tokens", "4"]) == 0
    result = bench(folder, threads=1, prompt_tokens=4, new_tokens=2, runs=1)
    assert result.kernel == "stock"
    # The weights were unpacked to float32, so the file's size is not what a token reads.
    assert result.weight_bytes_per_token is result.bandwidth_share is None
    assert "weights read     not known" in describe(result)


def test_networks_and_heads_without_a_stock_form_are_refused(tmp_path: Path) -> None:
    source = checkpoints.make_grouped(tmp_path / "c")
    with pytest.raises(ConfigError, match="group_size is 128, which no stock operator") as caught:
        export(source, tmp_path / "a", target="stock")
    assert caught.value.hint == "export with --target native"
    plain = checkpoints.make(tmp_path / "d")
    with pytest.raises(ConfigError, match="head is 'two-step', which only the custom operator"):
        export(plain, tmp_path / "a", target="stock", head="two-step")
    with pytest.raises(ConfigError, match="target is 'web', expected one of: native, stock"):
        export(source, tmp_path / "a", target="web")
    assert main(["export", str(source), "-o", str(tmp_path / "a"), "--target", "stock"]) == 2
    assert not (tmp_path / "a").exists()


# ---------------------------------------------------------------------------- what a browser holds


def test_a_network_too_large_for_webassembly_is_refused(tmp_path: Path, capsys: Any) -> None:
    source = make(tmp_path / "checkpoint", "bitnet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stock, "MEMORY", 10_000)
        command = ["export", str(source), "-o", str(tmp_path / "out"), "--target", "stock"]
        assert main(command) == 2
    said = capsys.readouterr().err
    assert "expected at most 0.0 GB for a browser" in said
    assert "--head int8" in said
    assert not (tmp_path / "out").exists()


def test_the_shape_of_2b_4t_is_not_refused() -> None:
    config = BitNetConfig.from_dict({"model_type": "bitnet", **PRESETS["2b-4t"]})
    for head in ("int8", "bf16"):
        stock.check_network(config, Options("stock", head, "float32", None, ()))
    assert 0.8e9 < stock.memory(config, "int8") < 0.9e9


def test_a_split_data_file_gives_the_same_ids(tmp_path: Path) -> None:
    source = make(tmp_path / "checkpoint", "bitnet")
    whole = export(source, tmp_path / "whole", target="stock")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_module, "PART", 20_000)
        split = export(source, tmp_path / "split", target="stock")
    parts = {path.name for path in split.glob("*data*")}
    assert len(parts) > 1
    numbers = ["", *(f"_{number}" for number in range(1, len(parts)))]
    assert parts == {f"model.onnx_data{number}" for number in numbers}
    assert Artifact.open(split).data_size == Artifact.open(whole).data_size
    ids = [
        generate(Session(folder), [IDS], GenerationConfig(max_new_tokens=8, eos_token_id=()))[0].ids
        for folder in (whole, split)
    ]
    assert ids[0] == ids[1]
