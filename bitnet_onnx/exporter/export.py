"""Export a checkpoint to an artifact folder: trace, edit the graph, pack the weights, describe.

Each step has a file in this package. Weights are read and written one at a time. ``artifact.py``
and docs/artifact.md describe the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import onnx_ir as ir

from .. import native
from ..artifact import OUTPUTS, SCALED_CACHES, data_files
from ..errors import ConfigError
from ..files import forget, new_folder
from ..weights.checkpoint.base import Checkpoint
from ..weights.open import open_checkpoint
from .defaults import default_head, default_linears
from .describe import describe
from .embedding import embedding_readers, trace_embedding
from .head import save_head
from .last import save_last
from .options import FLOAT_LINEARS, PASSES, Options
from .passes.attention import join_attention
from .passes.kept import keep_positions
from .passes.norms import fuse_norms
from .passes.projections import fuse_projections
from .passes.zeros import skip_zeros
from .pooling import chosen_pooling, embedding_options
from .readers import Readers, weight_readers
from .save import save
from .stock import PART, check_network, to_stock
from .trace import attach_functions, trace

__all__ = ["export"]

EDITS: dict[str, Callable[[ir.Model, Readers], None]] = {
    "projections": fuse_projections,
    "attention": join_attention,
    "zeros": skip_zeros,
    "norms": fuse_norms,
    "kept": keep_positions,
}
STOCK_EDITS = ("projections", "kept")  # the other edits make operators without a stock form
assert tuple(EDITS) == PASSES


def export(
    checkpoint: Checkpoint | str | Path,
    output: str | Path,
    *,
    target: str = "native",
    head: str | None = None,
    linears: str | None = None,
    kv_cache: str = "float32",
    context_length: int | None = None,
    pooling: str | None = None,
    outputs: str = OUTPUTS[0],
    revision: str | None = None,
    ignore_keys: Collection[str] = (),
    allow_degenerate: bool = False,
    passes: Collection[str] = PASSES,
    copy_library: bool = True,
    progress: bool = False,
) -> Path:  # long: its docstring says what each of fourteen options means
    """Write the artifact folder ``output`` and return it.

    checkpoint: an open one, or a folder, a .gguf file, or a Hugging Face Hub id, of which
    ``revision`` is a branch, tag or commit.
    target: ``native`` needs the operators of the custom-op library; ``stock`` has only stock
    operators, for runtimes that load no library (``stock.py``).
    head: ``bf16``, the default, keeps the table's stored bits; in a network with float linears the
    default is float32 for tables that it does not hold. ``int8`` rounds each row to 8 bits.
    ``float32`` is for tables that bfloat16 does not hold. ``two-step`` adds to bf16 a scan of
    int8 rows that finds the rows to read: the same 64 largest logits from fewer bytes.
    ``two-step-int6`` scans 6 bits a weight: fewer bytes, more arithmetic for several rows.
    ``two-step-int4`` scans 4 bits, and its bound is statistical. ``int6`` and ``int4``
    round the head to so few bits a weight, and leave a tied embedding as it is.
    linears: for networks with float linears, or with float activations and code times scale, which
    are then float linears, too. ``bf16`` and ``float32`` hold their weights; the default is bf16
    where that changes none, else float32. A bf16 that is asked for may round. ``int8`` rounds each
    row to 8 bits and activations to 16.
    kv_cache: ``float16`` rounds keys and values: half the memory, and half the bytes that a step
    reads of them. ``int8`` keeps 8-bit codes and a scale for each position and head: a quarter,
    and integer sums (``model/exact.py``). ``int4`` keeps 4-bit codes, a multiplier for each 16 of
    them and the scale: a seventh. onnxruntime-genai cannot feed an int8 or int4 cache.
    pooling: of a network that embeds texts, ``last`` or ``mean``; by default what the checkpoint's
    files say, or else last.
    outputs: ``hidden-states`` gives, beside the logits and for the same positions, the input of
    each layer and that of the head. Contrastive search and DoLa need them.
    ignore_keys, allow_degenerate: what ``open_checkpoint`` takes, where the checkpoint is not open.
    context_length: positions that may be fed, by default the config's max_position_embeddings.
    passes: the passes to run, of those whose operators the target has. They do not change a bit of
    the results, but for float sums of stock operators, which follow the number of rows.
    copy_library: put this platform's custom-op library into the folder, for other clients.
    Raises ConfigError, CheckpointError or LibraryError; nothing half-written stays behind.
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(
            checkpoint,
            revision=revision,
            ignore_keys=ignore_keys,
            allow_degenerate=allow_degenerate,
        )
    elif revision is not None or ignore_keys or allow_degenerate:
        raise ConfigError(
            "the checkpoint is open already, expected no revision, ignore_keys or allow_degenerate",
            hint="give them to open_checkpoint",
        )
    if linears in FLOAT_LINEARS:
        checkpoint = checkpoint.with_float_linears()
    config, pooled = checkpoint.config, chosen_pooling(checkpoint, pooling)
    options = Options(
        target,
        default_head(checkpoint) if head is None else head,
        kv_cache,
        context_length,
        tuple(passes),
        default_linears(checkpoint) if linears is None else linears,
        outputs,
    )
    if pooled is not None:
        options = embedding_options(checkpoint, options, pooled)
    options = options.for_network(config)
    stock = options.target == "stock"
    if stock:
        check_network(config, options)
    library = None if stock else native.library_path()
    with new_folder(Path(output)) as folder:
        readers = weight_readers(checkpoint, options)
        if pooled is None:
            graph = trace(config, options)
        else:
            graph = trace_embedding(config, options, pooled)
            embedding_readers(checkpoint, options, pooled, readers)
        for name, edit in EDITS.items():
            if name in options.passes and (name in STOCK_EDITS or not stock):
                edit(graph, readers)
        if stock:
            to_stock(graph, config, options, readers)
        else:
            attach_functions(graph)
        save(graph, readers, folder, PART if stock else None, progress)
        if pooled is None and options.kv_cache not in SCALED_CACHES:
            save_last(folder)  # no client that needs it can feed the scales of a cache
        if options.outputs == OUTPUTS[1]:
            save_head(folder, config)
        describe(folder, checkpoint, options, library if copy_library else None, pooled)
    for name in data_files(Path(output)):
        forget(Path(output) / name)
    return Path(output)
