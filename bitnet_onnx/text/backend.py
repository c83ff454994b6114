"""A folder's tokenizer as transformers builds it: its class, its added tokens, its special tokens.

Knows the tokenizer files and the tokenizers package; does not know templates or prompts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any

import tokenizers

from ..errors import TokenizerError
from ..files import half_pair, read_object
from .library import in_a_sentence, load
from .tokenizer_class import builder_of, default_names, rebuilt

__all__ = [
    "Loaded",
    "added_around",
    "cleaned",
    "cleans_up",
    "encoded",
    "load_backend",
    "named_tokens",
    "read_text",
    "token_id",
]

NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FILES = "choose a checkpoint or artifact folder with tokenizer.json and tokenizer_config.json"
_EXTRA = ("extra_special_tokens", "additional_special_tokens")  # the second is the older name
# What transformers cleans up after a decoder of words, in its order.
_CLEANED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
# Characters of a text that other threads are not kept waiting for: a millisecond or two.
LONG = 1 << 12
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


@dataclass(frozen=True)
class Loaded:
    """The tokenizer of a folder, and what configures it."""

    backend: tokenizers.Tokenizer
    config: dict[str, Any]
    """tokenizer_config.json, with the names in force."""
    generation_config: dict[str, Any]
    is_file: bool
    """Whether tokenizer.json alone makes the same tokenizer."""


def load_backend(folder: Path) -> Loaded:
    """Read the tokenizer of a folder as transformers builds it.

    Named tokens come from the class too, and from special_tokens_map.json where
    tokenizer_config.json has no added_tokens_decoder. Raises TokenizerError naming the file.
    """
    file = read_text(folder / "tokenizer.json")
    config = read_object(folder / "tokenizer_config.json", TokenizerError, hint=_FILES)
    builder = builder_of(config, _optional(folder / "config.json"), file)
    complete = "added_tokens_decoder" in config
    given, config = config, default_names(builder) | config
    if not complete:
        config |= _optional(folder / "special_tokens_map.json")
    written, name = None, str(folder / "tokenizer.json")
    if builder is not None:
        with in_a_sentence(f"{name} is not a readable tokenizer"):
            file, written = rebuilt(builder, config, file)
    backend = load(file, name)
    if complete:
        declared = _tokens(config["added_tokens_decoder"], "added_tokens_decoder")
    else:
        declared = _added(folder / "added_tokens.json", config) | (
            backend.get_added_tokens_decoder()
            if written is None
            else _tokens(written, "tokenizer.json")
        )
    added = _add(backend, declared, config)
    for name in ("bos_token", "eos_token"):
        text = named_tokens(given).get(name)
        if text is not None and backend.token_to_id(text) is None:
            raise TokenizerError(
                f"{name} in tokenizer_config.json is {text!r}, expected a token of tokenizer.json"
            )
    generation_config = _optional(folder / "generation_config.json")
    return Loaded(backend, config, generation_config, builder is None and added == 0)


def named_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the tokens that a tokenizer_config.json names, such as bos_token and image_token."""
    named = {name: _text(config[name]) for name in NAMES if config.get(name) is not None}
    for name, token in config.items():
        if name.endswith("_token") and name not in named and isinstance(token, (str, dict)):
            named[name] = _text(token)
    if isinstance(extra := config.get(_EXTRA[0]), dict):
        named |= {name: _text(token) for name, token in extra.items()}
    return named


def added_around(backend: tokenizers.Tokenizer) -> tuple[list[int], list[int]]:
    """Return the ids that the post-processor puts before and after a text."""
    _check_templates(backend.post_processor)
    found = []
    for text in ("a", "b"):  # both, to see that what is added does not depend on the text
        bare, ids = encoded(backend, text), encoded(backend, text, add_special_tokens=True)
        places = range(len(ids) - len(bare) + 1)
        start = next((i for i in places if ids[i : i + len(bare)] == bare), None)
        found.append(None if start is None else (ids[:start], ids[start + len(bare) :]))
    if found[0] is None or found[0] != found[1]:
        raise TokenizerError(
            "post_processor of tokenizer.json changes or repeats the text, expected one that adds"
            " special tokens before and after it"
        )
    return found[0]


def encoded(
    backend: tokenizers.Tokenizer, text: str, add_special_tokens: bool = False
) -> list[int]:
    """Return the ids of a text; raise TokenizerError where the tokenizer cannot read it."""
    if not isinstance(text, str):
        raise TokenizerError(f"a {type(text).__name__} cannot be encoded, expected a text")
    if half := half_pair(text):
        raise TokenizerError(
            f"a text with {half}, half of a surrogate pair, cannot be encoded, expected Unicode"
        )
    with in_a_sentence("the text cannot be encoded"):
        if len(text) < LONG:
            return backend.encode(text, add_special_tokens=add_special_tokens).ids
        # Of the package's ways to the same ids, the one that lets other threads run meanwhile.
        (found,) = backend.encode_batch_fast([text], add_special_tokens=add_special_tokens)
        return found.ids


def _check_templates(processor: Any) -> None:
    """Raise TokenizerError where a template names a token without ids: the package panics there."""
    state = json.loads(processor.__getstate__()) if processor is not None else {}
    for step in state.get("processors", [state]):
        pieces = [*step.get("single", []), *step.get("pair", [])]
        named = {piece["SpecialToken"]["id"] for piece in pieces if "SpecialToken" in piece}
        for name in sorted(named - step.get("special_tokens", {}).keys()):
            raise TokenizerError(
                f"post_processor of tokenizer.json writes {name!r}, expected one of its"
                " special_tokens"
            )


def cleans_up(backend: tokenizers.Tokenizer, config: Mapping[str, Any]) -> bool:
    """Say whether decoded text is ``cleaned``; where blanks are part of tokens, it is not."""
    name = "clean_up_tokenization_spaces"
    if isinstance(backend.model, tokenizers.models.BPE) and not config.get(
        f"{name}_for_bpe_even_though_it_will_corrupt_output"
    ):
        return False
    return bool(config.get(name))


def cleaned(text: str) -> str:
    """Return the text without blanks before punctuation and around apostrophes."""
    for blank in _CLEANED:
        text = text.replace(blank, blank.strip())
    return text


def read_text(path: Path) -> str:
    """Return a file's text; raise TokenizerError where it is missing, empty or not UTF-8."""
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path} is damaged, expected UTF-8: {error}") from error
    except OSError as error:
        raise TokenizerError(f"{path} cannot be read: {error.strerror}", hint=_FILES) from error
    if not content.strip():
        raise TokenizerError(f"{path} is empty", hint="copy or download the file again")
    return content


def token_id(token: Any) -> int:
    """Return an integer of any type, NumPy's too, as a token id."""
    try:
        number = -1 if isinstance(token, bool) else index(token)
    except TypeError:
        number = -1
    if not 0 <= number < 1 << 32:
        raise TokenizerError(f"a token id is {token!r}, expected an integer of at least 0")
    return number


def _add(
    backend: tokenizers.Tokenizer,
    declared: Mapping[int, tokenizers.AddedToken],
    config: Mapping[str, Any],
) -> int:
    """Add the tokens that the tokenizer lacks, in transformers' order; return their number.

    Declared tokens may be new, with the id that is declared. Named ones must be in the vocabulary:
    transformers would give them a new id, for which the model has no row.
    """
    known = {repr(token) for token in backend.get_added_tokens_decoder().values()}
    new = [token for _, token in sorted(declared.items()) if repr(token) not in known]
    contents = {token.content for token in backend.get_added_tokens_decoder().values()}
    contents |= {token.content for token in new}
    named = set(named_tokens(config).values())
    for token in (*_named(config), *_extra(config)):
        if token.content not in contents and backend.token_to_id(token.content) is not None:
            contents.add(token.content)
            new.append(token)
    fresh = {token.content for token in new}
    new += [
        token
        for token in backend.get_added_tokens_decoder().values()
        if token.content in named - fresh and not token.special  # made special, as in transformers
    ]
    for token in new:
        token.special = token.special or token.content in named
    backend.add_tokens(new)
    for number, token in declared.items():
        if backend.token_to_id(token.content) != number:
            raise TokenizerError(
                f"the added token {token.content!r} is declared with the id {number}, and the"
                f" tokenizer gives it {backend.token_to_id(token.content)}, expected one id",
                hint="take tokenizer.json and tokenizer_config.json from the same download",
            )
    return len(new)


def _named(config: Mapping[str, Any]) -> Iterator[tokenizers.AddedToken]:
    for name, text in named_tokens(config).items():
        given = config.get(name)
        yield _token(given if isinstance(given, dict) else {"content": text}, name, special=True)


def _extra(config: Mapping[str, Any]) -> Iterator[tokenizers.AddedToken]:
    extra = config.get(_EXTRA[0]) or config.get(_EXTRA[1]) or []
    if isinstance(extra, dict):
        return
    if not isinstance(extra, list):
        raise TokenizerError(f"{_EXTRA[0]} is {extra!r}, expected a list or an object of tokens")
    for token in extra:
        fields = token if isinstance(token, dict) else {"content": token}
        yield _token(fields, _EXTRA[0], special=True)


def _added(path: Path, config: Mapping[str, Any]) -> dict[int, tokenizers.AddedToken]:
    """Return the tokens of an added_tokens.json, an object of ids by text."""
    special = set(named_tokens(config).values()) | {token.content for token in _extra(config)}
    tokens = []
    for content, number in _optional(path).items():
        flags = {"normalized": content not in special, "special": content in special}
        tokens.append({"id": number, "content": content} | flags)
    return _tokens(tokens, path.name)


def _tokens(entries: Any, where: str) -> dict[int, tokenizers.AddedToken]:
    """Return added tokens by id, from an object {id: fields}, or a list of fields with the id."""
    try:
        if isinstance(entries, dict):
            return {int(number): _token(fields, where) for number, fields in entries.items()}
        return {int(fields["id"]): _token(fields, where) for fields in entries}
    except (KeyError, ValueError, TypeError) as error:
        raise TokenizerError(
            f"{where} is not readable, expected added tokens by their ids: {error}"
        ) from error


def _token(fields: Any, where: str, special: bool = False) -> tokenizers.AddedToken:
    content = _text(fields, where)
    flags = {name: fields[name] for name in _FLAGS if name in fields}
    if not all(isinstance(flag, bool) for flag in flags.values()):
        raise TokenizerError(f"{where} holds the token {fields!r}, expected flags of true or false")
    return tokenizers.AddedToken(content, **({"special": special} | flags))


def _text(token: Any, where: str = "tokenizer_config.json") -> str:
    text = token.get("content") if isinstance(token, dict) else token
    if not isinstance(text, str) or half_pair(text):
        raise TokenizerError(f"{where} holds the special token {token!r}, expected a string")
    return text


def _optional(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, empty where there is no file."""
    return read_object(path, TokenizerError) if path.exists() else {}
