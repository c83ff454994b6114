"""onnxruntime-genai in a process of its own: it brings an ONNX Runtime that must not meet ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

GREEDY = """
import json, sys
import onnxruntime_genai as genai
model = genai.Model(sys.argv[1])
answers = []
for prompt in json.loads(sys.argv[2]):
    params = genai.GeneratorParams(model)
    params.set_search_options(max_length=len(prompt) + int(sys.argv[3]), do_sample=False)
    generator = genai.Generator(model, params)
    generator.append_tokens(prompt)
    while not generator.is_done():
        generator.generate_next_token()
    answers.append([int(token) for token in generator.get_sequence(0)[len(prompt):]])
print(json.dumps(answers))
"""


def greedy(folder: Path, prompts: list[list[int]], steps: int) -> list[list[int]]:
    done = subprocess.run(
        [sys.executable, "-c", GREEDY, str(folder), json.dumps(prompts), str(steps)],
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answers: list[list[int]] = json.loads(done.stdout)
    return answers
