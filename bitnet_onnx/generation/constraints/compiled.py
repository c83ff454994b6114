"""A form of answers over the tokens of one tokenizer, compiled by the package llguidance.

Knows tokenizers and llguidance; does not know the loop.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from ...errors import GenerationError
from .outputs import StructuredOutputs
from .reasons import refused
from .schemas import strict

if TYPE_CHECKING:
    from ...text.tokenizer import Tokenizer

__all__ = ["Constraint", "allowed_tokens"]

# A small model repeats blanks until its limit where any number of them is allowed.
_JSON = {"whitespace_pattern": r" ?|\n[ \t]{0,16}"}
_Key = tuple[int, tuple[int, ...]]
# It takes a second to make one for 128,000 tokens.
_vocabularies: WeakKeyDictionary[Tokenizer, dict[_Key, Any]] = WeakKeyDictionary()


class Constraint:
    """A compiled form: ``matcher`` starts a sequence that follows it.

    vocab_size: how many logits there are; ids beyond the tokenizer's are never allowed. eos: the
    ids that may follow a complete answer. Raises GenerationError for a form that llguidance cannot
    follow exactly.
    """

    def __init__(
        self,
        outputs: StructuredOutputs,
        tokenizer: Tokenizer,
        vocab_size: int,
        eos: Sequence[int],
    ) -> None:
        self.kind = outputs.kind
        vocabulary = _vocabulary(tokenizer, vocab_size, eos)
        self.eos = np.array(sorted(set(vocabulary.eos_tokens)), dtype=np.int64)
        inner = _grammar(outputs)
        self._begun = self._started(vocabulary, {"grammars": [inner]})
        if blanks := _stripped(tokenizer, vocabulary):
            # The answer's text loses a blank at its start, so the tokens may have one more: they
            # must where an answer may itself begin with one.
            allowed = np.flatnonzero(allowed_tokens(self._begun, vocabulary.vocab_size))
            blank = '" "' if blanks.intersection(allowed.tolist()) else '" "?'
            outer = {"lark_grammar": f"start: {blank} @inner"}
            self._begun = self._started(
                vocabulary, {"grammars": [outer, {**inner, "name": "inner"}]}
            )

    def matcher(self) -> Any:
        """Return an LLMatcher at the start of an answer."""
        return self._begun.deep_copy()

    def _started(self, vocabulary: Any, grammar: dict[str, Any]) -> Any:
        matcher = _library().LLMatcher(vocabulary, json.dumps(grammar), log_level=0)
        # What llguidance only warns of are keywords that it leaves out.
        if said := matcher.get_error() or "; ".join(matcher.get_grammar_warnings()):
            raise refused(self.kind, said)
        matcher.compute_bitmask()
        if matcher.is_error():
            raise refused(self.kind, matcher.get_error())
        return matcher


def allowed_tokens(matcher: Any, count: int) -> np.ndarray:
    """Return for each of ``count`` tokens whether it may be next: uint8, 0 or 1."""
    bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
    return np.unpackbits(bits, count=count, bitorder="little")


def _grammar(outputs: StructuredOutputs) -> dict[str, Any]:
    """Return one of the grammars of llguidance's own format."""
    maker, text = _library().LLMatcher, outputs.text
    try:
        if outputs.kind == "json":
            schema = strict(json.loads(text))
            own = "x-guidance" in schema  # llguidance's options
            made = maker.grammar_from_json_schema(
                json.dumps(schema), defaults=None if own else _JSON
            )
        elif outputs.kind == "regex":
            made = maker.grammar_from_regex(text)
        elif outputs.kind == "choice":  # as a grammar, it could hold 2,000 texts
            made = maker.grammar_from_regex("|".join(map(_literal, outputs.choice or ())))
        else:
            text.encode()
            return {"lark_grammar": text}
        found: dict[str, Any] = json.loads(made)["grammars"][0]
        return found
    except RecursionError:
        raise refused(outputs.kind, "it is nested too deeply") from None
    except ValueError as error:  # half a surrogate pair, too
        raise refused(outputs.kind, str(error)) from None


def _literal(text: str) -> str:
    """Return the regular expression of one text; half a surrogate pair is a ValueError."""
    text.encode()
    return "(?:" + "".join(f"\\u{{{ord(character):x}}}" for character in text) + ")"


def _vocabulary(tokenizer: Tokenizer, vocab_size: int, eos: Sequence[int]) -> Any:
    """Return llguidance's own form of the tokenizer."""
    size = max(vocab_size, tokenizer.vocab_size)
    ends = tuple(sorted({token for token in eos if token < vocab_size}))
    if not ends:
        raise GenerationError(
            "structured_outputs is given, but no token ends an answer, expected eos_token_id"
        )
    made = _vocabularies.setdefault(tokenizer, {})
    if (size, ends) not in made:
        try:
            made[size, ends] = _library().LLTokenizer(
                tokenizer.to_json(), n_vocab=size, eos_token=list(ends)
            )
        except ValueError as error:
            said = " ".join(str(error).split())
            raise GenerationError(
                f"structured_outputs is given for a tokenizer that llguidance cannot read: {said}, "
                "expected a decoder of bytes, ByteLevel or ByteFallback"
            ) from None
    return made[size, ends]


def _stripped(tokenizer: Tokenizer, vocabulary: Any) -> set[int]:
    """Return the tokens that begin with a blank, where decoding drops one at an answer's start."""
    ids = range(tokenizer.vocab_size)
    blank = (i for i in ids if vocabulary.decode_bytes([i]).startswith(b" "))
    first = next(blank, None)
    if first is None or tokenizer.decode_raw([first]).startswith(" "):
        return set()
    return {first, *blank}


def _library() -> Any:
    try:
        import llguidance
    except ModuleNotFoundError:
        raise GenerationError(
            "structured_outputs needs the package llguidance, which is not installed, expected the"
            " extra structured",
            hint="pip install 'bitnet-onnx[structured]'",
        ) from None
    return llguidance
