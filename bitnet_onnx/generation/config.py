"""The options of generation, with the names and meanings of transformers.

Knows numbers and ``generation_config.json``; does not know the model or the tokenizer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any

from ..errors import GenerationError
from ..files import read_object, write_text
from .fields import known, refused, unknown

__all__ = ["FILE", "NEW_TOKENS", "SAMPLING", "GenerationConfig"]

FILE = "generation_config.json"
NEW_TOKENS = 256  # the limit where no option gives one
# The options that act only with do_sample.
SAMPLING = (
    "temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class GenerationConfig:
    """Options of generation; names and defaults are those of transformers' GenerationConfig.

    A wrong value raises a GenerationError that names the option, the value and the expected ones.
    """

    max_new_tokens: int | None = None
    """The largest number of new tokens; None: as many as ``max_length`` leaves, or 256."""
    do_sample: bool = False
    """True samples; False takes the most likely token (greedy)."""
    temperature: float = 1.0
    """What logits are divided by: below 1 the likely tokens become likelier. 0 is greedy."""
    top_k: int = 50
    """0 turns it off."""
    top_p: float = 1.0
    """1 turns it off."""
    min_p: float = 0.0
    """0 turns it off."""
    repetition_penalty: float = 1.0
    """1 turns it off; unlike the options above, it acts without ``do_sample`` too."""
    num_beams: int = 1
    """Only 1 is supported."""
    eos_token_id: int | Sequence[int] | None = None
    """Tokens that end an answer; None takes the tokenizer's, if there is a tokenizer. Of an empty
    list, and of the keyword ``eos_token_id=None`` in one call, no token ends it."""
    stop_strings: str | Sequence[str] | None = ()
    """Texts that end an answer without being part of it."""
    seed: int | None = None
    """The same seed gives the same answer; None draws a new one. transformers lacks this option."""
    max_length: int | None = None
    """The largest number of tokens with the prompt; ``max_new_tokens`` takes precedence."""
    min_length: int = 0
    """No eos before there are this many tokens with the prompt."""
    min_new_tokens: int | None = None
    """No eos before there are this many new tokens; takes precedence over ``min_length``."""
    no_repeat_ngram_size: int = 0
    """No sequence of this many tokens occurs twice, the prompt included; 0 turns it off."""
    bad_words_ids: Sequence[Sequence[int]] | None = None
    """Sequences of tokens that are never completed."""
    suppress_tokens: Sequence[int] | None = None
    """Tokens that are never chosen."""
    begin_suppress_tokens: Sequence[int] | None = None
    """Tokens that do not begin an answer."""
    forced_eos_token_id: int | Sequence[int] | None = None
    """The token that is forced as the last one that the limit of length allows."""
    typical_p: float = 1.0
    """1 turns it off; acts when sampling, after ``min_p``."""
    epsilon_cutoff: float = 0.0
    """0 turns it off; acts when sampling, after ``typical_p``."""
    eta_cutoff: float = 0.0
    """0 turns it off; acts when sampling, after ``epsilon_cutoff``."""

    def __post_init__(self) -> None:
        for name in ("eos_token_id", *_ID_LISTS):
            if (ids := _as_tuple(getattr(self, name))) is not None:
                self._set(name, tuple(_integer(name, token, 0) for token in ids))
        self._set("stop_strings", _as_tuple(self.stop_strings) or ())
        self._set("bad_words_ids", _sequences("bad_words_ids", self.bad_words_ids))
        if not isinstance(self.do_sample, bool):
            raise _wrong("do_sample", self.do_sample, "True or False")
        # NumPy's numbers become Python's, so that the options can be written as JSON.
        for name, least in _INTEGERS.items():
            self._set(name, _integer(name, getattr(self, name), least))
        for name, least in _OPTIONAL_INTEGERS.items():
            if getattr(self, name) is not None:
                self._set(name, _integer(name, getattr(self, name), least))
        for name, (expected, good) in _NUMBERS.items():
            self._set(name, _number(name, getattr(self, name), expected, good))
        for string in self.stop_strings or ():
            if not isinstance(string, str) or not string:
                raise _wrong("stop_strings", string, "texts that are not empty")
        if self.num_beams != 1:
            raise _wrong("num_beams", self.num_beams, "1: greedy decoding, or sampling")

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The tokens of eos_token_id; none where it is None."""
        given = self.eos_token_id
        return given if isinstance(given, tuple) else ()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def samples(self) -> bool:
        """Whether tokens are drawn; a temperature of 0 leaves only the likeliest one."""
        return self.do_sample and self.temperature > 0

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
        return {n: _as_list(v) for n, v in changed.items()}

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
_ID_LISTS = ("suppress_tokens", "begin_suppress_tokens", "forced_eos_token_id")
_INTEGERS = {"top_k": 0, "min_length": 0, "no_repeat_ngram_size": 0, "num_beams": 1}
_OPTIONAL_INTEGERS = {"max_new_tokens": 1, "max_length": 1, "min_new_tokens": 0, "seed": 0}
_NUMBERS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "temperature": ("a number of at least 0", lambda number: number >= 0),
    "repetition_penalty": ("a number above 0", lambda number: number > 0),
    "top_p": ("a number above 0 and at most 1", lambda p: 0 < p <= 1),
    "min_p": ("a number from 0 to 1", lambda p: 0 <= p <= 1),
    "typical_p": ("a number above 0 and at most 1", lambda p: 0 < p <= 1),
    "epsilon_cutoff": ("a number of at least 0 and below 1", lambda p: 0 <= p < 1),
    "eta_cutoff": ("a number of at least 0 and below 1", lambda p: 0 <= p < 1),
}


def _as_tuple(value: Any) -> Any:
    if value is None:
        return None
    many = isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))
    return tuple(value) if many else (value,)


def _as_list(value: Any) -> Any:
    return [_as_list(entry) for entry in value] if isinstance(value, tuple) else value


def _sequences(name: str, value: Any) -> tuple[tuple[int, ...], ...] | None:
    """Return lists of ids as tuples."""
    if value is None:
        return None
    found = []
    for entry in value if isinstance(value, Sequence) else [value]:
        if not isinstance(entry, Sequence) or isinstance(entry, (str, bytes)) or not entry:
            raise _wrong(name, entry, "lists of ids that are not empty")
        found.append(tuple(_integer(name, token, 0) for token in entry))
    return tuple(found)


def _number(name: str, value: object, expected: str, good: Any) -> float:
    number = math.nan
    if not isinstance(value, bool) and isinstance(value, Real):
        try:
            number = float(value)
        except OverflowError:  # an integer beyond the range of floats
            number = math.inf
    if not math.isfinite(number) or not good(number):
        raise _wrong(name, value, expected)
    return number


def _integer(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        off = " (0 turns it off)" if name == "top_k" else ""
        raise _wrong(name, value, f"an integer of at least {least}{off}")
    return int(value)


def _wrong(name: str, value: object, expected: str) -> GenerationError:
    return GenerationError(f"{name} is {value!r}, expected {expected}")
