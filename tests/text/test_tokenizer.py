"""Text to ids and back: one bos, chat templates, no control tokens from users, whole characters."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from bitnet_onnx.errors import TokenizerError
from bitnet_onnx.text import backend
from bitnet_onnx.text.streaming import StreamDecoder
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.text.fakes import (
    BITNET,
    CHATML,
    REWRITING,
    SPECIAL,
    backend_json,
    make_tokenizer,
)

BOS, EOS, EOT, IM_START, IM_END = range(5)
TOKENIZER = make_tokenizer()
CHATML_TOKENIZER = make_tokenizer(CHATML)
QUESTION = [{"role": "user", "content": "hello"}]
TALK = [
    {"role": "system", "content": "the cat "},
    {"role": "user", "content": " hello\n"},
    {"role": "assistant", "content": "hello there"},
    {"role": "user", "content": "Tür 🙂"},
]


def write_folder(folder: Path, **files: object) -> Path:
    """Write a tokenizer folder; a keyword replaces a file (dots as __), None leaves it out."""
    contents: dict[str, object] = {
        "tokenizer__json": backend_json(),
        "tokenizer_config__json": {"bos_token": SPECIAL[0], "chat_template": BITNET},
        "generation_config__json": {"eos_token_id": [1, 2], "pad_token_id": 1},
        **files,
    }
    for name, content in contents.items():
        path = folder / name.replace("__", ".")
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


# ---- long texts


@pytest.mark.parametrize("more", [-1, 0, 1, 5000])
@pytest.mark.parametrize("added", [False, True])
def test_a_long_text_has_the_ids_of_the_package(more: int, added: bool) -> None:
    """From ``LONG`` characters on, they come from a call that lets other threads run."""
    text = ("héllo <|eot_id|> world " * 500)[: backend.LONG + more]
    want = TOKENIZER._backend.encode(text, add_special_tokens=added).ids
    whole = TOKENIZER.encode_whole(text) if added else TOKENIZER.encode(text, False)
    assert whole == want


def test_a_long_text_that_cannot_be_encoded_is_refused_in_a_sentence() -> None:
    lacking = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="?"))
    for count in (1, backend.LONG):
        with pytest.raises(TokenizerError, match="the text cannot be encoded: "):
            backend.encoded(lacking, "b" * count)


# ---- bos


@pytest.mark.parametrize("template", [BITNET, CHATML])
def test_bos_comes_exactly_once(template: str) -> None:
    tokenizer = make_tokenizer(template)
    for ids in (
        tokenizer.encode("hello"),
        tokenizer.encode("<|begin_of_text|>hello"),
        tokenizer.encode("<|begin_of_text|><|begin_of_text|>hello"),
        tokenizer.encode(""),
        tokenizer.encode_chat(TALK),
    ):
        assert ids[0] == BOS
        assert ids.count(BOS) == 1
        assert EOS not in ids
    assert tokenizer.bos_token_id == BOS
    assert BOS not in tokenizer.encode("hello", add_special_tokens=False)


def test_a_tokenizer_without_a_post_processor_adds_nothing(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path,
        tokenizer_config__json={"bos_token": SPECIAL[0], "add_bos_token": True},
        generation_config__json={"bos_token_id": 0},
    )
    for tokenizer in (Tokenizer.from_folder(folder), make_tokenizer(post_processor=False)):
        assert tokenizer.bos_token_id is None
        assert BOS not in tokenizer.encode("hello")
    assert BOS not in tokenizer.encode_chat(QUESTION)
    written = make_tokenizer(CHATML, post_processor=False).encode_chat(QUESTION)
    assert written.count(BOS) == 1  # by the template


# ---- special ids


def test_all_ids_that_end_an_answer_are_found(tmp_path: Path) -> None:
    def ends(template: str | None, eos_token_id: object) -> set[int]:
        config = {"eos_token": {"content": SPECIAL[1]}, "chat_template": template}
        folder = write_folder(
            tmp_path,
            tokenizer_config__json=config,
            generation_config__json={"eos_token_id": eos_token_id},
        )
        return set(Tokenizer.from_folder(folder).eos_token_ids)

    assert ends(None, None) == {EOS}
    assert ends(None, 2) == {EOS, EOT}
    assert ends(None, [2, 3]) == {EOS, EOT, IM_START}
    assert ends(BITNET, 1) == {EOS, EOT}  # only the template names the latter
    assert ends(CHATML, 1) == {EOS, IM_END}
    assert ends("{{ raise_exception('no') }}", 1) == {EOS}


def test_a_pad_token_always_exists(tmp_path: Path) -> None:
    assert Tokenizer.from_folder(write_folder(tmp_path)).pad_token_id == 1
    assert make_tokenizer().pad_token_id in make_tokenizer().eos_token_ids
    assert Tokenizer(tokenizers.Tokenizer.from_str(backend_json())).pad_token_id == 0


# ---- Python manners


def test_a_tokenizer_can_be_pickled_and_copied(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, tokenizer__json=backend_json(post_processor=True))
    split = make_tokenizer()
    split = Tokenizer(split._backend, {"split_special_tokens": True, "bos_token": SPECIAL[0]})
    for tokenizer in (make_tokenizer(), CHATML_TOKENIZER, Tokenizer.from_folder(folder), split):
        for other in (
            pickle.loads(pickle.dumps(tokenizer)),
            copy.copy(tokenizer),
            copy.deepcopy(tokenizer),
        ):
            text = "hello <|eot_id|> 🙂"
            assert other.encode(text) == tokenizer.encode(text)
            assert other.decode([0, 73, 2, 74]) == tokenizer.decode([0, 73, 2, 74])
            assert other.eos_token_ids == tokenizer.eos_token_ids
            assert other.has_chat_template == tokenizer.has_chat_template
            if other.has_chat_template:
                assert other.encode_chat(TALK) == tokenizer.encode_chat(TALK)


def test_numpy_integers_are_ids_and_other_things_are_not() -> None:
    ids = TOKENIZER.encode("hello")
    row: Any
    for row in (np.array(ids), np.array(ids, np.uint16), [np.int32(i) for i in ids], tuple(ids)):
        assert TOKENIZER.decode(row) == "hello"
    assert TOKENIZER.decode([10**6, 1 << 31]) == ""  # unknown
    for wrong in (True, np.True_, -1, np.int64(-5), 1.0, np.float32(2), "3", None, 1 << 40):
        with pytest.raises(TokenizerError, match=r"a token id is .*, expected an integer of at"):
            TOKENIZER.decode([wrong])  # type: ignore[list-item]


# ---- chat template


def test_the_templates_render_the_expected_text() -> None:
    assert TOKENIZER.render_chat(TALK) == (
        "System: the cat<|eot_id|>User: hello<|eot_id|>Assistant: hello there<|eot_id|>"
        "User: Tür 🙂<|eot_id|>Assistant: "
    )
    assert CHATML_TOKENIZER.render_chat(QUESTION, add_generation_prompt=False) == (
        "<|begin_of_text|><|im_start|>user\nhello<|im_end|>\n"
    )
    ids = TOKENIZER.encode_chat(TALK)
    assert ids == TOKENIZER.encode(TOKENIZER.render_chat(TALK))
    assert ids.count(EOT) == 4


@pytest.mark.parametrize("source", ["file", "string", "list"])
def test_a_template_is_found_in_each_place(tmp_path: Path, source: str) -> None:
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": BITNET}]
    config = {"chat_template": {"file": "unused", "string": BITNET, "list": named}[source]}
    file = {"chat_template__jinja": BITNET} if source == "file" else {}
    tokenizer = Tokenizer.from_folder(write_folder(tmp_path, tokenizer_config__json=config, **file))
    assert tokenizer.render_chat(QUESTION) == "User: hello<|eot_id|>Assistant: "


def test_templates_can_use_the_helpers_of_transformers() -> None:
    source = (
        "{%- for message in messages %}\n"
        "    {%- if loop.index > 1 %}{% break %}{% endif %}\n"
        "{% generation %}{{ message | tojson }}{% endgeneration %}\n"
        "{%- endfor %}{{ strftime_now('%Y') | length }}{{ eos_token }}{{ tools is none }}"
    )
    text = make_tokenizer(source).render_chat([{"role": "user", "content": "<ü>"}, *QUESTION])
    assert text == '{"role": "user", "content": "<ü>"}4<|end_of_text|>True'


def test_templates_render_as_in_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    for source in (BITNET, CHATML, REWRITING):
        theirs = transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizers.Tokenizer.from_str(backend_json()),
            bos_token=SPECIAL[0],
            eos_token=SPECIAL[1],
            chat_template=source,
        )
        for prompt in (False, True):
            expected = theirs.apply_chat_template(
                TALK, tokenize=False, add_generation_prompt=prompt
            )
            assert make_tokenizer(source).render_chat(TALK, prompt) == expected


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('system role not supported') }}",
        "{{ messages[0].content.__class__.__mro__ }}",  # the sandbox
        "{% for i in range(10 ** 9) %}{% endfor %}",
        "{{ messages.append(1) }}",
        "{{ messages[0].nothing.at_all }}",
        "{{ 1 / 0 }}",
    ],
)
def test_a_failing_template_raises_a_tokenizer_error(source: str) -> None:
    with pytest.raises(TokenizerError, match="chat template failed"):
        make_tokenizer(source).encode_chat(QUESTION)


def test_a_chat_without_template_or_messages_is_refused() -> None:
    with pytest.raises(TokenizerError, match="has no chat template, expected chat_template"):
        make_tokenizer(None).encode_chat(QUESTION)
    for messages in ([], ["hello"]):
        with pytest.raises(TokenizerError, match="expected at least one mapping"):
            TOKENIZER.encode_chat(messages)  # type: ignore[arg-type]


# ---- control tokens that users write


def controls(ids: list[int]) -> list[int]:
    return [token for token in ids if token < len(SPECIAL)]


@given(
    st.lists(
        st.sampled_from([*SPECIAL, "<", "|>", "eot_id|>", "<|eot_", "\ue000", "a", " ", "🙂"]),
        max_size=8,
    ).map("".join)
)
def test_a_user_cannot_write_control_tokens(content: str) -> None:
    for tokenizer in (TOKENIZER, CHATML_TOKENIZER):
        plain, evil = ([{"role": "user", "content": text}] for text in ("hello", content))
        ids = tokenizer.encode_chat(evil)
        assert controls(ids) == controls(tokenizer.encode_chat(plain))
        # The ids decode to exactly the text that the template renders.
        text = tokenizer.decode(ids, skip_special_tokens=False)
        assert text.removeprefix(SPECIAL[0]) == tokenizer.render_chat(evil).removeprefix(SPECIAL[0])
        after = tokenizer.encode_after_reply(plain, evil)
        assert after is not None
        assert controls(after) == controls(tokenizer.encode_after_reply(plain, plain) or [])


def test_special_tokens_of_one_letter_are_text_in_messages() -> None:
    backend = tokenizers.Tokenizer.from_str(backend_json())
    backend.add_special_tokens(["§", "∑"])
    tokenizer = Tokenizer(backend, chat_template=BITNET.replace("User", "∑"))
    question = [{"role": "user", "content": "he∑llo"}]
    ids = tokenizer.encode_chat(question)
    assert tokenizer.decode(ids, skip_special_tokens=False) == tokenizer.render_chat(question)
    assert not {backend.token_to_id("∑")} & set(ids)
    # The vocabulary already has this one, for the second of its bytes: as text it has the same id.
    with pytest.raises(TokenizerError, match="cannot read as text"):
        tokenizer.encode_chat([{"role": "user", "content": "he§llo"}])


# ---- what follows a reply


@pytest.mark.parametrize("tokenizer", [TOKENIZER, CHATML_TOKENIZER])
def test_prompt_reply_and_following_ids_make_the_whole_chat(tokenizer: Tokenizer) -> None:
    after = tokenizer.encode_after_reply(TALK[:2], TALK[3:])
    assert after is not None
    reply = tokenizer.encode("hello there", add_special_tokens=False)
    ids = tokenizer.encode_chat(TALK[:2]) + reply + after
    whole = tokenizer.encode_chat(TALK)
    assert tokenizer.decode(ids, False) == tokenizer.decode(whole, False)
    assert controls(ids) == controls(whole)
    # "Assistant: " ends in a space; encoding the whole text joins it to the reply's first word.
    assert (ids == whole) == (tokenizer is CHATML_TOKENIZER)


def test_a_template_that_rewrites_earlier_turns_is_detected() -> None:
    twice = BITNET.replace("{{ content }}", "{{ content }}{{ content }}")
    moved = BITNET.replace("'Assistant: '", "'Assistant: <think>'")
    for source in (REWRITING, twice, moved):
        assert make_tokenizer(source).encode_after_reply(QUESTION, QUESTION) is None


# ---- streaming


def stream(ids: list[int], skip: bool = True) -> list[str]:
    decoder = StreamDecoder(TOKENIZER, skip_special_tokens=skip)
    return [*(decoder.push(token) for token in ids), decoder.flush()]


@given(st.text(), st.booleans())
def test_streamed_text_has_whole_characters_and_equals_decode(text: str, skip: bool) -> None:
    ids = TOKENIZER.encode(text)
    pieces = stream(ids, skip)
    assert "".join(pieces) == TOKENIZER.decode(ids, skip)
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


@given(st.lists(st.integers(0, 320)), st.booleans())
def test_any_streamed_ids_give_the_text_of_decode(ids: list[int], skip: bool) -> None:
    pieces = stream(ids, skip)
    assert "".join(pieces) == TOKENIZER.decode(ids, skip)
    for piece in pieces:
        piece.encode("utf-8")  # no lone surrogates


@given(st.lists(st.sampled_from(["🙂", "ü", "€", b"\xf0\x9f", b"\x82", b"\xff", b"\xe2", "a"])))
def test_bytes_that_no_token_completes_become_replacement_characters(
    parts: list[str | bytes],
) -> None:
    data = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
    ids = byte_ids(data)
    assert "".join(stream(ids)) == data.decode("utf-8", errors="replace")


def byte_ids(data: bytes) -> list[int]:
    """Return one token for each byte, in the alphabet of byte-level BPE."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {byte: chr(byte) for byte in shown}
    letters |= {byte: chr(256 + place) for place, byte in enumerate(hidden)}
    vocabulary = json.loads(backend_json())["model"]["vocab"]
    return [vocabulary[letters[byte]] for byte in data]


def test_a_character_is_returned_with_its_last_byte() -> None:
    assert stream(byte_ids("a🙂b".encode())) == ["a", "", "", "", "🙂", "b", ""]
    # Of four bytes that cannot begin a character, three are held back: they might be one.
    assert stream(byte_ids(b"\xff\xff\xff\xff")) == ["", "", "", "\ufffd", "\ufffd\ufffd\ufffd"]


def test_a_decoder_that_strips_the_first_space_does_so_once() -> None:
    backend = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({"▁a": 0, "▁b": 1, "c": 2, "?": 3}, unk_token="?")
    )
    backend.decoder = tokenizers.decoders.Metaspace()
    tokenizer = Tokenizer(backend)
    decoder = StreamDecoder(tokenizer)
    assert [decoder.push(token) for token in [0, 1, 2, 1]] == ["a", " b", "c", " b"]


# ---- files


def without_ids() -> str:
    """Return a tokenizer.json whose post-processor writes tokens that it gives no ids."""
    file = json.loads(backend_json(post_processor=True))
    file["post_processor"]["special_tokens"] = {}
    return json.dumps(file)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("tokenizer__json", None, "tokenizer.json cannot be read: No such file"),
        ("tokenizer__json", "", "tokenizer.json is empty"),
        ("tokenizer__json", backend_json()[:-100], "tokenizer.json is not a readable tokenizer"),
        ("tokenizer__json", "[]", "tokenizer.json is not a readable tokenizer"),
        ("tokenizer__json", b"\xff\xfe{}", "tokenizer.json is damaged, expected UTF-8"),
        ("tokenizer_config__json", None, "tokenizer_config.json does not exist"),
        ("tokenizer_config__json", " \n", "tokenizer_config.json cannot be read as JSON"),
        ("tokenizer_config__json", "{", "tokenizer_config.json cannot be read as JSON"),
        ("tokenizer_config__json", [1], "tokenizer_config.json holds a JSON list"),
        ("tokenizer_config__json", {"bos_token": "<s>"}, "is '<s>', expected a token of tokenizer"),
        ("tokenizer_config__json", {"eos_token": "<s>"}, "is '<s>', expected a token of tokenizer"),
        ("tokenizer_config__json", {"tokenizer_class": "BertTokenizer"}, "is BertTokenizer, exp"),
        ("tokenizer_config__json", {"tokenizer_class": 3}, "is 3, expected the name of a class"),
        ("tokenizer_config__json", {"added_tokens_decoder": [1]}, "added_tokens_decoder is not"),
        (
            "tokenizer_config__json",
            {"added_tokens_decoder": {"x": {"content": "<x>"}}},
            "added_tokens_decoder is not readable, expected added tokens by their ids",
        ),
        (
            "tokenizer_config__json",
            {"added_tokens_decoder": {"2": {"content": "<x>"}}},
            "added token '<x>' is declared with the id 2, and the tokenizer gives it",
        ),
        (
            "tokenizer_config__json",
            {"added_tokens_decoder": {"2": {"content": "<|eot_id|>", "lstrip": 1}}},
            "expected flags of true or false",
        ),
        (
            "tokenizer__json",
            without_ids(),
            "post_processor of tokenizer.json writes '<|begin_of_text|>', expected one of its",
        ),
        ("tokenizer_config__json", {"bos_token": "\ud800"}, "expected a string"),
        ("tokenizer_config__json", {"extra_special_tokens": "x"}, "expected a list or an object"),
        ("special_tokens_map__json", "{", "special_tokens_map.json cannot be read as JSON"),
        ("added_tokens__json", {"<x>": "y"}, "added_tokens.json is not readable"),
        ("config__json", "[]", "config.json holds a JSON list"),
        ("tokenizer_config__json", {"bos_token": 7}, "special token 7, expected a string"),
        ("tokenizer_config__json", {"chat_template": 7}, "expected a string, an object"),
        ("tokenizer_config__json", {"chat_template": [{"name": "rag"}]}, "expected a string, an"),
        ("tokenizer_config__json", {"chat_template": "{% if %}"}, "is not valid Jinja"),
        ("generation_config__json", "nonsense", "generation_config.json cannot be read as JSON"),
        ("generation_config__json", {"eos_token_id": "</s>"}, "generation_config.json is '</s>'"),
        ("generation_config__json", {"eos_token_id": [1, -2]}, "eos_token_id"),
        ("chat_template__jinja", "", "chat_template.jinja is empty"),
        ("chat_template__jinja", "{{ messages", "is not valid Jinja"),
    ],
)
def test_a_damaged_file_is_refused(
    tmp_path: Path, file: str, content: object, message: str
) -> None:
    folder = write_folder(tmp_path, **{file: content})
    with pytest.raises(TokenizerError) as caught:
        Tokenizer.from_folder(folder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_generation_config_may_be_missing_and_truncation_is_turned_off(tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer.from_str(backend_json(post_processor=True))
    backend.enable_truncation(3)
    backend.enable_padding(length=8)
    folder = write_folder(
        tmp_path,
        tokenizer__json=backend.to_str(),
        tokenizer_config__json={"eos_token": SPECIAL[1]},
        generation_config__json=None,
    )
    assert len(Tokenizer.from_folder(folder).encode("hello " * 10)) > 8
    assert Tokenizer.from_folder(folder).encode("e") == [BOS, *TOKENIZER.encode("e")[1:]]


def test_text_that_is_not_unicode_is_refused() -> None:
    for text, found in (
        ("a\udfff", r"text with .udfff, half of"),
        (None, "NoneType"),
        (b"a", "bytes"),
    ):
        with pytest.raises(TokenizerError, match=f"{found} .*cannot be encoded, expected"):
            TOKENIZER.encode(text)  # type: ignore[arg-type]
