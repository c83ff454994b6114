"""The options of generation, with the names and meanings of transformers.

Knows numbers and ``generation_config.json``; does not know the model or the tokenizer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import GenerationError
from ..files import read_object, write_text

__all__ = ["GenerationConfig"]

FILE = "generation_config.json"
# Fields that transformers writes beside the options; they change no answer.
IGNORED = ("_from_model_config", "transformers_version", "bos_token_id", "pad_token_id")


@dataclass(frozen=True)
class GenerationConfig:
    """Options of generation; names and defaults are those of transformers' GenerationConfig.

    A wrong value raises a GenerationError that names the option, the value and the expected ones.
    """

    max_new_tokens: int = 256
    """The largest number of new tokens; transformers' default is a ``max_length`` of 20."""
    do_sample: bool = False
    """True samples; False takes the most likely token (greedy)."""
    temperature: float = 1.0
    """What logits are divided by: below 1 the likely tokens become likelier. Above 0."""
    top_k: int = 50
    """0 turns it off."""
    top_p: float = 1.0
    """1 turns it off."""
    min_p: float = 0.0
    """0 turns it off."""
    repetition_penalty: float = 1.0
    """1 turns it off; unlike the four options above, it acts without ``do_sample`` too."""
    num_beams: int = 1
    """Only 1 is supported."""
    eos_token_id: int | Sequence[int] | None = None
    """Tokens that end an answer; None takes the tokenizer's, if there is a tokenizer. Of an empty
    list, and of the keyword ``eos_token_id=None`` in one call, no token ends it."""
    stop_strings: str | Sequence[str] | None = ()
    """Texts that end an answer without being part of it."""
    seed: int | None = None
    """The same seed gives the same answer; None draws a new one. transformers lacks this option."""

    def __post_init__(self) -> None:
        self._set("stop_strings", _as_tuple(self.stop_strings) or ())
        if not isinstance(self.do_sample, bool):
            raise _wrong("do_sample", self.do_sample, "True or False")
        # NumPy's numbers become Python's, so that the options can be written as JSON.
        self._set("max_new_tokens", _integer("max_new_tokens", self.max_new_tokens, 1))
        self._set("top_k", _integer("top_k", self.top_k, 0))
        above = "a number above 0 and at most 1"
        self._set("top_p", _number("top_p", self.top_p, above, lambda p: 0 < p <= 1))
        between = "a number from 0 to 1"
        self._set("min_p", _number("min_p", self.min_p, between, lambda p: 0 <= p <= 1))
        for name in ("temperature", "repetition_penalty"):
            value = getattr(self, name)
            self._set(name, _number(name, value, "a number above 0", lambda number: number > 0))
        if self.seed is not None:
            self._set("seed", _integer("seed", self.seed, 0))
        if self.eos_token_id is not None:
            ids = (_integer("eos_token_id", token, 0) for token in _as_tuple(self.eos_token_id))
            self._set("eos_token_id", tuple(ids))
        for string in self.stop_strings or ():
            if not isinstance(string, str) or not string:
                raise _wrong("stop_strings", string, "texts that are not empty")
        self._set("num_beams", _integer("num_beams", self.num_beams, 1))
        if self.num_beams != 1:
            raise _wrong("num_beams", self.num_beams, "1: greedy decoding, or sampling")

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The tokens of eos_token_id; none where it is None."""
        given = self.eos_token_id
        return given if isinstance(given, tuple) else ()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def changed(self, **changes: Any) -> GenerationConfig:
        """Return a copy with some options changed; an unknown name raises GenerationError.

        As in transformers' generate, ``eos_token_id=None`` means here that no token ends an answer.
        """
        for name in changes:
            if name not in _NAMES:
                raise GenerationError(
                    f"{name} is not an option of generation, expected one of: {', '.join(_NAMES)}"
                )
        if "eos_token_id" in changes and changes["eos_token_id"] is None:
            changes["eos_token_id"] = ()
        return replace(self, **changes)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerationConfig:
        """Take the fields of a generation_config.json; None means the default."""
        if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
            raise GenerationError(f"the options are {values!r}, expected a mapping of names")
        given = {name: value for name, value in values.items() if name not in IGNORED}
        return cls().changed(**{name: value for name, value in given.items() if value is not None})

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

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of a generation_config.json: the options that are not defaults."""
        default = GenerationConfig()
        changed = {n: getattr(self, n) for n in _NAMES if getattr(self, n) != getattr(default, n)}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in changed.items()}

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


def _as_tuple(value: Any) -> Any:
    if value is None:
        return None
    many = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
    return tuple(value) if many else (value,)


def _number(name: str, value: object, expected: str, good: Any) -> float:
    number = math.nan
    if not isinstance(value, bool) and isinstance(value, Real):
        try:
            number = float(value)
        except OverflowError:  # an integer beyond the range of floats
            number = math.inf
    if not math.isfinite(number) or not good(number):
        hint = "greedy decoding is do_sample=False" if name == "temperature" else None
        raise _wrong(name, value, expected, hint)
    return number


def _integer(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        off = " (0 turns it off)" if name == "top_k" else ""
        raise _wrong(name, value, f"an integer of at least {least}{off}")
    return int(value)


def _wrong(name: str, value: object, expected: str, hint: str | None = None) -> GenerationError:
    return GenerationError(f"{name} is {value!r}, expected {expected}", hint)
