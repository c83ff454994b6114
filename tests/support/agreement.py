"""Compare many cached steps of one network, computed in every way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from bitnet_onnx.exporter.export import export
from bitnet_onnx.model import BitNetForCausalLM
from bitnet_onnx.runtime.session import Session
from bitnet_onnx.weights.open import open_checkpoint
from tests.support.checkpoints import close
from tests.support.oracle_networks import ids_of

STEPS = 64
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}


@torch.no_grad()
def agrees(folder: Path, theirs: Any, artifact: Path, head: str = "bf16", vocab: int = 96) -> None:
    """Compare 64 cached steps of torch, of ONNX with and without the library, and of the oracle.

    All are fed the oracle's choice, but a random id in every fourth step: random networks soon
    repeat themselves.
    """
    ours = BitNetForCausalLM.from_checkpoint(open_checkpoint(folder))
    export(folder, artifact, head=head)
    sessions = [Session(artifact, threads=1, custom_ops=custom_ops) for custom_ops in (True, False)]
    others, past, cache = ids_of(STEPS, 7, vocab=vocab)[0], None, None
    ids, chosen = ids_of(9, 5, vocab=vocab), set()
    for step in range(STEPS):
        output = theirs(ids, past_key_values=cache, use_cache=True)
        cache, expected = output.past_key_values, output.logits[0, -1]
        found = ours(ids, past_key_values=past)
        past = found.past_key_values
        results = [found.logits[0, -1]]
        results += [torch.from_numpy(session.prefill(ids[0].tolist())) for session in sessions]
        for result in results:
            assert close(result, expected)
            assert result.argmax() == expected.argmax()
        chosen.add(int(expected.argmax()))
        ids = others[step].view(1, 1) if step % 4 == 3 else expected.argmax().view(1, 1)
    assert len(chosen) > 8
