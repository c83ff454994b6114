"""Count how often heads of fewer bits choose another id than the bf16 head, on hidden states.

``python -m benchmarks.heads random`` takes random rows. ``python -m benchmarks.heads demo`` takes
the bundled model, and ``python -m benchmarks.heads FILE.gguf`` a model that transformers reads,
both over the text of ``--text``, by default the topics of Python's own help. For the two-step heads
it also counts positions where one of the 64 largest logits was not read from the bf16 table.
``--start`` continues a text, and --format json prints what can be added up.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper

from bitnet_onnx import native
from bitnet_onnx import operators as ops
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.operators.catalog import OPERATORS
from bitnet_onnx.text.tokenizer import Tokenizer
from bitnet_onnx.weights.levels import level_bounds, level_rows, row_deviations
from bitnet_onnx.weights.open import open_checkpoint
from bitnet_onnx.weights.ternary import int8_rows, row_bounds

SEQUENCE, BATCH = 512, 4  # positions of a context; contexts at a time
AT_ONCE = 128  # positions of a head's call
DEMO = Path(__file__).parent.parent / "bitnet_onnx" / "demo"

Network = tuple[torch.Tensor, Callable[[int], list[int]], Callable[[torch.Tensor], torch.Tensor]]
"""A head's table, ids [n] of the text from a position on, and the head's input of ids."""


def random_network(rows: int, width: int) -> Network:
    random = torch.Generator().manual_seed((1 << 31) - 1)
    table = (torch.randn(rows, width, generator=random) * 0.02).to(torch.bfloat16)

    def states(ids: torch.Tensor) -> torch.Tensor:
        seeded = torch.Generator().manual_seed(int(ids[0, 0]))  # a position
        return torch.randn(*ids.shape, width, generator=seeded)

    return table, lambda count: list(range(count)), states


def demo_network(text: str) -> Network:
    checkpoint = open_checkpoint(DEMO)
    network = BitNetForCausalLM.from_checkpoint(checkpoint)
    ids = Tokenizer.from_folder(DEMO).encode(text)

    def states(ids: torch.Tensor) -> torch.Tensor:
        kept: list[torch.Tensor] = []
        hook = network.model.norm.register_forward_hook(lambda *args: kept.append(args[2]))
        network(ids)
        hook.remove()
        return kept[0]

    table = checkpoint.tensor(checkpoint.parts.head).to(torch.bfloat16)
    return table, lambda count: ids[:count], states


def gguf_network(path: Path, text: str) -> Network:
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source: dict[str, Any] = {"gguf_file": path.name}
    network = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **source)
    ids = AutoTokenizer.from_pretrained(path.parent, **source)(text)["input_ids"]
    table = network.lm_head.weight.detach().to(torch.bfloat16)
    return table, lambda count: ids[:count], lambda ids: network.model(ids).last_hidden_state


def head(op: str, inputs: dict[str, np.ndarray], counters: native.Counters) -> ort.InferenceSession:
    """Return a session of one operator; ``inputs`` are its weights, in the operator's order."""
    (operator,) = (one for one in OPERATORS if one.name == op)
    names = list(operator.inputs)
    constants = [
        numpy_helper.from_array(a, n) for n, a in zip(names[1:], inputs.values(), strict=True)
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("X", "Y"))
    graph = helper.make_graph(
        [helper.make_node(op, names, ["Y"], domain=ops.DOMAIN)], "head", [x], [y], constants
    )
    imports = [helper.make_opsetid("", ops.OPSET), helper.make_opsetid(ops.DOMAIN, ops.VERSION)]
    functions = [ir.serde.serialize_function(f) for f in ops.functions()]
    model = helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=11)
    options = ort.SessionOptions()
    options.add_session_config_entry(*counters.session_entry)  # before the library
    options.register_custom_ops_library(str(native.library_path()))
    return ort.InferenceSession(model.SerializeToString(), options)


def heads(table: torch.Tensor) -> dict[str, tuple[ort.InferenceSession, native.Counters]]:
    """Return a session of each head by its name, with the counters of what it reads."""
    w = table.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
    rounded, scales = int8_rows(table)
    int8 = {"scan": rounded.numpy(), "scale": scales.numpy()}
    bounds = row_bounds(table, rounded, scales).numpy()
    levels = {bits: level_rows(table, bits) for bits in (4, 6)}
    few = {bits: {n: a.numpy() for n, a in r._asdict().items()} for bits, r in levels.items()}
    proven = level_bounds(table, levels[6]).numpy()
    deviations = row_deviations(table, levels[4]).numpy()
    made = {
        "int8": ("Int8MatMul", int8),
        "int6": ("Int6MatMul", few[6]),
        "int4": ("Int4MatMul", few[4]),
        "two-step": ("TwoStepMatMul", {"w": w, **int8, "bound": bounds}),
        "two-step-int6": ("TwoStepInt6MatMul", {"w": w, **few[6], "bound": proven}),
        "two-step-int4": ("TwoStepInt4MatMul", {"w": w, **few[4], "bound": deviations}),
    }
    counters = {name: native.Counters() for name in made}
    return {name: (head(op, a, counters[name]), counters[name]) for name, (op, a) in made.items()}


def positions(network: Network, start: int, count: int) -> Iterator[torch.Tensor]:
    """Yield the head's inputs [n, K] of ``count`` positions; contexts have 512 positions."""
    _, text, states = network
    ids = text(start + count)[start:]
    for begin in range(0, len(ids) - SEQUENCE + 1, SEQUENCE * BATCH):
        some = torch.tensor(ids[begin : begin + SEQUENCE * BATCH])
        whole = some[: len(some) // SEQUENCE * SEQUENCE].view(-1, SEQUENCE)
        with torch.no_grad():
            yield from states(whole).flatten(0, 1).split(AT_ONCE)


def count(network: Network, start: int, wanted: int) -> dict[str, Any]:
    """Count over ``wanted`` positions; "among 64" are those with a logit that is not bf16's."""
    table = network[0].float()
    made = heads(network[0])
    found: dict[str, dict[str, int]] = {name: {"ids": 0, "among 64": 0} for name in made}
    total = 0
    for x in positions(network, start, wanted):
        exact = x @ table.T
        largest = exact.topk(min(64, len(table)))
        best, close = largest.indices[:, 0], 1e-5 * exact.abs().amax(1)
        total += len(x)
        for name, (session, _) in made.items():
            logits = torch.from_numpy(session.run(None, {"X": x.numpy()})[0])
            other = logits.argmax(1)
            near = exact.gather(1, other[:, None])[:, 0] >= largest.values[:, 0] - close
            found[name]["ids"] += int(((other != best) & ~near).sum())
            apart = (logits.gather(1, largest.indices) - largest.values).abs() > close[:, None]
            found[name]["among 64"] += int(apart.any(1).sum())
    read = {name: counters.skipped().head for name, (_, counters) in made.items()}
    size = 2 * table.shape[1]
    for name in found:
        if name.startswith("two-step"):
            found[name]["rows read"] = total * len(table) - read[name] // size
    return {"positions": total, "rows": len(table), "features": table.shape[1], "heads": found}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.heads", description=__doc__)
    parser.add_argument("network", help="random, demo, or a GGUF file")
    parser.add_argument("--text", type=Path)
    parser.add_argument("--start", type=int, default=0, help="the first position of the text")
    parser.add_argument("--positions", type=int, default=20480)
    parser.add_argument("--rows", type=int, default=128256, help="of random rows")
    parser.add_argument("--features", type=int, default=2560, help="of random rows")
    args = parser.parse_args()
    if args.network not in ("random", "demo") and not Path(args.network).is_file():
        parser.error(f"the network {args.network} is not a file, expected random, demo or a file")
    if args.text is not None and not args.text.is_file():
        parser.error(f"--text is {args.text}, expected a file")
    if args.start < 0 or args.positions < SEQUENCE:
        parser.error(f"expected a --start of 0 or more and at least {SEQUENCE} --positions")
    if args.text is None:
        from pydoc_data.topics import topics

        text = "\n".join(topics.values())
    else:
        text = args.text.read_text("utf-8")
    if args.network == "random":
        network = random_network(args.rows, args.features)
    elif args.network == "demo":
        network = demo_network(text)
    else:
        network = gguf_network(Path(args.network), text)
    found = count(network, args.start, args.positions)
    if not found["positions"]:
        parser.error(f"the text ends before {SEQUENCE} positions after --start {args.start}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
