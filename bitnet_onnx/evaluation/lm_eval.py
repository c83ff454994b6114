"""An artifact as a model of lm-evaluation-harness: ``--model bitnet-onnx``.

Knows the harness's requests; ``pairs.py`` and the loaded model compute them. The harness knows its
own models alone by name, so ``python -m bitnet_onnx.evaluation.lm_eval`` is its command line with
this one beside them; in Python, import this module before ``lm_eval.simple_evaluate``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)
from lm_eval.utils import (
    get_rolling_token_windows,
    make_disjoint_window,
    simple_parse_args_string,
)
from tqdm import tqdm

from ..errors import ConfigError, GenerationError, TokenizerError
from ..files import read_object
from ..generation.config import GenerationConfig
from ..generation.model import Model
from ..places import Here, Place
from ..runtime.integers import integer
from ..text.chat_template import DEFAULT, read_templates
from .accuracy import BATCH
from .models import open_model
from .pairs import Likelihood, Pair, eos_id, likelihoods, prefix_id
from .scorers import ModelScorer

__all__ = ["NAME", "BitNetLM"]

NAME = "bitnet-onnx"
NEW_TOKENS = 256  # of an answer, where the task says nothing; as in the harness's HFLM
TAG = "CONTINUE_FINAL_MESSAGE_TAG "  # transformers' mark of where the last message ends


@register_model(NAME)
class BitNetLM(TemplateLM):
    """The numbers are those of the harness's own model ``hf`` for the same checkpoint.

    Requests are computed in the order of their ids, so that a context that several have in common
    is computed once. Answers are generated in batches of similar length.
    """

    def __init__(
        self,
        artifact: str | Path | Model,
        threads: int = 0,
        batch_size: int | str | None = None,
        max_length: int | None = None,
        prefix_token_id: int | None = None,
        ignore_generation_config: bool = False,
        max_batch_size: int | None = None,
        device: str | None = None,
        place: Place | None = None,
        **others: Any,
    ) -> None:
        """Open an artifact, or take a loaded model.

        batch_size: answers that are generated together; "auto" is 8, or max_batch_size where that
        is less. max_length: tokens of a context, by default the artifact's. prefix_token_id: what
        is before a text without a context, by default bos or else eos. As transformers does, it
        reads generation_config.json, unless ignore_generation_config. device has no effect: the
        harness names one also where none was asked for. place: what computes, whose first model is
        a ModelScorer of the artifact, with its options; by default this process.
        """
        super().__init__()
        for name in others:
            raise ConfigError(
                f"the model argument {name} is unknown, expected artifact, threads, batch_size, "
                "max_batch_size, max_length, prefix_token_id, ignore_generation_config or device"
            )
        config = GenerationConfig() if ignore_generation_config else None
        if not isinstance(artifact, Model):
            artifact = open_model(artifact, threads, config)
        self.model = artifact
        self.batch_size = _batch_size(batch_size, max_batch_size)
        context = self.model.session.context_length
        self.max_length = context if max_length is None else integer("max_length", max_length)
        if not 2 <= self.max_length <= context:
            raise ConfigError(f"max_length is {max_length}, expected 2 to the context of {context}")
        self._scorer = ModelScorer(self.model)
        self._place: Place = Here([self._scorer]) if place is None else place
        self._prefix = prefix_token_id

    @classmethod
    def create_from_arg_string(
        cls, arg_string: str, additional_config: dict[str, Any] | None = None
    ) -> BitNetLM:
        """Return a model of arguments as the harness's command writes them."""
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(
        cls, arg_dict: dict[str, Any], additional_config: dict[str, Any] | None = None
    ) -> BitNetLM:
        """Return a model of arguments, which go before the command's own options.

        The command always passes its batch_size, which is 1 where none was asked for.
        """
        if "artifact" not in arg_dict:
            raise ConfigError("the model argument artifact is missing, expected a folder")
        of_command = {k: v for k, v in (additional_config or {}).items() if v is not None}
        return cls(**{**of_command, **arg_dict})

    @property
    def eot_token_id(self) -> int | None:
        return eos_id(self.model.tokenizer)

    @property
    def prefix_token_id(self) -> int:
        return prefix_id(self.model.tokenizer) if self._prefix is None else self._prefix

    @property
    def tokenizer_name(self) -> str:
        """What tells caches of requests apart."""
        return self.model.session.artifact.fingerprint

    def get_model_info(self) -> dict[str, Any]:
        """Return what the results say of the model."""
        artifact = self.model.session.artifact
        names = ("network", "target", "head", "linears", "kv_cache", "source")
        fields = {f"model_{name}": artifact.manifest[name] for name in names}
        return {**fields, "model_sha": artifact.fingerprint}

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """Return the ids of a text, with one bos where the tokenizer puts one."""
        return self.model.tokenizer.encode(string, add_special_tokens is not False)

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[Any, list[int], list[int]]],
        disable_tqdm: bool = False,
        **_: Any,
    ) -> list[tuple[float, bool]]:
        pairs = []
        for _texts, context, continuation in requests:
            ids = [*context, *continuation][-(self.max_length + 1) :]
            pairs.append(Pair(ids, max(len(ids) - len(continuation), 1)))
        with tqdm(total=len(pairs), desc="likelihoods", disable=disable_tqdm) as bar:

            def done(number: int, found: Likelihood) -> None:
                if (texts := requests[number][0]) is not None:
                    self.cache_hook.add_partial("loglikelihood", texts, tuple(found))
                bar.update()

            return [
                (sum_, greedy)
                for sum_, greedy in likelihoods(self._scorer, pairs, done, self._place)
            ]

    def loglikelihood_rolling(
        self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
        """Return the log-likelihood of each text, in windows that score each token once."""
        cut, counts = [], []
        for request in requests:
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            found = [(None, *make_disjoint_window(window)) for window in windows]
            cut += found
            counts.append(len(found))
        scores = iter(self._loglikelihood_tokens(cut, disable_tqdm))
        sums = []
        for request, count in zip(requests, counts, strict=True):
            sums.append(sum(next(scores)[0] for _ in range(count)))
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, sums[-1])
        return sums

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Return the continuation of each context, cut at the first text of ``until``."""
        texts = [""] * len(requests)
        prompts = [self.tok_encode(request.args[0]) for request in requests]
        order = sorted(range(len(requests)), key=lambda number: -len(prompts[number]))
        groups: dict[str, list[int]] = {}
        for number in order:  # one batch has one set of options
            groups.setdefault(repr(requests[number].args[1]), []).append(number)
        batches = [
            numbers[start : start + self.batch_size]
            for numbers in groups.values()
            for start in range(0, len(numbers), self.batch_size)
        ]
        items = [
            self._asked([prompts[number] for number in batch], requests[batch[0]].args[1])
            for batch in batches
        ]
        with tqdm(total=len(requests), desc="answers", disable=disable_tqdm) as bar:
            for place, found in self._place.each(_answers, items):
                for number, text in zip(batches[place], found, strict=True):
                    texts[number] = postprocess_generated_text(text, items[place].until, None)
                    whole = requests[number].args, texts[number]
                    self.cache_hook.add_partial("generate_until", *whole)
                bar.update(len(found))
        return texts

    def _asked(self, prompts: list[list[int]], options: Mapping[str, Any]) -> _Asked:
        """Return prompts with what their task's options ask for."""
        changes: dict[str, Any] = dict(normalize_gen_kwargs(dict(options), NEW_TOKENS))
        eos, tokenizer = self.eot_token_id, self.model.tokenizer
        end = None if eos is None else tokenizer.decode([eos], skip_special_tokens=False)
        until = [text for text in handle_stop_sequences(changes.pop("until"), end) if text]
        new = changes.pop("max_gen_toks")
        if not changes["do_sample"]:
            changes.pop("temperature", None)
        if (room := self.max_length - new) < 1:
            raise GenerationError(
                f"max_gen_toks is {new}, expected less than the context of {self.max_length}",
                hint="set it in the generation_kwargs of the task",
            )
        changes |= {"max_new_tokens": new, "stop_strings": tuple(until)}
        return _Asked([prompt[-room:] for prompt in prompts], until, changes)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Return the text of a chat; one without a generation prompt ends in its last message."""
        messages = [dict(message) for message in chat_history]
        if not add_generation_prompt:
            messages[-1]["content"] += TAG
        try:
            text = self.model.tokenizer.render_chat(messages, add_generation_prompt)
        except TokenizerError:
            messages = [message for message in messages if message["role"] != "system"]
            text = self.model.tokenizer.render_chat(messages, add_generation_prompt)
        if add_generation_prompt:
            return text
        before, _, after = text.rpartition(TAG.rstrip())
        kept = after.startswith(TAG[len(TAG.rstrip()) :])
        return before if kept else before.rstrip()

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return the template's source, which the results hold."""
        if chat_template is False or chat_template is None:
            return None
        if isinstance(chat_template, str):
            raise ConfigError(
                f"the chat template {chat_template!r} is asked for, expected the artifact's own",
                hint="ask for the chat template without a name",
            )
        folder = self.model.session.artifact.folder
        config = read_object(folder / "tokenizer_config.json", TokenizerError)
        return (read_templates(folder, config) or {}).get(DEFAULT)


class _Asked(NamedTuple):
    """Prompts that are answered together, the texts that end an answer, and the options."""

    prompts: list[list[int]]
    until: list[str]
    options: dict[str, Any]


def _answers(models: Sequence[ModelScorer], asked: _Asked) -> list[str]:
    """Return the answers, also with the text that ended them."""
    model = models[0].model
    results = model.generate_batch(asked.prompts, **asked.options)
    return [model.tokenizer.decode(result.result.ids) for result in results]


def _batch_size(given: int | str | None, most: int | None) -> int:
    if given is None or (isinstance(given, str) and given.startswith("auto")):
        return BATCH if most is None else min(BATCH, _positive("max_batch_size", most))
    return _positive("batch_size", given)


def _positive(name: str, given: int | str) -> int:
    """Return a number that may come as text, as on the harness's command line."""
    if isinstance(given, str) and given.isdigit():
        given = int(given)
    if (number := integer(name, given)) < 1:
        raise ConfigError(f"{name} is {number}, expected 1 or more")
    return number


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()
