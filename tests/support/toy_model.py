"""transformers' own ``generate`` over logits that are a hash of the ids: the outside oracle."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.text.fakes import fake_logits


@cache
def toy_model(vocab: int) -> Any:
    """Return a model of transformers whose logits are ``fake_logits``."""
    pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
    from transformers.modeling_outputs import CausalLMOutput

    class ToyModel(PreTrainedModel, GenerationMixin):
        config_class = PretrainedConfig
        main_input_name = "input_ids"

        def __init__(self) -> None:
            config: Any = PretrainedConfig()
            config.vocab_size = vocab
            super().__init__(config)
            self.anchor = torch.nn.Parameter(torch.zeros(1))

        def prepare_inputs_for_generation(self, input_ids: Any, **_: Any) -> dict[str, Any]:
            return {"input_ids": input_ids}

        def forward(self, input_ids: Any, **_: Any) -> CausalLMOutput:
            rows = np.stack([fake_logits(row.tolist(), vocab) for row in input_ids])
            return CausalLMOutput(logits=torch.from_numpy(rows)[:, None])

    return ToyModel()


def transformers_generate(
    vocab: int, prompt: list[int], source: Path | dict[str, Any], **arguments: Any
) -> Any:
    """Return what ``generate`` makes of a generation_config.json, or of its values."""
    model = toy_model(vocab)
    import torch
    from transformers import GenerationConfig

    if isinstance(source, Path):
        model.generation_config = GenerationConfig.from_pretrained(source)
    else:
        model.generation_config = GenerationConfig(**source)
    torch.manual_seed(1)
    return model.generate(
        torch.tensor([prompt]),
        return_dict_in_generate=True,
        output_scores=True,
        use_cache=False,
        **arguments,
    )


def transformers_processors(
    vocab: int, prompt: list[int], values: dict[str, Any], **arguments: Any
) -> Any:
    """Return the list that ``generate`` makes of options; it is called with (ids, scores)."""
    model = toy_model(vocab)
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    defaults = {"top_k": 50} if values.get("do_sample") else {}
    config = GenerationConfig(**{**defaults, **values})
    model._prepare_special_tokens(config, device="cpu")
    config.max_length = len(prompt) + (config.max_new_tokens or 256)
    if config.min_new_tokens is not None:
        config.min_length = config.min_new_tokens + len(prompt)
    arguments["logits_processor"] = LogitsProcessorList(arguments.get("logits_processor", ()))
    config.num_beams = config.num_beams or 1
    config.num_return_sequences = config.num_return_sequences or 1
    return model._get_logits_processor(
        config,
        input_ids_seq_length=len(prompt),
        encoder_input_ids=torch.tensor([prompt]),
        device="cpu",
        model_kwargs={},
        **arguments,
    )
