"""The table of mobile_demo/README.md: `make measure-web`, or ARGS="--runs 1" for a quick look.

Exports the bundled model and random weights in the shape 100m, both without an end token, so that
every run takes the same number of steps. Chromium measures them with 1 and 2 threads in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bitnet_onnx.exporter.export import export  # noqa: E402
from bitnet_onnx.weights.synthesize import synthesize  # noqa: E402

DEMO = ROOT / "bitnet_onnx" / "demo"
ROWS = {
    "start, weights stored": ("load_seconds", "{:.1f} s"),
    "first token, 24 prompt tokens": ("first_token_seconds", "{:.2f} s"),
    "prefill, 128 tokens": ("prefill", "{:.0f} tokens/s"),
    "decode, 128 steps": ("decode", "{:.0f} tokens/s"),
    "memory of the runtime": ("memory", "{:.0f} MB"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="medians are over this many runs")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shutil.copytree(DEMO, folder / "bundled-checkpoint")
        synthesize("100m", folder / "random-checkpoint")
        sizes = {}
        for name in ("bundled", "random"):
            checkpoint = folder / f"{name}-checkpoint"
            without_end(checkpoint)
            head = "bf16" if name == "bundled" else "int8"
            artifact = export(checkpoint, folder / name, target="stock", head=head)
            sizes[name] = sum(path.stat().st_size for path in artifact.iterdir()) / 1e6
        output = folder / "figures.json"
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        given = {
            "PATH": path,
            "PYTHON": sys.executable,
            "BITNET_ONNX_MEASURE": json.dumps(
                {"folder": temporary, "runs": args.runs, "threads": args.threads}
            ),
        }
        command = ["npm", "run", "--silent", "measure"]
        subprocess.run(
            command, cwd=ROOT / "mobile_demo" / "web", env=os.environ | given, check=True
        )
        show(json.loads(output.read_text("utf-8")), sizes)


def without_end(checkpoint: Path) -> None:
    """Give the checkpoint the bundled tokenizer, and nothing that ends an answer."""
    shutil.copyfile(DEMO / "tokenizer.json", checkpoint / "tokenizer.json")
    (checkpoint / "tokenizer_config.json").write_text("{}")
    (checkpoint / "generation_config.json").write_text("{}")
    (checkpoint / "chat_template.jinja").unlink(missing_ok=True)


def show(figures: dict[str, list[dict[str, Any]]], sizes: dict[str, float]) -> None:
    """A Markdown table; a column is `model, threads`."""
    heads = [f"{name}, {sizes[name.partition(',')[0]]:.1f} MB" for name in figures]
    print("| | " + " | ".join(heads) + " |")
    print("|---|" + "---|" * len(figures))
    for label, (field, form) in ROWS.items():
        cells = [form.format(median(run[field] for run in runs)) for runs in figures.values()]
        print(f"| {label} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
