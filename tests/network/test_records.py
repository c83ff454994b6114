"""Each network has one record and one file, and no other file has its name in a text."""

from __future__ import annotations

import ast
import re

import pytest

from bitnet_onnx.network.config import BitNetConfig
from bitnet_onnx.network.parts import parts_of
from bitnet_onnx.network.records import RECORDS
from tests.support.checkpoints import config_fields
from tests.support.paths import PACKAGE

NAMES = {name for r in RECORDS.values() for name in (r.name, r.model_type, r.architecture)}
# "bitnet" is a word of many sentences, so it counts only where it is the whole text, and llama.cpp
# is a program.
WORDS = re.compile(
    "|".join(rf"(?<![\w-]){re.escape(n)}(?![\w-]|\.cpp)" for n in NAMES - {"bitnet"})
)
# Lines where such a text means something else, or gives the default.
OTHER_MEANINGS = {
    'DOMAIN = "bitnet"',
    'DOMAIN = b"bitnet"',
    '"quant_method": "bitnet",',
    'read.one_of(section, f"{NAME}.quant_method", ("bitnet",), "bitnet")',
    'read.one_of(section, f"{NAME}.quant_method", ("bitnet", None), None)',
    'section: dict[str, Any] = {"quant_method": "bitnet", "quantization_mode": "offline"}',
    'network: str = "bitnet"',
    'fields = {"model_type": "bitnet", "quantization_config": quantization, **PRESETS[preset]}',
    '"model_type": "granitemoe",',
    '"model_type": "qwen3",',
    '"architectures": ["Qwen3Model"],',
    '"model_type": "gemma3_text",',
    'SENTENCEPIECE = "llama"  # its name in tokenizer.ggml.model',
    'BPE, SENTENCEPIECE = "gpt2", "llama"',
    '__all__ = ["IGNORED", "BitNetForCausalLM", "BitNetModel"]',
    '"BitNetForCausalLM",',
}


def named(source: str) -> list[str]:
    """Return the lines of a source that hold a network's name, outside its docstrings."""
    tree, lines = ast.parse(source), source.splitlines()
    docstrings = {
        id(statement.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in node.body
        if isinstance(statement, ast.Expr)
    }
    found = []
    for node in ast.walk(tree):
        text = node.arg if isinstance(node, ast.keyword) else getattr(node, "value", None)
        if isinstance(text, bytes):
            text = text.decode("latin-1")
        if not isinstance(text, str) or id(node) in docstrings:
            continue
        line = lines[node.lineno - 1].strip()  # type: ignore[attr-defined]
        if (text in NAMES or WORDS.search(text)) and line not in OTHER_MEANINGS:
            found.append(line)
    return found


def test_only_the_records_name_networks() -> None:
    own = {PACKAGE / "network" / "records.py", *(PACKAGE / "model" / "networks").glob("*.py")}
    sources = set(PACKAGE.rglob("*.py")) - own
    assert len(sources) > 50
    found = {path.name: named(path.read_text("utf-8")) for path in sources}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        "x == 'llama'",
        "'qwen3' != x",
        "x in ('minicpm', 'y')",
        "{'bitnet_2023': 1}",
        "table['qwen3']",
        "match x:\n    case 'llama': pass",
        "x.startswith('qwen3')",
        "NAMES = ('qwen3', 'llama')\nx in NAMES",
        "QWEN = 'qwen3'",
        "table.get('llama')",
        "getattr(table, 'minicpm')",
        "dict(llama=1)",
        "re.match('^(qwen3|llama)$', x)",
        "x in {'llama'}",
        "x in frozenset(['LlamaForCausalLM'])",
        "x == b'llama'",
        "x == 'Qwen3ForCausalLM'",
        "x.model_type == 'bitnet'",
        "def f(x='llama'): pass",
        "f'{x}' == f'llama'",
    ],
)
def test_the_name_of_a_network_is_found(source: str) -> None:
    assert named(source)


def test_docstrings_and_other_words_are_no_names() -> None:
    assert not named('"""As llama."""\ndef f():\n    """qwen3"""\nclass A:\n    """minicpm"""')
    assert not named("'bitnet-onnx', 'llama-bpe', 'bitnet::rms_norm', 'llama3', f(minicpm_x=1)")


@pytest.mark.parametrize("name", RECORDS)
def test_each_network_has_a_file_and_a_config(name: str) -> None:
    record = RECORDS[name]
    assert (PACKAGE / "model" / "networks" / f"{name}.py").is_file()
    fields = config_fields(
        hidden=256, inner=256, model_type=record.model_type, hidden_act=record.hidden_act,
        architectures=[record.architecture],
    )  # fmt: skip
    if record.weights != "ternary":
        del fields["quantization_config"]
    fields[record.inner_field] = 256
    config = BitNetConfig.from_dict(fields)
    assert config.record is record
    assert BitNetConfig.from_dict(config.to_dict()) == config
    assert parts_of(config) is parts_of(BitNetConfig.from_dict(config.to_dict()))


def test_every_network_file_has_a_record() -> None:
    files = {path.stem for path in (PACKAGE / "model" / "networks").glob("*.py")} - {"__init__"}
    assert files == set(RECORDS)
