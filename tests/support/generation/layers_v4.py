"""Write layers_v4.json: what transformers 4.45.2 finds by contrastive search and by DoLa.

Both have left transformers 5. Run it where transformers 4.45.2 and torch are installed:
``python -m tests.support.generation.layers_v4``. Logits and hidden states are hashes of the ids.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.generation.toy_states import toy_head, toy_logits, toy_states

VOCAB, PAD = 20, 19
FILE = Path(__file__).with_suffix(".json")
CASES = 120
# Beside other things, how many layers "low" and "high" name, and where they begin.
SHAPES = [(1, False), (1, True), (2, True), (2, False), (4, True), (5, False), (6, True),
          (9, False), (30, True), (40, False), (41, True), (44, False)]  # fmt: skip


def options(seed: int) -> dict[str, Any]:
    r = random.Random(seed)
    values: dict[str, Any] = {
        "max_new_tokens": r.choice([2, 7, 12, 20]),
        "eos_token_id": r.choice([[3], [3, 11], [11, 3, 5], None]),
        "pad_token_id": PAD,
    }
    others = {
        "no_repeat_ngram_size": 2, "repetition_penalty": 1.2, "min_new_tokens": 3,
        "bad_words_ids": [[5, 6], [9]], "sequence_bias": [[[3], 2.5], [[4, 8], -3.0]],
        "suppress_tokens": [7, 12],
    }  # fmt: skip
    if seed % 2:
        values |= {
            "penalty_alpha": r.choice([0.1, 0.4, 0.6, 0.9, 1.0]),
            "top_k": r.choice([2, 4, 9]),
        }
    else:
        layers = [r.randrange(48) for _ in range(r.randint(1, 4))] + [0]
        values["dola_layers"] = r.choice(["low", "high", layers])
        others["forced_eos_token_id"] = 3
    values.update({name: value for name, value in others.items() if r.random() < 0.25})
    return {name: value for name, value in values.items() if value is not None}


def toy_model(layers: int, tied: bool) -> Any:
    import torch
    from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import CausalLMOutputWithPast

    output: Any = CausalLMOutputWithPast  # older types than those of transformers 5

    class ToyModel(PreTrainedModel, GenerationMixin):
        config_class = PretrainedConfig

        def __init__(self) -> None:
            config: Any = PretrainedConfig()
            config.num_hidden_layers, config.tie_word_embeddings = layers, tied
            config.vocab_size = VOCAB
            super().__init__(config)
            table = torch.from_numpy(toy_head(VOCAB))
            self.head = torch.nn.Linear(table.shape[1], table.shape[0], bias=False)
            self.head.weight = torch.nn.Parameter(table)

        def get_output_embeddings(self) -> Any:
            return self.head

        def prepare_inputs_for_generation(
            self, input_ids: Any, past_key_values: Any = None, **model_kwargs: Any
        ) -> dict[str, Any]:
            past = past_key_values if model_kwargs["use_cache"] else None
            return {"input_ids": input_ids, "past_key_values": past}

        def forward(
            self, input_ids: Any, past_key_values: Any = None, attention_mask: Any = None, **_: Any
        ) -> Any:
            """The cache holds the ids."""
            new = input_ids
            if past_key_values is not None:
                input_ids = torch.cat([past_key_values[0][0][:, 0, :, 0].long(), input_ids], 1)
            ends = range(input_ids.shape[1] - new.shape[1] + 1, input_ids.shape[1] + 1)
            rows = [[row[:end] for end in ends] for row in input_ids.tolist()]
            logits = np.array([[toy_logits(ids, VOCAB) for ids in row] for row in rows])
            states = np.array([[toy_states(ids, layers + 1) for ids in row] for row in rows])
            kept = input_ids[:, None, :, None].double()
            return output(
                logits=torch.from_numpy(logits),
                past_key_values=((kept, kept),),
                hidden_states=tuple(torch.from_numpy(states).unbind(2)),
            )

    return ToyModel().eval()


def main() -> None:
    import torch
    import transformers

    assert transformers.__version__ == "4.45.2", transformers.__version__
    cases = list[dict[str, Any]]()
    for seed in range(CASES):
        r, values = random.Random(-seed - 1), options(seed)
        layers, tied = SHAPES[seed // 2 % len(SHAPES)]
        searches = "penalty_alpha" in values
        length, count = r.randint(1, 6), r.randint(1, 3) if searches else 1
        prompts = [[r.randrange(VOCAB) for _ in range(length)] for _ in range(count)]
        with torch.no_grad():
            found = toy_model(layers, tied).generate(
                torch.tensor(prompts),
                attention_mask=torch.ones(count, length, dtype=torch.long),
                generation_config=transformers.GenerationConfig(**values),
                use_cache=searches,
            )
        ids = [row[length:] for row in found.tolist()]
        case = {"layers": layers, "tied": tied, "prompts": prompts, "ids": ids}
        cases.append({"options": values, **case})
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    FILE.write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
