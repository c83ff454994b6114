"""Write beams_v4.json: what transformers 4.45.2 finds with groups of beams and with forced words.

Both searches have left transformers 5. Run it where transformers 4.45.2 and torch are installed:
``python tests/support/generation/beams_v4.py``. The logits are those of ``fake_logits``.
"""

from __future__ import annotations

import json
import random
import zlib
from pathlib import Path
from typing import Any

import numpy as np

VOCAB, PAD = 20, 19
FILE = Path(__file__).with_suffix(".json")
CASES = 160


def fake_logits(ids: Any, vocab_size: int) -> np.ndarray:
    """As in tests/support/text/fakes.py, which needs packages that 4.45.2 excludes."""
    seed = zlib.crc32(np.asarray(ids, dtype=np.int64).tobytes())
    return np.random.default_rng(seed).standard_normal(vocab_size).astype(np.float32)


def options(seed: int) -> dict[str, Any]:
    r = random.Random(seed)
    values: dict[str, Any] = {
        "max_new_tokens": r.choice([2, 5, 9, 14]),
        "length_penalty": r.choice([0.0, 1.0, -1.0, 2.0, 0.5]),
        "early_stopping": r.choice([True, False, "never"]),
        "eos_token_id": r.choice([[3], [3, 11], [11, 3, 5], None]),
    }
    others = {
        "no_repeat_ngram_size": 2, "repetition_penalty": 1.3, "min_new_tokens": 2,
        "forced_eos_token_id": 3, "bad_words_ids": [[5, 6], [9]],
        "sequence_bias": [[[3], 2.5], [[4, 8], -3.0]],
    }  # fmt: skip
    values.update({name: value for name, value in others.items() if r.random() < 0.15})
    if seed % 2:
        groups, size = r.choice([(2, 1), (2, 2), (3, 1), (3, 2), (2, 3)])
        values |= {
            "num_beam_groups": groups, "num_beams": groups * size,
            "diversity_penalty": r.choice([0.3, 1.0, 5.0]), "pad_token_id": r.choice([None, PAD]),
        }  # fmt: skip
    else:
        # A forced eos leaves scores of -inf, which torch.topk has in no certain order.
        values.pop("forced_eos_token_id", None)
        values |= {"num_beams": r.choice([2, 3, 5]), "force_words_ids": words(r)}
    values["num_return_sequences"] = r.randint(1, values["num_beams"])
    return {name: value for name, value in values.items() if value is not None}


def words(r: random.Random) -> list[Any]:
    def phrase() -> list[int]:
        return [r.choice([4, 6, 7, 8, 12, 13]) for _ in range(r.randint(1, 3))]

    found = list[Any]()
    for _ in range(r.randint(1, 2)):
        if r.random() < 0.5:
            found.append(phrase())
        else:
            first = r.randrange(12, 18)
            found.append([[first, 6], [first, 7, 8], [18]][: r.randint(1, 3)])
    return found


def main() -> None:
    import torch
    import transformers
    from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import CausalLMOutput

    assert transformers.__version__ == "4.45.2", transformers.__version__

    class ToyModel(PreTrainedModel, GenerationMixin):
        config_class = PretrainedConfig

        def __init__(self) -> None:
            config: Any = PretrainedConfig()
            config.vocab_size = VOCAB
            super().__init__(config)
            self.anchor = torch.nn.Parameter(torch.zeros(1))

        def prepare_inputs_for_generation(self, input_ids: Any, **_: Any) -> dict[str, Any]:
            return {"input_ids": input_ids}

        def forward(self, input_ids: Any, **_: Any) -> CausalLMOutput:
            rows = np.stack([fake_logits(row.tolist(), VOCAB) for row in input_ids])
            return CausalLMOutput(logits=torch.from_numpy(rows)[:, None])

    model, cases = ToyModel(), list[dict[str, Any]]()
    for seed in range(CASES):
        r, values = random.Random(-seed - 1), options(seed)
        prompt = [r.randrange(VOCAB) for _ in range(r.randint(1, 5))]

        def run(scores: bool, prompt: list[int] = prompt, values: dict[str, Any] = values) -> Any:
            return model.generate(
                torch.tensor([prompt]),
                generation_config=GenerationConfig(**values),
                return_dict_in_generate=True,
                output_scores=scores,
                use_cache=False,
            )

        try:
            found = run(True)
            scores = [float(score) for score in found.sequences_scores]
        except RuntimeError:  # it cannot write the scores of answers without all words
            found, scores = run(False), None
        ids = [row[len(prompt) :] for row in found.sequences.tolist()]
        cases.append({"options": values, "prompt": prompt, "ids": ids, "scores": scores})
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    FILE.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
