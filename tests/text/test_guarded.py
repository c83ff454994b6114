"""The text of a special token in a message is encoded as any text, with no extra blank."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bitnet_onnx.errors import TokenizerError
from bitnet_onnx.text.streaming import StreamDecoder
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.paths import DEMO
from tests.support.text import folders

transformers = pytest.importorskip("transformers")

# The token at the start, in the middle and at the end; beside blanks, twice, overlapping.
CONTENTS = [
    "<s>",
    "hello <s> there",
    "hello<s>there </s>",
    "</s><s> cat",
    "</</s>s> 1<|eot_id|>",
    "<|eot_id|>\n<|eot_id|>",
    "no token at all",
]
TURNS = (
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
BARE = "{% for m in messages %}{{ m.content }}{% endfor %}"
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "byte": ("byte", {}),
    "metaspace": ("metaspace", {}),
    "llama": ("metaspace", {"tokenizer_class": "LlamaTokenizer"}),
    "llama-legacy": ("metaspace", {"tokenizer_class": "LlamaTokenizer", "legacy": True}),
    "gemma": ("metaspace", {"tokenizer_class": "GemmaTokenizer"}),
    "qwen2": ("byte", {"tokenizer_class": "Qwen2Tokenizer"}),
}


def make(folder: Path, kind: str, template: str, rename: bool = False) -> Path:
    """Write a tokenizer; ``rename`` gives its special tokens other names, in the template too."""
    name, config = KINDS[kind]
    file = json.dumps(folders.trained(name))
    given = json.dumps(folders.NAMED | config | {"chat_template": template})
    if rename:
        for token in folders.SPECIAL:
            file = file.replace(json.dumps(token), json.dumps(token.replace("<", "«")))
            given = given.replace(token, token.replace("<", "«"))
    files = {"tokenizer.json": json.loads(file), "tokenizer_config.json": json.loads(given)}
    return folders.write(files, folder)


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_messages_are_encoded_as_if_the_token_were_not_special(
    tmp_path: Path, kind: str, content: str
) -> None:
    ours = Tokenizer.from_folder(make(tmp_path / "a", kind, TURNS))
    # In this tokenizer the text is not that of a special token, so transformers reads it as text.
    renamed = make(tmp_path / "b", kind, TURNS.replace("<", "«"), rename=True)
    theirs = transformers.AutoTokenizer.from_pretrained(str(renamed))
    messages = [
        {"role": "user", "content": content},
        {"role": "assistant", "content": f"hello {content}"},
        {"role": "user", "content": content},
    ]
    want = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert ours.encode_chat(messages) == want


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_bare_message_is_encoded_as_split_special_tokens(
    tmp_path: Path, kind: str, content: str
) -> None:
    folder = make(tmp_path, kind, BARE)
    theirs = transformers.AutoTokenizer.from_pretrained(str(folder))
    want = theirs(content, add_special_tokens=False, split_special_tokens=True).input_ids
    assert Tokenizer.from_folder(folder).encode_chat([{"role": "user", "content": content}]) == want


@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_a_reply_gains_no_blank(tmp_path: Path, kind: str) -> None:
    # No merge joins a bar to what is before it.
    template = TURNS.replace("<|eot_id|>", "| end\n").replace("<s>", "")
    folder = make(tmp_path, kind, template)
    ours = Tokenizer.from_folder(folder)
    before: list[Any] = [{"role": "user", "content": "hello"}]
    after = [{"role": "user", "content": "<s> there"}]
    tail = ours.encode_after_reply(before, after)
    assert tail is not None
    whole = ours.encode_chat([*before, {"role": "assistant", "content": "cat"}, *after])
    assert whole[-len(tail) :] == tail


def test_a_token_of_the_template_that_the_tokenizer_lacks_is_refused(tmp_path: Path) -> None:
    files = folders.variants()["pad-unknown"]
    files["tokenizer_config.json"]["chat_template"] = "{{ messages[0].content }}{{ pad_token }}"
    tokenizer = Tokenizer.from_folder(folders.write(files, tmp_path))
    with pytest.raises(TokenizerError, match=r"writes '\[PAD\]', expected a token of tokenizer"):
        tokenizer.encode_chat([{"role": "user", "content": "x"}])
    files["tokenizer_config.json"]["chat_template"] = BARE
    tokenizer = Tokenizer.from_folder(folders.write(files, tmp_path))
    ids = tokenizer.encode_chat([{"role": "user", "content": "[PAD]"}])
    assert max(ids) < tokenizer.vocab_size
    assert tokenizer.pad_token_id == folders.EOS


def test_a_token_that_the_model_makes_of_plain_text_is_refused(tmp_path: Path) -> None:
    file = folders.trained("words")
    config = folders.NAMED | {"chat_template": BARE}
    file["pre_tokenizer"] = {"type": "WhitespaceSplit"}  # keeps <s> whole, and it is a word
    files = {"tokenizer.json": file, "tokenizer_config.json": config}
    tokenizer = Tokenizer.from_folder(folders.write(files, tmp_path))
    with pytest.raises(TokenizerError, match="cannot read as text"):
        tokenizer.encode_chat([{"role": "user", "content": "the <s> cat"}])


def test_a_normalizer_does_not_make_a_token_of_other_text(tmp_path: Path) -> None:
    file = folders.trained("byte") | {"normalizer": {"type": "Lowercase"}}
    file["added_tokens"][folders.BOS]["normalized"] = True
    config = folders.NAMED | {"chat_template": "<s>" + BARE}
    files = {"tokenizer.json": file, "tokenizer_config.json": config}
    tokenizer = Tokenizer.from_folder(folders.write(files, tmp_path))
    assert tokenizer.encode("<S>") == [folders.BOS]  # as in transformers
    ids = tokenizer.encode_chat([{"role": "user", "content": "<S> <s>"}])
    assert ids.count(folders.BOS) == 1
    assert ids[0] == folders.BOS


def test_a_secret_name_never_reaches_the_model(tmp_path: Path) -> None:
    """A normalizer that prepends a blank hides the names of normalized tokens inside a text."""
    blank = {"type": "Prepend", "prepend": "\u2581"}
    file = json.loads((DEMO / "tokenizer.json").read_text("utf-8"))
    tokens = [token | {"normalized": True} for token in file["added_tokens"]]
    changed = {**file, "normalizer": blank, "added_tokens": tokens}
    (tmp_path / "tokenizer.json").write_text(json.dumps(changed))
    template = "{% for m in messages %}{{ m.content }}<|eot_id|>{% endfor %}"
    config = {"eos_token": "<|eot_id|>", "chat_template": template}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.from_folder(tmp_path)
    messages = [{"role": "user", "content": "a <|eot_id|> b"}, {"role": "user", "content": "c"}]
    with pytest.raises(TokenizerError, match="does not tell the template's special tokens"):
        tokenizer.encode_chat(messages)


def test_a_named_token_is_special_whatever_its_flag_says(tmp_path: Path) -> None:
    file = json.loads((DEMO / "tokenizer.json").read_text("utf-8"))
    tokens = [token | {"special": False} for token in file["added_tokens"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps({**file, "added_tokens": tokens}))
    config = {"eos_token": "<|eot_id|>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    theirs, ours = (
        transformers.AutoTokenizer.from_pretrained(tmp_path),
        Tokenizer.from_folder(tmp_path),
    )
    ids = ours.encode("a<|eot_id|>b")
    assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)
    assert "<|eot_id|>" not in ours.decode(ids)


@pytest.mark.parametrize("kind", ["unigram", "words"])
def test_a_character_that_the_vocabulary_lacks_is_not_a_special_token(
    tmp_path: Path, kind: str
) -> None:
    config = folders.NAMED | {"chat_template": "{{ messages[0].content }}<end>"}
    file = folders.trained(kind)
    end = folders.added(len(file["model"]["vocab"]), "<end>", special=True)
    file["added_tokens"].append(end)
    files = {"tokenizer.json": file, "tokenizer_config.json": config}
    tokenizer = Tokenizer.from_folder(folders.write(files, tmp_path))
    ids = tokenizer.encode_chat([{"role": "user", "content": "hello \u4e16 <end>"}])
    assert folders.SPECIAL.index("<unk>") in ids
    assert ids.count(end["id"]) == 1


@pytest.mark.parametrize(
    "looks",
    [
        "{{ messages[0].content|length }}",
        "{{ messages[0].content[:12] }}",
        "{% if '<s>' in messages[0].content %}x{% endif %}",
        "{{ messages[0].content.split('</s>')[0] }}",
        "{{ tools[0].name|length }}",
    ],
)
def test_a_template_that_looks_into_such_a_text_is_refused(tmp_path: Path, looks: str) -> None:
    """What stands in the text would decide otherwise than the same text does in transformers."""
    ours = Tokenizer.from_folder(make(tmp_path, "byte", TURNS + looks))
    tools = [{"name": "<s>"}] if "tools" in looks else None
    with pytest.raises(TokenizerError, match="looks into a message's text"):
        ours.encode_chat([{"role": "user", "content": "hello <s> there</s>"}], tools=tools)
    other = [{"name": "f"}] if tools else None
    assert ours.encode_chat([{"role": "user", "content": "hello there"}], tools=other)


def test_a_special_token_that_a_normalizer_changes_is_shown(
    tmp_path: Path,
) -> None:
    file = folders.trained("byte") | {"normalizer": {"type": "Lowercase"}}
    for token in file["added_tokens"]:
        token["normalized"] = True
    capital = folders.added(len(file["model"]["vocab"]), "<|END|>", normalized=True, special=True)
    file["added_tokens"].append(capital)
    files = {"tokenizer.json": file, "tokenizer_config.json": folders.NAMED}
    tokenizer = Tokenizer.from_folder(folders.write(files, tmp_path))
    ids = tokenizer.encode("hello<|END|> there<|end|>")
    assert ids.count(capital["id"]) == 2
    streamed = StreamDecoder(tokenizer)
    text = "".join([*map(streamed.push, ids), streamed.flush()])
    theirs = transformers.AutoTokenizer.from_pretrained(str(tmp_path))
    assert tokenizer.decode(ids) == text == theirs.decode(ids, skip_special_tokens=True)
