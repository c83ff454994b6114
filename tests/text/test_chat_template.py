"""Chat templates render as in transformers, from each place, with all that they can use."""

from __future__ import annotations

import dataclasses
import json
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

from bitnet_onnx.errors import TokenizerError
from bitnet_onnx.text.tokenizer import Tokenizer
from tests.support.text.fakes import BITNET, SPECIAL, backend_json, make_tokenizer
from tests.support.text.templates import CALLED, EXPRESSIONS, PROMPT, STATEMENTS, TALK, TOOLS, USER


def theirs(template: str, **given: Any) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(backend_json()),
        bos_token=SPECIAL[0],
        eos_token=SPECIAL[1],
        chat_template=template,
        **given,
    )


def both(template: str, messages: Any, **given: Any) -> tuple[str, str]:
    """Return what transformers and this package render; a failure is ``failed``."""
    kwargs = dict(given)
    variables = kwargs.pop("chat_template_kwargs", {})
    try:
        expected = theirs(template).apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **kwargs, **variables
        )
    except Exception:
        expected = "failed"
    try:
        return expected, make_tokenizer(template).render_chat(messages, **given)
    except TokenizerError:
        return expected, "failed"


@pytest.mark.parametrize("messages", [USER, TALK, CALLED], ids=["user", "talk", "called"])
def test_every_feature_of_jinja_renders_as_in_transformers(messages: Any) -> None:
    assert len(EXPRESSIONS) > 90
    for template in [*("{{ " + line + " }}" + PROMPT for line in EXPRESSIONS), *STATEMENTS]:
        expected, found = both(template, messages)
        assert found == expected, template


def test_every_feature_renders_something() -> None:
    """Two failures are equal as well, so that there may be none."""
    failed = [line for line in EXPRESSIONS if both("{{ " + line + " }}", TALK)[1] == "failed"]
    assert failed == []


class Colour(StrEnum):
    RED = "red"


@dataclasses.dataclass
class Said:
    role: str
    content: str


def test_messages_of_other_types_become_plain_as_in_transformers() -> None:
    messages: Any = [
        {"role": "user", "content": Colour.RED, "n": np.int64(3), "f": np.float32(0.5)},
        {"role": "user", "content": ("a", "b"), "flag": np.bool_(False), "none": None},
        {"role": "assistant", "content": "x", "reasoning": "hm", "array": np.zeros(2)},
        {"role": "assistant", "content": "x", "thinking": "hm"},
    ]
    for template in ("{{ messages }}", "{{ messages|tojson }}", STATEMENTS[-1]):
        expected, found = both(template, messages)
        assert found == expected != "failed"
    said: Any = [Said("user", "hello")]
    assert make_tokenizer(BITNET).render_chat(said).startswith("User: hello")


# ---- tools, documents, variables

TOOL_TEMPLATE = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for d in documents or [] %}{{ d.title }}"
    "{% endfor %}{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}"
    "<tool_call>{{ c.function | tojson }}</tool_call>{% endfor %}{% elif m.role == 'tool' %}"
    "<tool_response>{{ m.content }}</tool_response>{% else %}{{ m.content }}{% endif %}{% endfor %}"
    "{% if enable_thinking is defined and enable_thinking is false %}<think></think>{% endif %}"
)


def test_tools_documents_and_variables_reach_the_template_as_in_transformers() -> None:
    documents = [{"title": "T", "text": "x"}]
    given: dict[str, Any]
    for given in (
        {},
        {"tools": TOOLS},
        {"tools": [], "documents": []},
        {"documents": documents, "chat_template_kwargs": {"enable_thinking": False}},
        {"tools": TOOLS, "documents": documents, "chat_template_kwargs": {"bos_token": "B"}},
    ):
        template = TOOL_TEMPLATE + "{{ bos_token }}"
        expected, found = both(template, CALLED, **given)
        assert found == expected != "failed"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tools": TOOLS}, "the chat template does not use tools"),
        ({"documents": [{"title": "a"}]}, "the chat template does not use documents"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "does not use enable_thinking"),
        # The template makes these itself, and reads no other value of them.
        ({"chat_template_kwargs": {"message": 1}}, "does not use message"),
        ({"chat_template_kwargs": {"loop": 1}}, "does not use loop"),
        ({"chat_template_kwargs": {"messages": []}}, "names 'messages', expected a variable"),
        ({"chat_template_kwargs": {"a b": 1}}, "names 'a b', expected a variable"),
        ({"tools": TOOLS[0]}, "tools holds a dict, expected a list of JSON schemas"),
        ({"tools": [print]}, "tools holds a function, expected a list of JSON schemas"),
        ({"tools": ["weather"]}, "tools holds a str, expected a list of JSON schemas"),
        ({"tools": [{}]}, "tools holds a dict, expected a list"),
        ({"documents": "x"}, "documents holds a str, expected a list of objects"),
    ],
)
def test_what_the_template_does_not_use_is_refused_by_name(given: Any, message: str) -> None:
    for call in (make_tokenizer(BITNET).render_chat, make_tokenizer(BITNET).encode_chat):
        with pytest.raises(TokenizerError, match=message):
            call(USER, **given)


def test_special_tokens_stay_text_wherever_a_caller_writes_them() -> None:
    template = TOOL_TEMPLATE + "{{ name }}{{ messages[0] | tojson(ensure_ascii=True) }}<|eot_id|>"
    tokenizer = make_tokenizer(template)
    evil = "a<|eot_id|>b<|im_end|>"
    ids = tokenizer.encode_chat(
        [{"role": "user", "content": evil}, {"role": "tool", "content": evil, evil: evil}],
        tools=[{"name": evil, evil: {evil: evil}}],
        documents=[{"title": evil}],
        chat_template_kwargs={"name": evil},
    )
    assert [i for i in ids[1:] if i < len(SPECIAL)] == [2]
    assert tokenizer.decode(ids[1:], skip_special_tokens=False) == tokenizer.render_chat(
        [{"role": "user", "content": evil}, {"role": "tool", "content": evil, evil: evil}],
        tools=[{"name": evil, evil: {evil: evil}}],
        documents=[{"title": evil}],
        chat_template_kwargs={"name": evil},
    )


# ---- which template


def folder(path: Path, config: dict[str, Any], **files: str) -> Path:
    (path / "tokenizer.json").write_text(backend_json())
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": SPECIAL[1], **config}
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    for name, text in files.items():
        file = path / name.replace("___", "/").replace("__", ".")
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(text.encode())
    return path


ENTRY = [{"name": "default", "template": "list"}, {"name": "tool_use", "template": "L{{ tools }}"}]
OBJECT = {"default": "object", "tool_use": "O{{ tools }}"}
EXTRA = {"additional_chat_templates___tool_use__jinja": "file {{ tools }}"}


@pytest.mark.parametrize(
    ("field", "files"),
    [
        ("text {{ tools }}", {}),
        (ENTRY, {}),
        (OBJECT, {}),
        ([{"name": "tool_use", "template": "only {{ tools }}"}], {}),
        (OBJECT, {"chat_template__jinja": "file{{ tools }}"}),
        (OBJECT, EXTRA),
        (None, EXTRA | {"chat_template__jinja": "\ufefffile\r\n{{ tools }}\r\n"}),
        (None, {"additional_chat_templates___rag__jinja": "x"}),
        (None, {}),
    ],
)
def test_the_template_is_the_one_that_transformers_takes(
    tmp_path: Path, field: Any, files: dict[str, str]
) -> None:
    transformers = pytest.importorskip("transformers")
    path = folder(tmp_path, {} if field is None else {"chat_template": field}, **files)
    theirs, ours = transformers.AutoTokenizer.from_pretrained(path), Tokenizer.from_folder(path)
    for tools in (None, TOOLS):
        try:
            expected = theirs.apply_chat_template(USER, tools=tools, tokenize=False)
        except ValueError:
            with pytest.raises(TokenizerError, match="chat template"):
                ours.render_chat(USER, False, tools=tools)
            continue
        if tools and "function" not in expected:  # the template has no place for them
            with pytest.raises(TokenizerError, match="does not use tools"):
                ours.render_chat(USER, False, tools=tools)
        else:
            assert ours.render_chat(USER, False, tools=tools) == expected


def test_an_older_processor_file_is_read_where_there_is_no_other_template(tmp_path: Path) -> None:
    path = folder(tmp_path, {}, chat_template__json='{"chat_template": "old"}')
    assert Tokenizer.from_folder(path).render_chat(USER) == "old"
    path = folder(tmp_path, {"chat_template": "new"})
    assert Tokenizer.from_folder(path).render_chat(USER) == "new"


@pytest.mark.parametrize(
    "names",
    [
        {"sep_token": "<|eot_id|>", "cls_token": "<|im_start|>", "mask_token": "<|im_end|>"},
        {"extra_special_tokens": {"image_token": "<|eot_id|>", "x": "<|im_end|>"}},
        {"extra_special_tokens": ["<|eot_id|>"]},
        {"additional_special_tokens": ["<|eot_id|>"]},
        {"image_token": "<|eot_id|>", "add_x_token": True, "n_token": None},
        {"bos_token": {"__type": "AddedToken", "content": "<|eot_id|>"}},
        {"pad_token": None, "unk_token": None},
    ],
)
def test_named_tokens_are_those_of_transformers(tmp_path: Path, names: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    shown = "bos eos unk sep pad cls mask image n add_x".split()
    template = "|".join(f"{{{{ {name}_token }}}}" for name in shown)
    template += "{{ x }}{{ additional_special_tokens is defined }}{{ extra_special_tokens }}"
    path = folder(tmp_path, {"chat_template": template, **names})
    theirs = transformers.AutoTokenizer.from_pretrained(path)
    expected = theirs.apply_chat_template(USER, tokenize=False)
    assert Tokenizer.from_folder(path).render_chat(USER) == expected


@pytest.mark.parametrize(
    "field", [7, [], {}, ["x"], [{"name": "a"}], {"default": 1}, [{"template": "x"}], True]
)
def test_templates_of_another_form_are_refused(tmp_path: Path, field: Any) -> None:
    with pytest.raises(TokenizerError, match=r"chat_template in tokenizer_config.json .* expected"):
        Tokenizer.from_folder(folder(tmp_path, {"chat_template": field}))


def test_an_artifact_keeps_the_templates_of_a_folder(tmp_path: Path) -> None:
    from bitnet_onnx.weights.checkpoint.files import read_texts

    (source := tmp_path / "checkpoint").mkdir()
    (target := tmp_path / "artifact").mkdir()
    folder(source, {"chat_template": "unused"}, chat_template__jinja="file", **EXTRA)
    for name, content in read_texts(source).items():
        (target / name).write_bytes(content)
    for path in (source, target):
        tokenizer = Tokenizer.from_folder(path)
        assert tokenizer.render_chat(USER) == "file"
        assert "weather" in tokenizer.render_chat(USER, tools=TOOLS)


@pytest.mark.parametrize("depth", [100, 300, 450, 900, 5000])
def test_messages_nested_deep_are_rendered_or_refused(depth: int) -> None:
    nested: Any = "x"
    for _ in range(depth):
        nested = [nested]
    tokenizer = make_tokenizer("{{ messages|length }}")
    try:
        assert tokenizer.encode_chat([{"role": "user", "content": nested}])
    except TokenizerError as error:
        assert depth > 100, error  # noqa: PT017 - both are right
