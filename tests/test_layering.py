"""The import order of the package, and the packages that a device's path may import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import PACKAGE

# The rooms and their files, top to bottom: a file imports only from files above it, also inside
# functions.
ROOMS = """
: errors files artifact native places cluster
network: body pooling prompts fields key_lists keys rope quantization records unsupported select
    gemma sizes hadamard mixture maple config parts
weights: ternary levels hadamard degenerate gguf.names checkpoint.base checkpoint.pickled
    checkpoint.templates checkpoint.sentence checkpoint.experts checkpoint.groups checkpoint.files
    checkpoint.hadamard checkpoint.folder checkpoint.mlx gguf.metadata
    gguf.container gguf.parts checkpoint.hub checkpoint.write gguf.blocks gguf.scales
    gguf.embedding gguf.rope gguf.multipliers gguf.hadamard gguf.config gguf.sentencepiece
    gguf.words gguf.vocabulary gguf.tokenizer gguf.text_write gguf.checkpoint gguf.write open
    convert presets synthesize
model: exact int4 layers grouped binary linears hadamard experts rotary decoder gated
    networks.bitnet networks.bitnet_b1_58 networks.llama networks.bitnet_2023 networks.qwen3
    networks.granite networks.granitemoe networks.granitemoeshared networks.minicpm
    networks.qwen3_embedding networks.gemma3_embedding networks.maple outputs causal_lm embedding .
operators: domain steps blocks norm ternary ternary_group feed_forward gated hadamard head experts
    float_experts two_step int4_head int6_head attention.parts attention.floats
    attention.int8 attention.int4 attention.qkv catalog .
runtime: owned forked integers calls hidden cache.pages cache.layout cache.state cache.reorder
    cache.growing cache.moves cache.saved wire graph cut weights cache.rotation cache.rounded
    cache.sink cache.offloaded cache.sliding cache.kinds links open binding steps users lease groups
    session vectors
text: tokenizer_class library backend template_limits template_filters template_helpers
    template_sandbox chat_input chat_template guarded replies tokenizer pieces streaming tool_calls
exporter: options defaults pooling tracing.experts tracing.rotations rope_tables traced
    tracing.repeated trace editing readers embedding
    passes.projections passes.attention passes.zeros passes.norms passes.kept stock
    save last head chat.rules chat.probes chat.learn chat.file devices describe export
embedding: model together
generation: checks largest watermarking beam_options layer_options options idle fields config
    constraints.outputs
    constraints.schemas constraints.reasons constraints.compiled extras processors.past
    processors.penalties processors.sequences processors.lengths processors.plain processors.own
    processors.greenlist processors.watermark processors.warpers processors.diversity
    constraints.follow processors.order sampling guidance leases rows strategies.single
    strategies.forks strategies.beams strategies.hypotheses strategies.forced_words
    strategies.groups strategies.constrained strategies.drafts strategies.edits
    strategies.following strategies.lookup strategies.assistant strategies.universal
    strategies.costs strategies.schedules strategies.speculation
    strategies.contrastive strategies.dola strategies.ways loop
    watermark text chat model
verification: taps reference result compare embedding
bench: measure breakdown embedding
evaluation: windows questions scorers reference perplexity pairs models accuracy lm_eval harness
serve: names server page batching.stats batching.requests batching.prefixes batching.prefix_files
    batching.pace batching.active batching.drafting batching.rows batching.filling batching.batch
    batching.scheduler
    call_form models state api.kinds api.forms api.fields api.errors api.reading api.common
    api.messages api.options api.tools api.usage api.running api.sse api.chat api.completions
    api.responses api.embeddings api.tokens api.about api.description.rules
    api.description.bodies api.description.answers api.description.openapi chat_page browser
    patience guard app connection run
    bulk.lines bulk.answers bulk.output bulk.report bulk.job bulk.tables bulk.cluster
cli: streams parsing common arguments.template arguments.options progress arguments.prompt_cache
    arguments.cluster arguments.evaluation conversation.terminal conversation.saved
    export convert generate chat embed bench verify evaluate info synthesize demo web serve batch
    main
: __main__
"""


def ordered(rooms: str) -> list[str]:
    """Return the modules of ROOMS in order; a room's ``.`` is its ``__init__.py``."""
    order, room = [], ""
    for word in rooms.split():
        if word.endswith(":"):
            room = word.removesuffix(":")
        else:
            order.append(".".join(part for part in (room, word.removeprefix(".")) if part))
    return order


ORDER = ordered(ROOMS)

# A device has none of these packages.
EXPORT_ONLY = """
torch onnx onnxscript onnx_ir safetensors ml_dtypes transformers gguf
""".split()
RUNTIME = "artifact native network.config runtime.session text.tokenizer generation.chat serve.page"

BLOCKER = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXPORT_ONLY!r}:
            raise ImportError(f"the runtime path imports {{name}}")

sys.meta_path.insert(0, Blocker())
"""


def module_of(path: Path) -> str:
    """Return "a.b" for bitnet_onnx/a/b.py, and the folder's name for an __init__.py."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return ".".join(parts)


SOURCES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
PACKAGES = frozenset(name for name, path in SOURCES.items() if path.name == "__init__.py")


def imported(tree: ast.AST, module: str, is_package: bool, known: set[str]) -> set[str]:
    """Return the modules of this package that the source imports, anywhere in the file."""
    found = set()
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = ["bitnet_onnx", *module.split(".")]
                up = node.level - 1 if is_package else node.level
                base = ".".join([*here[: len(here) - up], *([base] if base else [])])
            # `from package import name` names a module or something inside the package.
            whole = (f"{base}.{alias.name}" for alias in node.names)
            names = [n if n.removeprefix("bitnet_onnx.") in known else base for n in whole]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [named_module(node.value, module, is_package)]
        for name in names:
            inner = name.removeprefix("bitnet_onnx.")
            if inner != name and inner in known:
                found.add(inner)
    return found


def named_module(text: str, module: str, is_package: bool) -> str:
    """Return the module that a text names, as importlib takes it: "bitnet_onnx.a" or ".a"."""
    dots = len(text) - len(text.lstrip("."))
    if dots:
        here = ["bitnet_onnx", *module.split(".")]
        up = dots - 1 if is_package else dots
        return ".".join([*here[: len(here) - up], text[dots:]])
    return text


def violations(sources: dict[str, str], order: list[str], packages: frozenset[str]) -> list[str]:
    return [
        f"{module} imports {other}, which is not above it"
        for module, text in sources.items()
        for other in sorted(imported(ast.parse(text), module, module in packages, set(sources)))
        if other not in packages - set(order) and order.index(other) >= order.index(module)
    ]


def test_every_file_has_a_place_in_the_order() -> None:
    rooms = {name for name in PACKAGES if name not in ORDER}
    assert set(SOURCES) - rooms == set(ORDER)
    assert len(ORDER) == len(set(ORDER))
    for room in rooms:  # its __init__.py holds a docstring only, so it cannot hide an import
        assert len(ast.parse(SOURCES[room].read_text("utf-8")).body) <= 1 or room == "__init__"


def test_imports_point_upwards() -> None:
    sources = {name: path.read_text("utf-8") for name, path in SOURCES.items() if name in ORDER}
    assert violations(sources, ORDER, PACKAGES) == []


@pytest.mark.parametrize(
    "statement",
    [
        "import bitnet_onnx.cli",
        "from bitnet_onnx import cli",
        "from bitnet_onnx.cli import main",
        "from . import cli",
        "from .cli import main",
        "def f():\n    from .cli import main",
        "import_module('bitnet_onnx.cli')",
        "importlib.import_module('.cli', __package__)",
        "NAME = 'bitnet_onnx.cli'\n__import__(NAME)",
    ],
)
def test_an_import_of_a_lower_file_is_found(statement: str) -> None:
    order = ["errors", "cli"]
    assert violations({"errors": statement, "cli": ""}, order, frozenset())
    upward = {"cli": statement.replace("cli", "errors"), "errors": ""}
    assert not violations(upward, order, frozenset())


def test_the_package_itself_imports_nothing_eagerly() -> None:
    tree = ast.parse(SOURCES["__init__"].read_text("utf-8"))
    eager = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    names = {getattr(n, "module", None) or n.names[0].name for n in eager}
    assert names <= {"__future__", "typing", "importlib"}


def run_blocked(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BLOCKER + code], capture_output=True, text=True, cwd=PACKAGE.parent
    )


def test_the_blocker_refuses_an_import() -> None:
    done = run_blocked("import torch")
    assert done.returncode == 1
    assert "the runtime path imports torch" in done.stderr


@pytest.mark.parametrize("module", RUNTIME.split())
def test_runtime_modules_import_neither_torch_nor_onnx(module: str) -> None:
    done = run_blocked(
        f"import bitnet_onnx.{module}\n"
        f"assert not set({EXPORT_ONLY!r}) & set(sys.modules), 'imported behind the blocker'\n"
    )
    assert done.returncode == 0, done.stderr


def test_help_needs_no_heavy_import() -> None:
    """--help answers at once because it loads neither ONNX Runtime nor NumPy."""
    done = run_blocked(
        "from bitnet_onnx.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as e:\n    assert not e.code\n"
        "heavy = {'onnxruntime', 'numpy', 'tokenizers', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    assert done.returncode == 0, done.stderr
    assert "export" in done.stdout


def test_generation_imports_neither_torch_nor_onnx(demo_artifact: Path) -> None:
    done = run_blocked(
        "from bitnet_onnx.cli.main import main\n"
        f"code = main(['generate', {str(demo_artifact)!r}, 'Hello', '--max-new-tokens', '4'])\n"
        "assert not code, code\n"
    )
    assert done.returncode == 0, done.stderr
