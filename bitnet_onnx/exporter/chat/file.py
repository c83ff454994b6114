"""Write ``chat.json``: a folder's chat template for programs without Jinja, proven by comparison.

The rules are read off the template and then compared with it, in texts and in ids, on the words,
lengths and blanks that it looks for. Texts that it writes otherwise are refused by name; where too
much differs, the file holds the reason and no rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import tokenizers

from ...artifact import CHAT
from ...errors import TokenizerError
from ...files import write_text
from ...text.backend import Loaded, added_around, encoded, load_backend, named_tokens, read_text
from ...text.chat_template import DEFAULT, read_templates
from ...text.library import load
from ...text.tokenizer import Tokenizer
from .learn import Template, learned
from .probes import EMPTY, NEUTRAL, THOUGHTS, Literals, around, conversation, mixed, of_literal
from .rules import FORMAT_VERSION, Part, Parts, Rules

__all__ = ["proven", "why_no_chat", "write_chat"]

_DAYS = (datetime(2031, 2, 3, 4, 5, 6), datetime(2040, 12, 25, 23, 59, 58))
_MIXED = 60  # random conversations of the proof
_MOST = 8  # texts of a role that may be refused
_NO_TOKENIZER = "the checkpoint has no tokenizer.json"
_NO_TEMPLATE = "the checkpoint has no chat template"
_THOUGHT = "</think>"  # every answer of a model that thinks has one

Messages = Sequence[dict[str, str]]


def write_chat(folder: Path) -> None:
    """Write the file into a folder that has its tokenizer files; without a tokenizer write none."""
    if not (folder / "tokenizer.json").exists():
        return
    found: dict[str, Any] = {"format_version": FORMAT_VERSION, "eos_token_ids": []}
    try:
        loaded = load_backend(folder)
        templates = read_templates(folder, loaded.config)
        tokenizer = Tokenizer(loaded.backend, loaded.config, loaded.generation_config, templates)
        found["eos_token_ids"] = list(tokenizer.eos_token_ids)
        found["conversation"] = proven(folder, loaded, templates, tokenizer).to_json()
    except TokenizerError as error:
        found["unsupported"] = str(error).replace(f"{folder}/", "")
    write_text(folder / CHAT, json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def why_no_chat(folder: Path, jinja: bool = False) -> str | None:
    """Return the reason where an artifact has no conversation for programs without Jinja.

    jinja: return a reason only where programs with Jinja have no conversation, either.
    """
    if not (folder / CHAT).exists():
        return _NO_TOKENIZER
    reason: str | None = json.loads(read_text(folder / CHAT)).get("unsupported")
    return reason if not jinja or reason == _NO_TEMPLATE else None


def proven(
    folder: Path, loaded: Loaded, sources: Mapping[str, str] | None, tokenizer: Tokenizer
) -> Rules:
    """Return the rules of a folder's template; raise TokenizerError with the reason otherwise."""
    if sources is None:
        raise TokenizerError(_NO_TEMPLATE)
    plain = _Plain(folder, loaded)
    backend, config, names = loaded.backend, loaded.config, named_tokens(loaded.config)
    special = {} if config.get("split_special_tokens") else _special(backend)
    literals = Literals(sources.get(DEFAULT, ""), names)
    template = Template(sources, names)
    rules = _begun(learned(template, literals, special), added_around(backend)[0])
    _check_tokens(rules, backend)
    proof = _Proof(tokenizer, plain, template, literals, sorted(_special(backend)))
    try:
        return proof.of(rules)
    except TokenizerError:
        if rules.system is None:
            raise
        return proof.of(replace(rules, system=None, before_system=(), after_system=()))


class _Plain:
    """The tokenizer as native apps read it: its file alone, special tokens as text."""

    def __init__(self, folder: Path, loaded: Loaded) -> None:
        content = read_text(folder / "tokenizer.json")
        # A large vocabulary takes a second to read.
        backend = loaded.backend if loaded.is_file else load(content, "tokenizer.json")
        if not isinstance(backend.model, tokenizers.models.BPE) or '"ByteLevel"' not in content:
            raise TokenizerError(
                "the tokenizer is not a byte-level BPE, which is what native apps read"
            )
        backend.no_truncation()
        backend.no_padding()
        backend.model.dropout = None
        self._backend = backend

    def ids(self, text: str) -> list[int]:
        before = self._backend.encode_special_tokens  # the tokenizer of the folder may be the same
        self._backend.encode_special_tokens = True
        try:
            return encoded(self._backend, text)
        finally:
            self._backend.encode_special_tokens = before


def _special(backend: tokenizers.Tokenizer) -> dict[str, int]:
    added = backend.get_added_tokens_decoder()
    return {token.content: number for number, token in added.items() if token.special}


def _check_tokens(rules: Rules, backend: tokenizers.Tokenizer) -> None:
    """Refuse special tokens that take blanks or letters around them, or that are normalized."""
    parts = (*rules.before_system, *rules.after_system, *rules.before_user, *rules.prompt)
    parts += (*rules.before_assistant, *rules.after_assistant)
    written = {part.text for part in parts if part.id is not None} | rules.tokens.keys()
    for token in backend.get_added_tokens_decoder().values():
        around = token.lstrip or token.rstrip or token.single_word
        normalized = token.special and token.normalized and backend.normalizer is not None
        if normalized or (around and token.content in written):
            raise TokenizerError(
                f"the special token {token.content!r} depends on the text around it,"
                " expected one that native apps can write by its id"
            )


def _begun(rules: Rules, head: list[int]) -> Rules:
    """Return the rules with the ids that the tokenizer puts before a chat without them."""

    def begun(parts: Parts) -> Parts:
        there = parts and parts[0].id is not None and parts[0].id == head[0]
        return parts if there else (*(Part("", number) for number in head), *parts)

    if not head:
        return rules
    return replace(
        rules, before_user=begun(rules.before_user), before_system=begun(rules.before_system)
    )


class _Proof:
    """Compares rules with the template, and finds the texts that it writes otherwise."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        plain: _Plain,
        template: Template,
        literals: Literals,
        special: Sequence[str],
    ) -> None:
        self._tokenizer, self._plain = tokenizer, plain
        self._template, self._literals, self._special = template, literals, special

    def of(self, rules: Rules) -> Rules:
        """Return the rules with what they refuse; raise TokenizerError where they are wrong."""
        roles = ["assistant", "user", *(["system"] if rules.system else [])]
        self._check_neutral(rules, roles)
        for name in roles:
            if not all(self._same(rules, m) for text in EMPTY for m in around(name, text)):
                rules = rules.changed(name, blank=False)
            for text in self._literals.texts:
                rules = self._refusing(rules, name, text, of_literal(text))
        for first, last in self._literals.pairs():
            text = f"{first}x{last}"
            if not rules.user.refuses(text) and not all(
                self._same_text(rules, messages) for messages in around("user", text)
            ):
                rules = self._refusing(rules, "user", first, [text])
        every = [*self._literals.texts, *self._special][:200]

        def usable(name: str, text: str) -> bool:
            return not rules.role(name).refuses(text)

        for messages in mixed(_MIXED, roles, every, usable):
            self._require(rules, messages, "a conversation of many parts")
        return rules

    def _check_neutral(self, rules: Rules, roles: Sequence[str]) -> None:
        line, letter, both = map(self._plain.ids, ("\n", "a", "\na"))
        if line + letter != both:
            raise TokenizerError("the tokenizer puts a blank before each text")
        tried = [("assistant", THOUGHTS, "an answer with thoughts")]
        for name in roles:
            what = f"a text of the {name} such as"
            tried += [(name, text, f"{what} {text[:40]!r}") for text in NEUTRAL]
            tried += [
                (name, ("word " * length)[:length], f"a text of {length} characters")
                for length in self._literals.lengths
            ]
        tried.append(("user", " ".join(self._special), "special tokens in a text"))
        for name, text, what in tried:
            for messages in around(name, text):
                self._require(rules, messages, what)
        for turns in self._literals.turns:
            self._require(rules, conversation(turns), f"a conversation of {turns} turns")
        for day in _DAYS:
            messages = conversation(2)
            if self._template.on(day, messages) != rules.text(messages, day):
                raise TokenizerError("the chat template writes other things on other days")

    def _refusing(self, rules: Rules, name: str, literal: str, forms: Iterable[str]) -> Rules:
        """Return the rules; they refuse the literal if the template writes a form otherwise."""
        role = rules.role(name)
        wrong = [
            text
            for text in forms
            if not role.refuses(text) and not all(self._same(rules, m) for m in around(name, text))
        ]
        if not wrong:
            return rules
        shown = f"a text of the {name} that holds {literal!r}"
        thinks = name == "assistant" and _THOUGHT in literal
        if thinks or len(role.refused) == _MOST or not all(literal in text for text in wrong):
            self._differs(shown)
        return rules.changed(name, refused=(*role.refused, literal))

    def _require(self, rules: Rules, messages: Messages, what: str) -> None:
        if not rules.refuses(messages) and not self._same(rules, messages):
            self._differs(what)

    def _same(self, rules: Rules, messages: Messages) -> bool:
        try:
            expected = self._tokenizer.encode_chat(messages)
        except TokenizerError:  # the template refuses it
            return False
        return rules.ids(messages, self._plain.ids) == expected

    def _same_text(self, rules: Rules, messages: Messages) -> bool:
        """Return ``_same`` for many: a text is rendered in a fraction of the time."""
        try:
            return rules.text(messages) == self._tokenizer.render_chat(messages)
        except TokenizerError:
            return False

    @staticmethod
    def _differs(what: str) -> NoReturn:
        raise TokenizerError(
            f"the chat template writes {what} in a way of its own, expected the same parts around"
            " each message"
        )
