"""The form in which a template writes calls, as a grammar: what it allows, and what it does not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import tokenizers

pytest.importorskip("llguidance")
pytest.importorskip("starlette")
from bitnet_onnx.generation.constraints.compiled import Constraint
from bitnet_onnx.generation.constraints.outputs import StructuredOutputs
from bitnet_onnx.serve.call_form import CallForm, learned
from bitnet_onnx.text.tokenizer import Tokenizer
from bitnet_onnx.text.tool_calls import parse_tool_calls

if TYPE_CHECKING:
    from tests.support.serve.serving import Served

CITY = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"],
        "additionalProperties": False}  # fmt: skip
FUNCTIONS: dict[str, Any] = {"weather": CITY, "clock": {"type": "object"}}
HEAD = "{% for message in messages %}{{ '<' + message.role + '>' + message.content }}"
TAIL = "{% endfor %}{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}"
CALLS = "{% for tool in message.tool_calls or [] %}{% set f = tool.function %}"
QWEN = HEAD + CALLS + (
    "{{ '\\n' if not loop.first }}{{ '<tool_call>\\n' + {'name': f.name, 'arguments': f.arguments}"
    " | tojson + '\\n</tool_call>' }}{% endfor %}"
) + TAIL  # fmt: skip
GRANITE = HEAD + (
    "{% if message.tool_calls %}<|tool_call|>[{% for tool in message.tool_calls %}"
    "{{ ', ' if not loop.first }}{{ tool.function | tojson }}{% endfor %}]{% endif %}"
) + TAIL  # fmt: skip
XML = HEAD + CALLS + "<tool_call><function={{ f.name }}></function></tool_call>{% endfor %}" + TAIL
PLAIN = HEAD + "{% endfor %}"
WITH_ID = HEAD + "{% if message.tool_calls %}[TOOL_CALLS]{{ message.tool_calls | tojson }}" \
    "{% endif %}" + TAIL  # fmt: skip


def tokenizer(template: str, *special: str) -> Tokenizer:
    """A tokenizer of bytes, with control tokens."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    made = tokenizers.Tokenizer(tokenizers.models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<eos>", *special])
    return Tokenizer(made, {"eos_token": "<eos>"}, {}, template)


def accepts(made: Tokenizer, grammar: str, text: str) -> bool:
    size = made.vocab_size
    eos = made.eos_token_ids
    matcher = Constraint(StructuredOutputs(grammar=grammar), made, size, eos).matcher()
    ids = made.encode(text, add_special_tokens=False)
    return bool(matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting())


def form_of(template: str, *special: str) -> tuple[Tokenizer, CallForm]:
    made = tokenizer(template, *special)
    found = learned(made)
    assert found is not None
    return made, found


OSLO, ROME, CLOCK = (
    f'{{"name": "{name}", "arguments": {arguments}}}'
    for name, arguments in (
        ("weather", '{"city": "Oslo"}'), ("weather", '{"city": "Rome"}'), ("clock", "{}"),
    )
)  # fmt: skip
WRONG = ['{"name": "weather", "arguments": {"city": "Bonn"}}', '{"name": "x", "arguments": {}}',
         '{"name": "weather"}', '{"arguments": {}, "name": "clock"}']  # fmt: skip


@pytest.mark.parametrize("special", [(), ("<tool_call>", "</tool_call>")])
def test_calls_between_marks(special: tuple[str, ...]) -> None:
    made, form = form_of(QWEN, *special)
    assert (form.begin, form.before, form.after, form.between) == ("<tool_call>", "\n", "\n", "\n")

    def call(inside: str) -> str:
        return f"<tool_call>\n{inside}\n</tool_call>"

    free = form.grammar(FUNCTIONS, forced=False, single=False)
    forced = form.grammar(FUNCTIONS, forced=True, single=False)
    single = form.grammar(FUNCTIONS, forced=True, single=True)
    two = call(OSLO) + "\n" + call(CLOCK)
    for text, allowed in (
        ("It rains.", (True, False, False)),
        ("", (True, False, False)),
        (call(OSLO), (True, True, True)),
        (two, (True, True, False)),
        ("Let me see.\n" + call(ROME), (True, False, False)),
        *((call(wrong), (False, False, False)) for wrong in WRONG),
        *(("So " + call(wrong), (False, False, False)) for wrong in WRONG),
        ("<tool_call>\n" + OSLO, (False, False, False)),
    ):
        assert tuple(accepts(made, g, text) for g in (free, forced, single)) == allowed, text
        if allowed[0] and "<tool_call>" in text:
            assert len(parse_tool_calls(text).calls) == text.count("<tool_call>")


def test_a_list_of_calls_after_a_mark() -> None:
    made, form = form_of(GRANITE)
    assert form.listed
    forced = form.grammar(FUNCTIONS, forced=True, single=False)
    single = form.grammar(FUNCTIONS, forced=True, single=True)
    for text, allowed in (
        (f"<|tool_call|>[{OSLO}]", (True, True)),
        (f"<|tool_call|>[{OSLO}, {CLOCK}]", (True, False)),
        ("<|tool_call|>[]", (False, False)),
        (f"<|tool_call|>[{WRONG[0]}]", (False, False)),
        (f"[{OSLO}]", (False, False)),
    ):
        assert tuple(accepts(made, grammar, text) for grammar in (forced, single)) == allowed, text


@pytest.mark.parametrize("template", [XML, PLAIN, WITH_ID, "{{ raise_exception('no') }}", "x"])
def test_another_form_is_not_guessed(template: str) -> None:
    assert learned(tokenizer(template)) is None


def test_definitions_of_arguments_are_found() -> None:
    made, form = form_of(QWEN)
    arguments = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/n"}},
        "required": ["a"],
        "additionalProperties": False,
        "$defs": {"n": {"enum": [1, 2]}},
    }
    grammar = form.grammar({"f": arguments}, forced=True, single=True)
    for value, allowed in ((1, True), (3, False)):
        inside = json.dumps({"name": "f", "arguments": {"a": value}})
        assert accepts(made, grammar, f"<tool_call>\n{inside}\n</tool_call>") is allowed


def with_a(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}, "required": ["a"],
            "additionalProperties": False, **more}  # fmt: skip


# Each has values that its own references allow, and that those of the others do not.
REFERRING: dict[str, tuple[dict[str, Any], list[Any], list[Any]]] = {
    "f": (with_a({"$ref": "#/$defs/n"}, **{"$defs": {"n": {"enum": [1, 2]}}}), [1], [3, "x"]),
    "g": (with_a({"$ref": "#/$defs/n"}, **{"$defs": {"n": {"const": "x"}}}), ["x"], [1, 3]),
    "h": (with_a({"$ref": "#/definitions/n"}, definitions={"n": {"const": 3}}), [3], [1, "x"]),
    "own": (with_a({"anyOf": [{"$ref": "#"}, {"const": 7}]}), [7, {"a": 7}], [1, {"a": 1}]),
    "part": ({"type": "object", "properties": {"b": {"const": 5}, "a": {"$ref": "#/properties/b"}},
              "required": ["a"], "additionalProperties": False}, [5], [1]),
    "kept": (with_a({"const": {"$ref": "#/$defs/n"}}), [{"$ref": "#/$defs/n"}], [1]),
    "const": (with_a({"type": "object", "properties": {"const": {"$ref": "#/$defs/n"}},
                      "required": ["const"]}, **{"$defs": {"n": {"const": 9}}}),
              [{"const": 9}], [{"const": 1}]),
}  # fmt: skip


@pytest.mark.parametrize("template", [QWEN, GRANITE])
def test_references_of_a_function_lead_into_its_own_parameters(template: str) -> None:
    made, form = form_of(template)
    parameters = {name: schema for name, (schema, *_) in REFERRING.items()}
    grammar = form.grammar(parameters, forced=True, single=True)
    for name, (_, good, bad) in REFERRING.items():
        for value in (*good, *bad):
            call = json.dumps({"name": name, "arguments": {"a": value}})
            text = f"<|tool_call|>[{call}]" if form.listed else (
                f"<tool_call>\n{call}\n</tool_call>")  # fmt: skip
            assert accepts(made, grammar, text) is (value in good), text


@pytest.mark.parametrize(
    "parameters",
    [
        {"type": "strin"},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}},
        {"properties": {"a": {"type": "string", "pattern": "("}}},
        {"minProperties": 2},
        {"if": {}},
    ],
)
@pytest.mark.parametrize(
    ("known", "choice"),
    [(True, "auto"), (True, "required"), (True, "one"), (False, "required"), (False, "one")],
)
def test_parameters_that_cannot_be_followed_are_told_with_their_function(
    server: Served,
    monkeypatch: pytest.MonkeyPatch,
    known: bool,
    choice: str,
    parameters: dict[str, Any],
) -> None:
    if not known:  # the form in which the model writes calls
        monkeypatch.setitem(vars(server.state.models["calling"]), "call_form", None)
    tools = [
        {"type": "function", "function": {"name": "good", "parameters": CITY, "strict": True}},
        {"type": "function", "function": {"name": "bad", "parameters": parameters, "strict": True}},
    ]
    named = {"type": "function", "function": {"name": "bad"}}
    body = {"model": "calling", "messages": [{"role": "user", "content": "a"}], "tools": tools,
            "tool_choice": named if choice == "one" else choice, "max_tokens": 4}  # fmt: skip
    found = server.post("/v1/chat/completions", body)
    error = found.json()["error"]
    assert (found.status_code, error["param"]) == (400, "tools"), error
    assert error["message"].startswith("the parameters of the function 'bad' cannot be ")
    assert "cannot be followed: " in error["message"]
    assert "line 2" not in error["message"]


def test_strict_arguments_are_obeyed_where_the_model_may_choose(server: Served) -> None:
    weather = {"type": "function", "function": {"name": "weather", "parameters": CITY,
               "strict": True}}  # fmt: skip
    body = {"model": "calling", "tools": [weather], "messages": [{"role": "user", "content": "a"}]}
    found = server.post("/v1/chat/completions", {**body, "max_tokens": 5})
    assert found.status_code == 200
    assert "tool_calls" not in found.json()["choices"][0]["message"]
    refused = server.post("/v1/chat/completions", {**body, "model": "demo"})
    assert refused.json()["error"]["param"] == "tools"
