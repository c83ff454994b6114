"""transformers' own ``generate`` over the logits of ``FakeSession``: the oracle of its options."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from tests.support.text_fakes import fake_logits


class FakeModel(PreTrainedModel, GenerationMixin):
    """A model without weights; its logits are a hash of the ids."""

    config_class = PretrainedConfig
    main_input_name = "input_ids"

    def __init__(self, vocab_size: int) -> None:
        super().__init__(PretrainedConfig())
        self.anchor = torch.nn.Parameter(torch.zeros(1))
        self.vocab_size = vocab_size

    def prepare_inputs_for_generation(self, input_ids: Any, **_: Any) -> dict[str, Any]:
        return {"input_ids": input_ids}

    def forward(self, input_ids: Any, **_: Any) -> CausalLMOutput:
        rows = [fake_logits(row.tolist(), self.vocab_size) for row in input_ids]
        return CausalLMOutput(logits=torch.from_numpy(np.stack(rows))[:, None])


def transformers_generate(folder: Any, prompt: list[int], vocab: int, **options: Any) -> Any:
    """Return what ``generate`` returns with a folder's file, as a dictionary."""
    model = FakeModel(vocab)
    model.generation_config = GenerationConfig.from_pretrained(folder)
    return model.generate(
        torch.tensor([prompt]), return_dict_in_generate=True, output_scores=True, use_cache=False,
        **options,
    )  # fmt: skip
