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
from .idle import Need, unmet
from .options import SAMPLING, Options
from .watermarking import WatermarkingConfig

__all__ = ["FILE", "NEW_TOKENS", "SAMPLING", "GenerationConfig", "checked", "idle_option"]

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

    @property
    def contrasts(self) -> bool:
        """Whether penalty_alpha acts, as transformers chooses the way to generate."""
        plain = not self.do_sample and self.num_beams == 1
        return bool(self.penalty_alpha) and plain and self.top_k > 1

    @property
    def reads_layers(self) -> bool:
        """Whether the options ask for what only hidden states can answer."""
        return self.contrasts or self.dola_layers is not None

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
        Raises GenerationError for an unknown name, and for an option that would have no effect
        because the one that it needs is neither on nor among the changes.
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
        if found := unmet(changed, changes):
            raise idle_option(*found, changes)
        if changed.idle_alpha(changes):
            raise GenerationError(
                f"penalty_alpha is {changed.penalty_alpha} but acts only in greedy decoding,"
                " expected neither do_sample nor num_beams, and top_k of at least 2",
                hint="leave out penalty_alpha, or do_sample and num_beams",
            )
        return changed

    def idle_alpha(self, changes: Mapping[str, Any]) -> bool:
        """Return whether penalty_alpha is among the changes and has no effect."""
        return bool(changes.get("penalty_alpha")) and not self.contrasts

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


def idle_option(name: str, need: Need, given: Mapping[str, Any]) -> GenerationError:
    """Return the error for an option that has no effect without another one."""
    return GenerationError(
        f"{name} is {given[name]!r} but acts only {need.acts}, expected {need.needed} with it",
        hint=f"add {need.needed}={need.value}",
    )


_NAMES = tuple(field.name for field in fields(GenerationConfig))
assert not any(map(known, _NAMES))
