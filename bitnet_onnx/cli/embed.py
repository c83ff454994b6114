"""``bitnet-onnx embed``: turn texts into vectors, or into a table of their similarity."""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import GenerationError
from .arguments.cluster import THREADS, add_cluster, place_of
from .common import add_format, say
from .streams import lines_of, stdin_lines

if TYPE_CHECKING:
    import numpy as np

HELP = "turn texts into vectors"
DESCRIPTION = "Turn texts into vectors, of which similar texts have similar ones."
SHOWN = 24  # characters of a text that a table shows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", type=Path, help="a folder made by: bitnet-onnx export")
    parser.add_argument("--threads", type=int, default=0, help=THREADS)
    parser.add_argument("texts", nargs="*", help="texts; default: the lines of stdin")
    parser.add_argument("--file", type=Path, help="a text file, one text a line")
    parser.add_argument(
        "--prompt-name", help="which of the artifact's prompts goes before each text"
    )
    parser.add_argument(
        "--dimensions", type=int, help="keep so many numbers of each vector; default: all"
    )
    parser.add_argument("--batch-size", type=int, help="texts that are computed together")
    add_format(parser, "json", "npy", "table")
    parser.add_argument(
        "-o",
        "--output",
        type=lambda text: None if text == "-" else Path(text),
        help="the file to write; default, and -: stdout, but not for npy",
    )
    add_cluster(parser)


def run(args: argparse.Namespace) -> None:
    if args.format == "npy" and args.output is None:
        raise GenerationError(
            "--format npy is given without --output, expected the file to write",
            hint="add -o vectors.npy",
        )
    texts = _texts(args)
    from ..artifact import EMBEDDING, Artifact
    from ..embedding.model import EmbeddingModel, open_sessions
    from ..files import new_file
    from ..runtime.vectors import BATCH, VectorSession

    artifact = Artifact.open(args.artifact).of_task(EMBEDDING)
    with (
        EmbeddingModel(VectorSession(artifact, threads=args.threads)) as model,
        place_of(args, [args.artifact], open_sessions) as place,
    ):
        batch = BATCH if args.batch_size is None else args.batch_size
        vectors = model.embed(texts, args.prompt_name, args.dimensions, batch, place)
    content = FORMS[args.format](texts, vectors)
    if args.output is not None:
        with new_file(args.output) as file:
            file.write_bytes(content)
        say(f"wrote {len(texts)} vectors of {vectors.shape[1]} numbers to {args.output}")
    else:
        sys.stdout.write(content.decode())


def _texts(args: argparse.Namespace) -> list[str]:
    if args.texts and args.file is not None:
        raise GenerationError("texts and --file are both given, expected one of them")
    if args.texts:
        return list(args.texts)
    texts = lines_of(args.file) if args.file else [t for t in stdin_lines() if t.strip()]
    if not texts:
        raise GenerationError("there are no texts, expected at least one")
    return texts


def _json(texts: list[str], vectors: np.ndarray) -> bytes:
    """One object a line; each number is the shortest that reads back as the same float32."""
    escaped = str(getattr(sys.stdout, "encoding", "utf-8")).lower() != "utf-8"
    lines = []
    for number, (text, vector) in enumerate(zip(texts, vectors, strict=True)):
        shown = json.dumps(text, ensure_ascii=escaped)
        numbers = ", ".join(str(x) for x in vector)
        lines.append(f'{{"index": {number}, "text": {shown}, "embedding": [{numbers}]}}\n')
    return "".join(lines).encode()


def _npy(texts: list[str], vectors: np.ndarray) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.save(file, vectors)
    return file.getvalue()


def _table(texts: list[str], vectors: np.ndarray) -> bytes:
    """The cosine of each pair of texts."""
    from ..embedding.model import unit

    vectors = unit(vectors)
    width = max(min(max(map(len, texts)), SHOWN), 4)
    lines = [" " * width + "".join(f"{number:8}" for number in range(len(texts)))]
    for number, (text, vector) in enumerate(zip(texts, vectors, strict=True)):
        label = text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
        cosines = vectors.astype(float) @ vector.astype(float)
        lines.append(f"{label:<{width}}" + "".join(f"{x:8.4f}" for x in cosines) + f"  {number}")
    return ("\n".join(line.rstrip() for line in lines) + "\n").encode()


FORMS = {"json": _json, "npy": _npy, "table": _table}
