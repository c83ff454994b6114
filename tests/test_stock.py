"""The target "stock": the same integers and ids as the native one, and nothing of ours inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import one_node
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from bitnet_onnx import native, stock
from bitnet_onnx import session as session_module
from bitnet_onnx.artifact import Artifact
from bitnet_onnx.bench import bench
from bitnet_onnx.checkpoint import open_checkpoint
from bitnet_onnx.cli import main
from bitnet_onnx.errors import ConfigError
from bitnet_onnx.export import export
from bitnet_onnx.generate import generate
from bitnet_onnx.session import Session
from bitnet_onnx.stock_ops import FEATURES, LANES, bodies
from bitnet_onnx.tokenizer import Tokenizer
from bitnet_onnx.verify import verify

IDS = [17, 3, 88, 40, 5, 61, 29, 94, 2, 50, 77, 31, 8]
FORMS = {"packed": 0, "unpacked": stock.UNPACKED}  # the largest network to be unpacked, in bytes


# --------------------------------------------------------------------------------- one operator


def run_body(op: str, packed: bool, x: np.ndarray, made: dict[str, np.ndarray]) -> Any:
    """The operator's body on stock operators, X [B, S, K]."""
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
        functions=[ir.serde.serialize_function(f) for f in bodies(packed) if f.name == op],
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
def test_an_operator_gives_the_native_bits(op: str, rows: int, features: int) -> None:
    random = np.random.default_rng(rows + features)
    x = random.standard_normal((2, 3, features), np.float32)
    x[0, 1] = 0
    x[1, 0] *= 1e-7
    x[1, 1] *= 1e30
    same_bits(op, x, one_node.constants(op, rows, features, seed=features))


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("features", [128, 2560, 6912, 16384])
def test_the_largest_sums(features: int, sign: int) -> None:
    """All activations the largest code and all weights alike: K * 127."""
    x = np.full((1, 2, features), sign * 3.7, np.float32)
    x[0, 1, ::2] *= -1
    for code in (-1, 1):
        packed = one_node.pack(np.full((3, features), code))
        same_bits("TernaryMatMul", x, {"W": packed, "scale": np.array([0.3], np.float32)})


def test_the_quantizer_never_gives_minus_128() -> None:
    """A block that held it would get another scale from MatMulNBits."""
    random = np.random.default_rng(0)
    peak = random.integers(0x3727C5AC, 0x7F7FFFFF, 1_000_000, np.int64).astype(np.uint32)
    peak = peak.view(np.float32)  # from 1e-5 to the largest
    assert np.rint(peak * (np.float32(127) / peak)).max() == 127
    with np.errstate(over="ignore"):
        assert np.rint(peak * (np.float32(32512) / peak)).max() == 32512


@pytest.mark.parametrize("op", ["TernaryMatMul", "Int8MatMul"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_token_that_is_not_finite_is_nan_and_no_other(op: str, value: float) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 300), np.float32)
    x[0, 1, 299] = value
    made = one_node.constants(op, 5, 300, seed=1)
    same_bits(op, x, made)
    assert np.isnan(run_body(op, True, x, made)[0, 1]).all()


# -------------------------------------------------------------------------------- whole networks

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "bitnet": ("bf16", {}),
    "bitnet, tied int8": ("int8", {"hidden": 128, "inner": 508}),
    "bitnet, untied int8, K of one block": ("int8", {"tied": False, "hidden": 96, "heads": 2}),
    "bitnet, heads of 20": ("int8", {"hidden": 80, "inner": 252}),
    "llama": ("bf16", {"model_type": "llama", "hidden_act": "silu", "tied": False}),
    "float32": ("float32", {"kv_heads": 4}),
}


def make(folder: Path, network: str) -> Path:
    _, sizes = NETWORKS[network]
    fields = checkpoints.config_fields(**sizes)
    made = checkpoints.tensors(fields, seed=3)
    if network == "llama":
        made = {name: tensor for name, tensor in made.items() if "sub_norm" not in name}
    return checkpoints.write(folder, fields, made)


@pytest.fixture(scope="module", params=NETWORKS)
def folders(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A checkpoint with its artifacts: native, and stock in both forms."""
    folder = tmp_path_factory.mktemp("stock")
    head = NETWORKS[request.param][0]
    source = make(folder / "checkpoint", request.param)
    made = {"checkpoint": source, "native": export(source, folder / "native", head=head)}
    for form, limit in FORMS.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stock, "UNPACKED", limit)
            made[form] = export(source, folder / form, target="stock", head=head)
    return made


def greedy(folder: Path, prompts: list[list[int]], steps: int = 20) -> list[list[int]]:
    session = Session(folder, threads=1)
    return [generate(session, [prompt], max_new_tokens=steps)[0].ids for prompt in prompts]


def test_ids_are_those_of_the_native_artifact(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [IDS[:1], IDS[:5], IDS]
    expected = greedy(folders["native"], prompts)
    logits = Session(folders["native"], threads=1).score(IDS)
    for form in FORMS:
        assert greedy(folders[form], prompts) == expected
        session = Session(folders[form], threads=1)
        whole = session.score(IDS)
        assert np.abs(whole - logits).max() <= 1e-5 * np.abs(logits).max()
        assert generate(session, prompts, max_new_tokens=20)[2].ids == expected[2]
    monkeypatch.setattr(session_module, "PREFILL_CHUNK", 4)
    for form in FORMS:
        assert greedy(folders[form], prompts) == expected


def test_nothing_of_ours_is_in_the_folder(folders: dict[str, Path]) -> None:
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


def test_verify(folders: dict[str, Path]) -> None:
    for form in FORMS:
        checkpoint = open_checkpoint(folders["checkpoint"])
        (result,) = verify(checkpoint, Artifact.open(folders[form]), [IDS], 12)
        assert result.agrees, result.to_dict()


def test_attention_of_odd_heads_is_ours_to_the_bit(tmp_path: Path) -> None:
    """Heads of 20 elements run the stock body of our own operator, an int8 head is exact too."""
    source = make(tmp_path / "c", "bitnet, heads of 20")
    folders = [export(source, tmp_path / t, target=t, head="int8") for t in ("native", "stock")]
    found, expected = (Session(folder, threads=1).score(IDS) for folder in folders)
    np.testing.assert_array_equal(found, expected)


# ------------------------------------------------------------------------------ the bundled model


@pytest.mark.parametrize("form", FORMS)
def test_the_bundled_model(
    demo_checkpoint: Path,
    demo_artifact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
) -> None:
    """Its answers to 60 held-out questions, in a process without our library."""
    questions = (demo_checkpoint / "questions.jsonl").read_text("utf-8").splitlines()[::20]
    tokenizer = Tokenizer.from_folder(demo_artifact)
    prompts = [
        tokenizer.encode_chat([{"role": "user", "content": json.loads(line)["question"]}])
        for line in questions
    ]
    assert len(prompts) == 60
    session = Session(demo_artifact)
    stop = {"max_new_tokens": 32, "eos_token_id": tokenizer.eos_token_ids}
    expected = [result.ids for result in generate(session, prompts, **stop)]
    monkeypatch.setattr(stock, "UNPACKED", FORMS[form])
    monkeypatch.setattr(native, "library_path", lambda: pytest.fail("the library was looked for"))
    folder = export(demo_checkpoint, tmp_path / "a", target="stock")
    found = [result.ids for result in generate(Session(folder), prompts, **stop)]
    assert found == expected


# ------------------------------------------------------------------------------- the command line


def test_commands(
    demo_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "a")
    assert main(["export", str(demo_checkpoint), "-o", folder, "--target", "stock"]) == 0
    assert main(["generate", folder, "What is 27 + 5?"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "32"
    assert main(["info", folder, "--check"]) == 0
    assert '"target": "stock"' in capsys.readouterr().out
    assert main(["verify", str(demo_checkpoint), folder, "--max-new-tokens", "4"]) == 0
    result = bench(folder, threads=1, prompt_tokens=4, new_tokens=2, runs=1)
    assert result.kernel == "stock"


def test_what_is_refused(tmp_path: Path) -> None:
    source = checkpoints.make_grouped(tmp_path / "c")
    with pytest.raises(ConfigError, match="a scale for each 128 weights") as caught:
        export(source, tmp_path / "a", target="stock")
    assert caught.value.hint == "export with --target native"
    with pytest.raises(ConfigError, match="target is 'web', expected one of: native, stock"):
        export(source, tmp_path / "a", target="web")
    assert not (tmp_path / "a").exists()
