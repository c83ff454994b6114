"""The options of generation, with the names and meanings of transformers.

Knows numbers and ``generation_config.json``; does not know the model or the tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence  # noqa: F401 - types of the options name both
from dataclasses import dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import GenerationError
from ..files import read_object, write_text
from .checks import as_list
from .fields import known, refused, unknown
from .options import ASSISTED, BEAMS, LOOKBEHIND, LOOKUP, SAMPLING, Options
from .watermarking import WatermarkingConfig

__all__ = ["FILE", "NEW_TOKENS", "SAMPLING", "GenerationConfig"]

FILE = "generation_config.json"
NEW_TOKENS = 256  # the limit where no option gives one


@dataclass(frozen=True)
class GenerationConfig(Options):
    """Options of generation; names and defaults are those of transformers' GenerationConfig.

    A wrong value raises a GenerationError that names the option, the value and the expected ones.
    """

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The tokens of eos_token_id; none where it is None."""
        given = self.eos_token_id
        return given if isinstance(given, tuple) else ()

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn; a temperature of 0 leaves only the likeliest one."""
        return self.do_sample and self.temperature > 0

    @property
    def guides(self) -> bool:
        """Whether guidance_scale acts."""
        return self.guidance_scale is not None and self.guidance_scale != 1

    def limit(self, prompt_tokens: int) -> int:
        """Return the largest number of new tokens after a prompt."""
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        if self.max_length is None:
            return NEW_TOKENS
        if prompt_tokens >= self.max_length:
            raise GenerationError(
                f"the prompt has {prompt_tokens} tokens, expected fewer than max_length "
                f"{self.max_length}",
                hint="give max_new_tokens instead, which does not count the prompt",
            )
        return self.max_length - prompt_tokens

    def changed(self, **changes: Any) -> GenerationConfig:
        """Return a copy with some options changed.

        As in transformers' generate, ``eos_token_id=None`` means here that no token ends an answer.
        Raises GenerationError for an unknown name, and for an option of sampling that would have
        no effect because ``do_sample`` is neither on nor among the changes.
        """
        for name in changes:
            if name not in _NAMES:
                raise GenerationError(
                    f"{name} is not an option of generation, expected one of: {', '.join(_NAMES)}"
                )
        if changes.get("max_length") is not None:  # it goes before a limit asked for earlier
            changes = {"max_new_tokens": None, **changes}
        if "eos_token_id" in changes and changes["eos_token_id"] is None:
            changes["eos_token_id"] = ()
        changed = replace(self, **changes)
        if (idle := changed.idle_of_beams(changes)) is not None:
            raise GenerationError(
                f"{idle} is {changes[idle]!r} but acts only in a search of beams, expected"
                " num_beams of at least 2 with it",
                hint="add num_beams=4",
            )
        if ignored := changed.ignored(changes):
            raise GenerationError(
                f"{ignored} is {changes[ignored]!r} but acts only when sampling, expected "
                "do_sample=True with it",
                hint="add do_sample=True",
            )
        return changed

    def ignored(self, changes: Mapping[str, Any]) -> str | None:
        """Return the first of the changes that has no effect; ``do_sample`` among them allows all.

        With a temperature of 0 an option of sampling is not ignored: greedy is what it tends to.
        """
        if self.do_sample or "do_sample" in changes or self.temperature == 0:
            return None
        return next((n for n in changes if n in SAMPLING and changes[n] is not None), None)

    def idle_of_beams(self, changes: Mapping[str, Any]) -> str | None:
        """Return the first of the changes that has no effect because there are no beams."""
        if self.num_beams > 1 or "num_beams" in changes:
            return None
        return next((n for n in changes if n in BEAMS and changes[n] is not None), None)

    def idle(self, changes: Mapping[str, Any], assisted: bool) -> tuple[str, str] | None:
        """Return the first of the changes that acts only on drafts that are not made, and what
        makes them."""
        looks_up = bool(self.prompt_lookup_num_tokens)
        needs = dict.fromkeys(LOOKUP, "" if looks_up else "prompt_lookup_num_tokens")
        needs |= dict.fromkeys(LOOKBEHIND, "" if assisted else "assistant_model")
        assisted = assisted or self.assistant_early_exit is not None
        needs |= dict.fromkeys(ASSISTED, "" if assisted else "assistant_model")
        if not looks_up and not assisted:
            needs["num_assistant_tokens_schedule"] = "prompt_lookup_num_tokens"
        given = (name for name in changes if changes[name] is not None)
        return next(((name, needs[name]) for name in given if needs.get(name)), None)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerationConfig:
        """Take the fields of a generation_config.json; None means the default.

        Raises GenerationError for a field that changes the answer and is not implemented. Fields
        that transformers does not know have no effect, as there.
        """
        if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
            raise GenerationError(f"the options are {values!r}, expected a mapping of names")
        if found := refused(values):
            name, value = found
            raise GenerationError(
                f"{name} is {value!r} in {FILE} and is not implemented, expected the file without "
                "it",
                hint="load(artifact, generation_config=GenerationConfig()) and the command line's "
                "--ignore-generation-config do not read the file",
            )
        return cls(**{n: v for n, v in values.items() if n in _NAMES and v is not None})

    @classmethod
    def from_file(cls, path: str | Path) -> GenerationConfig:
        """Read a generation_config.json, or the one in a folder."""
        if not isinstance(path, (str, PathLike)):
            raise GenerationError(f"the path of {FILE} is {path!r}, expected a path")
        path = Path(path)
        path = path / FILE if path.is_dir() else path
        try:
            return cls.from_dict(read_object(path, GenerationError))
        except GenerationError as error:
            named = str(path) in str(error)
            raise (error if named else GenerationError(f"{path}: {error}", error.hint)) from None

    @classmethod
    def of_folder(cls, folder: Path) -> tuple[GenerationConfig, list[str]]:
        """Return the options of a folder's file, and the fields in it that have no effect.

        A folder without the file gives the defaults.
        """
        if not (folder / FILE).exists():
            return cls(), []
        return cls.from_file(folder), unknown(read_object(folder / FILE, GenerationError), _NAMES)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of a generation_config.json: the options that are not defaults."""
        default = GenerationConfig()
        changed = {n: getattr(self, n) for n in _NAMES if getattr(self, n) != getattr(default, n)}
        if isinstance(watermark := self.watermarking_config, WatermarkingConfig):
            changed["watermarking_config"] = watermark.to_dict()
        return {n: as_list(v) for n, v in changed.items()}

    def save(self, path: str | Path) -> None:
        """Write a generation_config.json, or the one in a folder."""
        path, text = Path(path), json.dumps(self.to_dict(), indent=2) + "\n"
        path = path / FILE if path.is_dir() else path
        try:
            write_text(path, text)
        except OSError as error:
            raise GenerationError(
                f"{path} cannot be written: {error.strerror or error}, expected a path in a folder "
                "that exists"
            ) from None


def checked(config: GenerationConfig | None) -> GenerationConfig | None:
    """Return the options of a call; raise GenerationError where they are something else."""
    if config is None or isinstance(config, GenerationConfig):
        return config
    raise GenerationError(
        f"config is {config!r}, expected a GenerationConfig",
        hint="pass options as keywords, or GenerationConfig.from_dict(...)",
    )


_NAMES = tuple(field.name for field in fields(GenerationConfig))
assert not any(map(known, _NAMES))
