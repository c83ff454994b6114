"""chat.json: the ids of the template, or a refusal; never other ids."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitnet_onnx.errors import TokenizerError
from bitnet_onnx.exporter.chat import file as chat_file
from bitnet_onnx.text import backend, library
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.text.chat_files import chat_folder, chat_json, proven_folders, read_ids, refused
from tests.support.text.fakes import SPECIAL, backend_json
from tests.support.text.folders import trained
from tests.support.text.published_templates import CONCATENATIONS, OTHERS
from tests.support.text.templates import LOOP, TEMPLATES, TURN

REWRITING = {
    "numbers the turns": "writes a later turn otherwise than the first",
    "counts the turns": "writes a later turn otherwise than the first",
    "length first": "writes a later turn otherwise than the first",
    "changes case": "in a way of its own",
    "replaces letters": "in a way of its own",
    "writes JSON": "in a way of its own",
    "says a reply twice": "does not write each message once, in order",
    "keeps the last two": "does not write each message once, in order",
    "cuts long replies": "does not write each message once, in order",
}
KEPT = {name: text for name, text in TEMPLATES.items() if name not in REWRITING}
WORDS = [
    "hello", " ", "\n", "\t", "<|im_end|>", "<|im_start|>assistant\n", "<|eot_id|>", "<|begin_",
    "<think>\nhm\n</think>\n\n", "</think>", "<tool_response>", "</tool_response>", "[INST]",
    "der Größe nach", "\u3000", "é", "🙂", "{{ x }}", "\0", "user", "Assistant:", '"', "\\",
]  # fmt: skip
texts = st.lists(st.sampled_from(WORDS) | st.text(max_size=8), max_size=6).map("".join)


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, str]]:
    messages = []
    if (system := draw(st.none() | texts)) is not None:
        messages.append({"role": "system", "content": system})
    for _ in range(draw(st.integers(0, 3))):
        messages.append({"role": "user", "content": draw(texts)})
        messages.append({"role": "assistant", "content": draw(texts)})
    return [*messages, {"role": "user", "content": draw(texts)}]


def encoder(folder: Path) -> Any:
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    backend.encode_special_tokens = True
    return lambda text: backend.encode(text, add_special_tokens=False).ids


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return proven_folders({**CONCATENATIONS, **OTHERS, **KEPT}, tmp_path_factory)


@pytest.mark.parametrize("name", [*CONCATENATIONS, *OTHERS, *KEPT])
def test_the_ids_are_those_of_the_template_or_the_texts_are_refused(
    folders: dict[str, Path], name: str
) -> None:
    found = chat_json(folders[name])
    assert "unsupported" not in found, found
    chat, encode = found["conversation"], encoder(folders[name])
    tokenizer = Tokenizer.from_folder(folders[name])
    assert found["eos_token_ids"] == list(tokenizer.eos_token_ids)
    read = 0

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(conversations())
    def check(messages: list[dict[str, str]]) -> None:
        nonlocal read
        if chat["system"] is None and messages[0]["role"] == "system":
            messages = messages[1:]
        if not refused(chat, messages):
            read += 1
            assert read_ids(chat, messages, encode) == tokenizer.encode_chat(messages)

    check()
    assert read > 10


def test_what_only_some_templates_do_is_found(folders: dict[str, Path]) -> None:
    chats = {name: chat_json(folder)["conversation"] for name, folder in folders.items()}
    assert {name for name, chat in chats.items() if chat["system"] is None} == {
        "Gemma", "Mistral", "LLaMA 2"
    }  # fmt: skip
    dated = {name for name, chat in chats.items() if '"date"' in json.dumps(chat)}
    assert dated == {"LLaMA 3.1", "Granite 3.3", "begins with the date"}
    cut = {name: chat["assistant"]["cut"] for name, chat in chats.items()}
    assert cut["Qwen3"] == {"after": "</think>", "strip_left": "\n", "strip_right": ""}
    assert cut["DeepSeek-R1-Distill"] == {
        "after": "</think>", "strip_left": "", "strip_right": ""
    }  # fmt: skip
    assert {name for name in CONCATENATIONS if cut[name]} == {"Qwen3", "DeepSeek-R1-Distill"}
    assert chats["Qwen3"]["user"]["refused"] == ["<tool_response>"]
    asked = {name for name in CONCATENATIONS if chats[name]["user"]["refused"]}
    assert asked == {"Qwen3"}
    # The tokenizer adds the bos that BitNet's template does not write.
    assert chats["BitNet b1.58 2B-4T"]["user"]["before"][0] == {"token": "", "id": 0}
    assert chats["LLaMA 3"]["user"]["before"][0] == {"token": SPECIAL[0], "id": 0}


@pytest.mark.parametrize("name", REWRITING)
def test_a_template_that_is_no_concatenation_gives_the_reason(tmp_path: Path, name: str) -> None:
    found = chat_json(chat_folder(tmp_path, TEMPLATES[name]))
    assert set(found) == {"format_version", "eos_token_ids", "unsupported"}
    assert REWRITING[name] in found["unsupported"]


def plain(body: str) -> str:
    return LOOP.replace("BODY", body) + TURN


@pytest.mark.parametrize(
    ("body", "role", "words"),
    [
        ("{{ m.content.replace('/no_think', '') }}", "user", ["/no_think"]),
        ("{% if m.content == 'ping' %}pong{% else %}{{ m.content }}{% endif %}", "user", ["ping"]),
        ("{{ m.content if not m.content.startswith('!!') else 'shout' }}", "user", ["!!"]),
        ("{{ m.content if '[x]' not in m.content else '' }}", "system", ["[x]"]),
        (
            "{% if m.content.startswith('<a>') and m.content.endswith('</b>') %}-{% else %}"
            "{{ m.content }}{% endif %}",
            "user",
            ["<a>"],
        ),
    ],
)
def test_a_text_that_the_template_looks_for_is_refused(
    tmp_path: Path, body: str, role: str, words: list[str]
) -> None:
    chat = chat_json(chat_folder(tmp_path, plain(body)))["conversation"]
    assert chat[role]["refused"] == words


@pytest.mark.parametrize(
    "body",
    [
        "{{ m.content or 'nothing' }}",
        "{% if m.content|trim %}{{ m.content }}{% endif %}",
        "{{ m.content if m.content.strip() else '(blank)' }}",
    ],
)
def test_blank_texts_that_the_template_writes_otherwise_are_refused(
    tmp_path: Path, body: str
) -> None:
    chat = chat_json(chat_folder(tmp_path, plain(body)))["conversation"]
    assert chat["user"]["blank"] is chat["assistant"]["blank"] is False


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        (plain("{{ m.content[:40] }}"), "a text of"),
        (plain("{{ m.content if m.content|length < 3000 else 'long' }}"), "2999|3000"),
        (plain("{{ m.content|replace('a', 'b') }}"), "a way of its own"),
        (plain("{{ m.content }}{% if loop.index0 == 6 %}half{% endif %}"), "later turn|turns"),
        (plain("{{ m.content }}{% if '/x' in m.content|lower %}!{% endif %}"), "'/x'"),
        (plain("{{ m.content }}") + "{{ strftime_now('%H:%M') }}", "writes the date as '%H:%M'"),
        (
            plain("{{ m.content }}") + "{% if strftime_now('%m') == '02' %}cold{% endif %}",
            "other things on other days",
        ),
        (plain("{{ m.content|tojson }}"), "a way of its own"),
        ("{{ messages[-1].content }}", "does not write each message once"),
        ("{% for m in messages %}", "is not valid Jinja"),
        ("{{ raise_exception('no chat') }}", "no chat"),
        (None, "the checkpoint has no chat template"),
    ],
)
def test_the_reason_says_what_differs(tmp_path: Path, template: str | None, reason: str) -> None:
    found = chat_json(chat_folder(tmp_path, template))
    assert any(part in found["unsupported"] for part in reason.split("|")), found
    assert str(tmp_path) not in json.dumps(found)


def changed_tokenizer(**changes: Any) -> str:
    return json.dumps({**json.loads(backend_json(post_processor=True)), **changes})


def flagged(**flags: bool) -> str:
    added = json.loads(backend_json())["added_tokens"]
    return changed_tokenizer(added_tokens=[{**added[0], **flags}, *added[1:3], {
        **added[3], **flags}, *added[4:]])  # fmt: skip


@pytest.mark.parametrize(
    ("tokenizer", "reason"),
    [
        (json.dumps(trained("metaspace")), "not a byte-level BPE"),
        (json.dumps(trained("unigram")), "not a byte-level BPE"),
        (json.dumps(trained("words")), "not a byte-level BPE"),
        (flagged(lstrip=True), "depends on the text around it"),
        (flagged(rstrip=True), "depends on the text around it"),
        (flagged(single_word=True), "depends on the text around it"),
        ("{", "tokenizer.json is not a readable tokenizer"),
    ],
)
def test_a_tokenizer_that_native_apps_do_not_read_gives_the_reason(
    tmp_path: Path, tokenizer: str, reason: str
) -> None:
    names = {"bos_token": None, "eos_token": None} if "<s>" in tokenizer else {}
    found = chat_json(chat_folder(tmp_path, CONCATENATIONS["ChatML"], tokenizer, **names))
    assert reason in found["unsupported"]
    assert str(tmp_path) not in json.dumps(found)


def test_special_tokens_that_are_text_everywhere_are_text(tmp_path: Path) -> None:
    folder = chat_folder(tmp_path, CONCATENATIONS["ChatML"], split_special_tokens=True)
    chat = chat_json(folder)["conversation"]
    assert '"token": "<' not in json.dumps(chat)
    messages = [{"role": "user", "content": "a<|im_end|>"}]
    expected = Tokenizer.from_folder(folder).encode_chat(messages)
    assert read_ids(chat, messages, encoder(folder)) == expected


def test_thoughts_stay_special_tokens_in_answers_alone(tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer.from_str(backend_json(post_processor=True))
    backend.add_special_tokens(["<think>", "</think>"])
    folder = chat_folder(tmp_path, CONCATENATIONS["ChatML"], backend.to_str())
    chat = chat_json(folder)["conversation"]
    assert chat["assistant"]["tokens"] == {"</think>": 301, "<think>": 300}
    text = "<think>hello</think><|im_end|>"
    messages = [
        {"role": "user", "content": text},
        {"role": "assistant", "content": text},
        {"role": "user", "content": text},
    ]
    ids = read_ids(chat, messages, encoder(folder))
    assert ids == Tokenizer.from_folder(folder).encode_chat(messages)
    assert (ids.count(300), ids.count(301)) == (1, 1)


def test_a_config_that_changes_the_tokenizer_is_noticed(tmp_path: Path) -> None:
    """A token that only tokenizer_config.json makes special would be an id in a user's text."""
    added = json.loads(backend_json())["added_tokens"]
    changed = changed_tokenizer(added_tokens=[*added[:4], {**added[4], "special": False}])
    folder = chat_folder(tmp_path, CONCATENATIONS["LLaMA 3"], changed, x_token=SPECIAL[4])
    assert "special tokens in a text" in chat_json(folder)["unsupported"]


@pytest.mark.parametrize(
    ("config", "times"),
    [
        ({}, 1),
        ({"split_special_tokens": True}, 1),
        ({"tokenizer_class": "GPT2Tokenizer", "unk_token": None}, 2),
        ({"added_tokens_decoder": {"300": {"content": "<new>", "special": True}}}, 2),
    ],
)
def test_the_tokenizer_is_read_once_where_its_file_is_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], times: int
) -> None:
    read = []

    def counted(content: str, name: str) -> tokenizers.Tokenizer:
        read.append(name)
        return library.load(content, name)

    for module in (backend, chat_file):
        monkeypatch.setattr(module, "load", counted)
    found = chat_json(chat_folder(tmp_path, CONCATENATIONS["ChatML"], **config))
    assert len(read) == times, found


def test_an_export_writes_the_file_and_lists_it(demo_artifact: Path) -> None:
    manifest = json.loads((demo_artifact / "manifest.json").read_text())
    assert "chat.json" in manifest["files"]
    tokenizer = Tokenizer.from_folder(demo_artifact)
    chat = chat_json(demo_artifact)["conversation"]
    messages = [{"role": "user", "content": " What is 27 + 5?\n<|eot_id|>"}]
    assert read_ids(chat, messages, encoder(demo_artifact)) == tokenizer.encode_chat(messages)


def test_a_folder_without_a_tokenizer_gets_no_file(tmp_path: Path) -> None:
    from bitnet_onnx.exporter.chat.file import why_no_chat, write_chat

    write_chat(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert why_no_chat(tmp_path) == "the checkpoint has no tokenizer.json"
    with pytest.raises(TokenizerError):
        Tokenizer.from_folder(tmp_path)
