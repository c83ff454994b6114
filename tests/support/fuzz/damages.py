"""Damages of text files: of bytes, of JSON at any depth, of templates."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

from tests.support import mutate
from tests.support.mutate import SIZES, Damage

__all__ = ["GGUF", "JSON", "TEMPLATE", "WEIGHTS"]

ODD: tuple[Any, ...] = (
    *(None, True, False, "", "x", " ", "\ufeff", "\u2028", "\ud800", "\x00", "a" * 4000, "日本 🙂"),
    *(
        [],
        {},
        [[]],
        [None],
        {"a": 1},
        {"type": "x"},
        ["a", 1],
        0.5,
        -0.0,
        1e308,
        1e999,
        float("nan"),
    ),
    *SIZES,
)
NAMES = (
    "type content id ids special lstrip normalized vocab merges unk_token unk_id dropout pattern "
    "Regex String behavior add_bos_token bos_token eos_token pad_token chat_template name template "
    "max_length direction strategy eos_token_id temperature top_k do_sample max_new_tokens files"
).split()
# Parts of tokenizers, some of them strange; the libraries must not be brought down by them.
COMPONENTS: tuple[Any, ...] = (
    {"type": "NFC"},
    {"type": "Lowercase"},
    {"type": "Prepend", "prepend": "▁"},
    {"type": "Prepend", "prepend": ""},
    {"type": "Strip", "strip_left": True, "strip_right": True},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    {"type": "Replace", "pattern": {"String": ""}, "content": "xx"},
    {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""},
    {"type": "Replace", "pattern": {"Regex": "("}, "content": ""},
    {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
    {"type": "Precompiled", "precompiled_charsmap": "/////w=="},
    {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
     "strip_accents": None, "lowercase": True},
    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    {"type": "Metaspace", "replacement": "ab", "prepend_scheme": "first"},
    {"type": "Split", "pattern": {"Regex": ""}, "behavior": "Isolated", "invert": False},
    {"type": "Split", "pattern": {"Regex": "(?=x)*"}, "behavior": "Removed", "invert": True},
    {"type": "Split", "pattern": {"String": ""}, "behavior": "MergedWithPrevious", "invert": False},
    {"type": "Digits", "individual_digits": True},
    {"type": "FixedLength", "length": 0},
    {"type": "CharDelimiterSplit", "delimiter": "x"},
    {"type": "UnicodeScripts"},
    {"type": "Whitespace"},
    {"type": "Sequence", "normalizers": []},
    {"type": "Sequence", "pretokenizers": [], "decoders": [], "processors": []},
    {"type": "WordPiece", "prefix": "##", "cleanup": True},
    {"type": "BPEDecoder", "suffix": ""},
    {"type": "CTC", "pad_token": "x", "word_delimiter_token": "|", "cleanup": True},
    {"type": "Strip", "content": " ", "start": 2**40, "stop": 1},
    {"type": "BertProcessing", "sep": ["x", 7], "cls": ["y", 2**31]},
    {"type": "RobertaProcessing", "sep": ["x", 7], "cls": ["y", 8], "trim_offsets": True,
     "add_prefix_space": True},
    {"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}},
    {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x", "type_id": 0}}],
     "pair": [], "special_tokens": {"x": {"id": "x", "ids": [2**31], "tokens": ["x"]}}},
    {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "b"},
    {"type": "WordPiece", "vocab": {"a": 0}, "unk_token": "b",
     "continuing_subword_prefix": "##", "max_input_chars_per_word": 0},
    {"type": "Unigram", "vocab": [["a", -1.0]], "unk_id": 7},
    {"type": "Unigram", "vocab": [["<unk>", 0.0], ["a", -1.0], ["▁", -2.0]], "unk_id": 0,
     "byte_fallback": True},
    {"type": "Unigram", "vocab": [], "unk_id": None},
    {"type": "BPE", "vocab": {"a": 0, "b": 4294967295}, "merges": []},
    {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]], "dropout": 1.0},
    {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": ["a b"]},
    {"type": "BPE", "vocab": {"a": 1}, "merges": [], "byte_fallback": True, "unk_token": "a"},
    {"direction": "Left", "max_length": 0, "strategy": "LongestFirst", "stride": 9},
    {"strategy": {"Fixed": 2**40}, "direction": "Left", "pad_to_multiple_of": 0, "pad_id": 0,
     "pad_type_id": 0, "pad_token": "x"},
)  # fmt: skip
JINJA = (
    "{% for i in range(10**9) %}", "{% endfor %}", "{{", "}}", "{%", "%}", "{#", "#}", "|upper",
    "{{ 'a' * 900000000 }}", "{{ '%999999999d' % 1 }}", "{{ messages }}",
    "{{ messages[9].content }}", "{{ raise_exception('no') }}", "{{ x.y.z }}",
    "{{ ''.__class__ }}", "{{ 1 / 0 }}", "{{ 1e308 ** 9 }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{% include 'a' %}", "{% extends 'a' %}",
    "{{ 10**10**8 }}", "{{ strftime_now('%Y' * 99999) }}", "{{ messages|tojson(indent=10**9) }}",
    "{{ '{:>999999999}'.format(1) }}", "{{ 'a'|center(10**9) }}", "{{ cycler() }}",
    "{% set a = b %}", "{{ messages|map('x')|list }}", "{{ range(5)|batch(0)|list }}",
    "{% generation %}", "\r\n", "\x00", "{{ namespace(a=1).b }}", "{{ bos_token }}",
    "{{ lipsum(n=10**6) }}", "{{ 'x'.encode('x') }}", "{{ dict(a=1)|xmlattr }}",
    "{{ messages|sum }}", "{{ messages|sort }}", "{{ 9|chr }}", "\ufeff", "{{ '\\ud800' }}",
    "{{ (('a' * 99999)|list|join('b')) * 99999 }}", "{% raw %}", "{% set ns = 1 %}",
)  # fmt: skip


def spots(value: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a JSON value; of a long container only some."""
    found: list[tuple[Any, Any]] = []
    todo = [value]
    while todo:
        inner = todo.pop()
        keys = list(inner) if isinstance(inner, dict) else range(len(inner))
        for key in [*keys[:40], *keys[-3:]]:
            found.append((inner, key))
            if isinstance(inner[key], dict | list):
                todo.append(inner[key])
    return found


def edit_deep(numbers: random.Random, content: bytes) -> bytes:
    """Change, remove, rename, copy or nest entries at any depth; or put another component there."""
    value = json.loads(content)
    for _ in range(numbers.choice([1, 1, 1, 2, 4])):
        places = spots(value)
        if not places:
            break
        inner, key = numbers.choice(places)
        kind = numbers.randrange(9)
        if kind == 0:
            del inner[key]
        elif kind == 1 and isinstance(inner, dict):
            inner[numbers.choice(NAMES)] = inner.pop(key)
        elif kind == 2:
            other, place = numbers.choice(places)
            if other is not None and (
                place in other if isinstance(other, dict) else place < len(other)
            ):
                inner[key] = json.loads(json.dumps(other[place]))
        elif kind == 3:
            inner[key] = json.loads(json.dumps(numbers.choice(COMPONENTS)))
        elif kind == 4:
            inner[key] = (
                [inner[key]] if numbers.random() < 0.5 else {numbers.choice(NAMES): inner[key]}
            )
        elif kind == 5 and isinstance(inner, dict):
            inner[numbers.choice(NAMES)] = deepcopy(numbers.choice(ODD))
        elif kind == 6 and type(inner[key]) is int:
            inner[key] += numbers.choice((-2, -1, 1, 2, 1000, 2**31))
        elif kind == 7 and isinstance(inner[key], str):
            inner[key] += numbers.choice(["x", " ", "", "\u2581", "\ud800", *JINJA])
        else:
            inner[key] = deepcopy(numbers.choice(ODD))
    return json.dumps(value, ensure_ascii=numbers.random() < 0.9).encode("utf-8", "surrogatepass")


def replace_part(numbers: random.Random, content: bytes) -> bytes:
    """Put another component at one of the first level's places, or inside one of them."""
    value = json.loads(content)
    keys = [key for key in value if key not in ("version", "added_tokens")]
    key = numbers.choice(keys)
    part = json.loads(json.dumps(numbers.choice(COMPONENTS)))
    if numbers.random() < 0.3:
        lists = ("normalizers", "pretokenizers", "processors", "decoders")
        part = {"type": "Sequence", **{name: [part, part] for name in lists}}
    value[key] = part
    return json.dumps(value).encode()


def deepen(numbers: random.Random, content: bytes) -> bytes:
    """Nest one value a thousand times."""
    value = json.loads(content)
    places = spots(value)
    if not places:
        return b"[" * 5000
    inner, key = numbers.choice(places)
    depth = numbers.choice([10, 120, 5000])
    inner[key] = "MARK"
    opening, closing = numbers.choice([("[", "]"), ('{"a":', "}")])
    nested = opening * depth + "1" + closing * depth
    return json.dumps(value).replace('"MARK"', nested).encode()


def splice(numbers: random.Random, content: bytes) -> bytes:
    """Put a piece of Jinja into a template, or take a piece away."""
    at = numbers.randrange(len(content) + 1)
    for _ in range(numbers.choice([1, 1, 2, 5])):
        piece = numbers.choice(JINJA).encode("utf-8", "surrogatepass")
        end = min(len(content), at + numbers.choice([0, 0, 1, 4, 20]))
        content = content[:at] + piece + content[end:]
        at = numbers.randrange(len(content) + 1)
    return content


def only(numbers: random.Random, content: bytes) -> bytes:
    """Write a file of nothing but a few odd pieces."""
    pieces = (b"", b"\x00", b"\xff\xfe", b"null", b"[]", b"{}", b'{"a": NaN}', b"\xef\xbb\xbf{}")
    return b"".join(numbers.choice(pieces) for _ in range(numbers.choice([1, 1, 2])))


BYTES: tuple[Damage, ...] = (
    *(mutate.flip, mutate.flip_bit, mutate.cut, mutate.extend, mutate.repeat, only),
)
JSON: tuple[Damage, ...] = (*BYTES, *[edit_deep] * 8, *[replace_part] * 4, deepen)
TEMPLATE: tuple[Damage, ...] = (*BYTES, *[splice] * 10)
WEIGHTS: tuple[Damage, ...] = mutate.WEIGHTS


def damage_gguf(numbers: random.Random, content: bytes) -> bytes:
    """Change bytes of the metadata and the list of tensors, which come first."""
    damaged = bytearray(content)
    end = min(len(content), numbers.choice([24, 400, 4000, 40000, len(content)]))
    for _ in range(numbers.choice([1, 1, 1, 2, 8])):
        at = numbers.randrange(end)
        piece = numbers.choice([b"\0", b"\xff", bytes(8), b"\xff" * 8, numbers.randbytes(4)])
        damaged[at : at + len(piece)] = piece
    return bytes(damaged)


GGUF: tuple[Damage, ...] = (*BYTES, *[damage_gguf] * 10)
