"""A template that would burn the processor or the memory ends soon, with a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from bitnet_onnx.errors import TokenizerError
from tests.support.paths import ROOT
from tests.support.text.fakes import make_tokenizer

USER = [{"role": "user", "content": "hi"}]
GROW = "{% set ns = namespace(x=START) %}{% for i in range(64) %}{% set ns.x = STEP %}{% endfor %}"


def grow(start: str, step: str, end: str = "{{ ns.x }}") -> str:
    return GROW.replace("START", start).replace("STEP", step) + end


PAIR, TUPLE = grow("[1]", "[ns.x, ns.x]", ""), grow("(1,)", "(ns.x, ns.x)", "")
BODY = "{% if messages[0].content.x %}{% endif %}" * 2000
HOSTILE = [
    # one operation
    "{{ 'a' * 900000000 }}",
    "{{ 900000000 * 'a' }}",
    "{{ [0] * 1000000000 }}",
    "{{ 10 ** (10 ** 8) }}",
    "{{ 1e308|int ** 100000 }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '%.999999999f' % 1 }}",
    "{{ '%*d' % (999999999, 1) }}",
    "{{ ('%(x)s' * 100000) % {'x': 'a' * 1000000} }}",
    "{% autoescape true %}{{ ('%999999999d'|safe) % 1 }}{% endautoescape %}",
    # one call
    "{{ '{:999999999}'.format(1) }}",
    "{{ '{:{w}}'.format(1, w=999999999) }}",
    "{{ '{x:999999999}'.format_map({'x': 1}) }}",
    "{{ ('{0}' * 100000).format('a' * 1000000) }}",
    "{{ ('{:999999999}'|attr('format'))(1) }}",
    "{{ 'a'.center(1000000000) }}",
    "{{ 'a'.ljust(1000000000) }}",
    "{{ 'a'.zfill(1000000000) }}",
    "{{ 'a\tb'.expandtabs(1000000000) }}",
    "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
    "{{ ('a' * 1000000).translate({97: 'b' * 1000000}) }}",
    "{{ ('a' * 100000).join(range(100000)|map('string')) }}",
    "{{ (5).to_bytes(1000000000, 'big') }}",
    "{{ ('x' * 100000).encode('punycode') }}",
    "{{ range(1000000000) }}",
    "{{ lipsum(1000000000) }}",
    "{{ lipsum(n=100000000, html=false) }}",
    "{{ strftime_now('%d' * 1000000) }}",
    # one filter, again and again
    "{% set x = 'Ab c' * 100000 %}{% for i in range(300) %}{% set y = x|title %}{% endfor %}",
    "{% set x = 'é' * 400000 %}{% for i in range(300) %}{% set y = x|urlencode %}{% endfor %}",
    "{% set x = 'a ' * 200000 %}{% for i in range(300) %}{% set y = x|wordcount %}{% endfor %}",
    # one filter
    "{{ 'a'|center(1000000000) }}",
    "{{ 'a\nb'|indent(1000000000) }}",
    "{{ range(100000)|join('a' * 100000) }}",
    "{{ ('a' * 1000000)|replace('a', 'b' * 1000000) }}",
    "{{ '%999999999d'|format(1) }}",
    "{{ messages|tojson(indent=1000000000) }}",
    "{{ [1, 2]|batch(1000000000, 0)|list|length }}",
    "{{ [1, 2]|slice(1000000000)|list|length }}",
    "{{ 1|round(1000000000, 'ceil') }}",
    "{{ ['a']|map('center', 1000000000)|list }}",
    "{{ ('(' * 100000)|urlize }}",
    "{{ ('<' * 1000000)|striptags }}",
    "{{ ('a ' * 1000000)|wordwrap(1, wrapstring='x' * 100000) }}",
    "{{ ([range(1000)|list] * 10000)|sum(start=[])|length }}",
    "{{ ('f' * 4000000)|int(0, 16) }}",
    "{% filter center(1000000000) %}a{% endfilter %}",
    # growth in a loop
    grow("'a'", "ns.x + ns.x"),
    grow("'a'", "ns.x ~ ns.x"),
    grow("[1]", "ns.x + ns.x"),
    grow("3", "ns.x * ns.x"),
    grow("1", "namespace(a=ns.x, b=ns.x)"),
    PAIR + "{{ ns.x }}",
    PAIR + "{{ ns.x|tojson }}",
    PAIR + "{{ ns.x == ns.x[:] }}",
    TUPLE + "{{ {ns.x: 1} }}",
    TUPLE + "{{ {}[ns.x] }}",
    "{% set ns = namespace(x='a') %}{% for i in range(64) %}{% set x %}{{ ns.x }}{{ ns.x }}"
    "{% endset %}{% set ns.x = x %}{% endfor %}",
    "{% set x = '😀' * 1000000 %}{% set ns = namespace(l=[]) %}{% for i in range(1000) %}"
    "{% set ns.l = ns.l + [x ~ i] %}{% endfor %}",
    "{% set j = joiner('x' * 1000000) %}{% for i in range(100000) %}{{ j() }}{% endfor %}",
    "{% set ns = namespace() %}{% for i in range(100000) %}{% set ns.l = (ns.l or []) + [i] %}"
    "{% endfor %}",
    # steps
    "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "{% for a in range(100000) %}{% for b in range(100000) if false %}{% endfor %}{% endfor %}",
    "{% for a in range(100000) %}" + BODY + "{% endfor %}",
    "{% macro f() %}" + BODY + "{% endmacro %}{% for i in range(100000) %}{{ f() }}{% endfor %}",
    "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% for i in [1] recursive %}{{ loop([1, 1]) }}{% endfor %}",
    "{% block x %}{% for i in range(10) %}{{ self.x() }}{% endfor %}{% endblock %}",
    "{% set c = cycler(1, 2) %}{% for a in range(100000) %}{% for b in range(100) %}"
    "{{ c.next() }}{% endfor %}{% endfor %}",
    "{% set s = 'a' * 4000000 %}{% for i in range(100000) %}{% set x = s[1:] %}{% endfor %}",
    "{% set s = 'a' * 4000000 %}{% for i in range(100000) %}{% set x = s|upper %}{% endfor %}",
    "{% set l = range(100000)|list %}{% for i in range(9999) %}{% set x = l|sort %}{% endfor %}",
    "{% set l = range(100000)|list %}{% for i in range(9999) %}{% if l == l[:] %}{% endif %}"
    "{% endfor %}",
    "{% for i in range(100000) %}{{ loop.changed(range(100000)|list) }}{% endfor %}",
    "{% macro m() %}{% for i in range(100000) %}" + "y" * 99999 + "{% endfor %}{% endmacro %}"
    "{{ m() }}",
    # the compilers
    "{{ " + "[" * 500 + "]" * 500 + " }}",
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "{{ a" + ".b" * 30000 + " }}",
    "{{ " + "not " * 30000 + "1 }}",
    "{{ 1" + "+1" * 30000 + " }}",
    "{% if a %}" * 3000 + "{% endif %}" * 3000,
    "{% for a in b %}" * 300 + "{% endfor %}" * 300,
    "{{ " + "9" * 5000 + " }}",
    "x" * 200000,
]


def refused(template: str) -> str:
    with pytest.raises(TokenizerError) as caught:
        make_tokenizer(template).render_chat(USER)
    assert "\n" not in str(caught.value)
    return str(caught.value)


CHILD = """
import json, os, sys
from tests.text.test_template_limits import HOSTILE, USER, TokenizerError, make_tokenizer
make_tokenizer("a").render_chat(USER)
if os.path.exists("/proc/self/statm"):  # elsewhere the address space cannot be limited
    import resource
    pages = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (pages + (400 << 20), pages + (400 << 20)))
    resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
said = {}
for template in HOSTILE:
    try:
        said[template] = "rendered: " + make_tokenizer(template).render_chat(USER)[:100]
    except TokenizerError as error:
        said[template] = str(error)
json.dump(said, sys.stdout)
"""


@pytest.fixture(scope="module")
def said() -> dict[str, str]:
    """What each is refused with, in a process with little memory and time."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("template", HOSTILE, ids=lambda template: template[:40])
def test_a_hostile_template_is_refused_in_a_sentence(said: dict[str, str], template: str) -> None:
    message = said[template]
    assert message.startswith("the chat template ")
    assert "emory" not in message  # that the limit is hit is no sentence of ours
    assert "\n" not in message
    assert len(message) < 400


def test_the_same_template_stops_at_the_same_place() -> None:
    for template in HOSTILE[::17]:
        assert refused(template) == refused(template)


# ---- what people write stays far from the limits

LONG: list[dict[str, Any]] = [
    message
    for number in range(500)
    for message in (
        {"role": "user", "content": f"Question {number} " + "word " * 40},
        {"role": "assistant", "content": f"<think>\nhm\n</think>\n\nAnswer {number} " + "x " * 40},
    )
]
QWEN3 = (
    "{%- if tools %}{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}{% endif %}"
    "{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}"
    "{%- for message in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}"
    "{%- if ns.multi_step_tool and message.role == 'user' and message.content is string and not"
    " (message.content.startswith('<tool_response>') and"
    " message.content.endswith('</tool_response>')) %}{%- set ns.multi_step_tool = false %}"
    "{%- set ns.last_query_index = index %}{%- endif %}{%- endfor %}"
    "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}"
    "{%- set content = message.content %}{%- if message.role == 'assistant' and '</think>' in"
    " content %}{%- set content = content.split('</think>')[-1].lstrip('\n') %}{%- endif %}"
    "{{ content + '<|im_end|>\n' }}{%- for m in messages[loop.index:] %}{%- endfor %}{%- endfor %}"
)
TOOL = {
    "type": "function",
    "function": {
        "name": "f",
        "description": "d" * 200,
        "parameters": {
            "type": "object",
            "properties": {f"p{i}": {"type": "string"} for i in range(20)},
        },
    },
}


def test_a_long_chat_with_many_tools_is_rendered() -> None:
    """A thousand messages, a template that is quadratic in them, and a hundred tools."""
    text = make_tokenizer(QWEN3).render_chat(LONG, tools=[TOOL] * 100)
    assert text.count("<|im_start|>") == 1000
    assert "<think>" not in text


def test_a_long_document_is_rendered() -> None:
    content = "a line of a document\n" * 50_000
    text = make_tokenizer("{{ messages[0].content|trim|replace('a', 'b') }}").render_chat(
        [{"role": "user", "content": content}]
    )
    assert len(text) == len(content) - 1
