"""Chat templates that use every feature, and such as rewrite what was said before."""

from __future__ import annotations

from typing import Any

from tests.support.text.fakes import BITNET, CHATML, REWRITING

PROMPT = "{% if add_generation_prompt %}A:{% endif %}"
USER = [{"role": "user", "content": "Größe <1> & 'x' 😀"}]
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": " hi \n"},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nhello"},
    {"role": "user", "content": "more"},
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather of a <city>",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
CALLED: list[dict[str, Any]] = [
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"type": "function", "function": {"name": "weather", "arguments": {"city": "Ulm"}}}
        ],
    },
    {"role": "tool", "name": "weather", "content": "7 °C"},
]
# Expressions of published templates, and one for each filter, test, global and tag of Jinja.
EXPRESSIONS = """
messages|tojson
messages|tojson(indent=2)
messages|tojson(indent='\\t')
messages[0].content|tojson(ensure_ascii=True)
messages|tojson(ensure_ascii=False, separators=(',', ':'), sort_keys=true)
messages|tojson(None, 1)
{'ü': none, 't': true, 1: 1.5, 'n': [1, (2, 3)]}|tojson
strftime_now('%Y')|length
messages[::-1]|map(attribute='role')|join(', ')
messages[1:]|length
messages|selectattr('role', 'equalto', 'user')|list|length
messages|rejectattr('role', '==', 'user')|map(attribute='content')|list
messages|groupby('role')|map('first')|join('|')
messages|map(attribute='content')|map('upper')|list
messages|map('length')|sum
messages[0].items()|list
messages[0]|dictsort
messages[0].get('nothing', 'd')
messages[0].nothing is defined
messages[0].nothing|default('d')
messages|last|attr('content')|default('none')
(messages|first).content|trim|title|capitalize
messages[0]['content'].strip().split('</think>')[-1].lstrip('\\n')
messages[0].content.startswith('G') and 'x' in messages[0].content
messages[0].content.replace('x', 'y')|replace('y', 'zz')|replace('z', '', 1)
'%s is %d and %05.1f' % ('a', 3, 2.25)
'%s is %s'|format('a', messages[0].role)
'%(a)s'|format(a=1)
'{} {x!r:>6}'.format(1, x='y')
'{a}'.format_map({'a': messages[0].role})
'{0.role}'.format(messages[0])
'a' ~ 1 ~ none ~ messages[0].role
'ab'*3 + 'c'
[1, 2]*2 + [3]
2**10 + 7//2 - 7%4 * 1.5
-2**2
(1, 2) + (3,)
'a,b,c'.split(',')|join('+')
'-'.join(['a', 'b'])
'a b c'.rsplit(' ', 1)
'a\\nb\\nc'.splitlines()
'a\\nb'|indent(2)
'a\\nb'|indent('> ', true)
'ab'|center(10) ~ '|'
'ab'.ljust(5) ~ 'ab'.rjust(5) ~ '7'.zfill(3)
'a\\tb'.expandtabs(4)
'a b c d e f g h'|wordwrap(4)
'a long text that is cut'|truncate(10)
'a long text'|wordcount
'<b>x</b>'|striptags
'<b>'|escape
'<b>'|e|string
'<b>'|safe
'see https://a.example/x'|urlize
1234567|filesizeformat
3.14159|round(2)
3.14159|round(1, 'ceil')
'12'|int + '1.5'|float
'ff'|int(0, 16)
[3, 1, 2]|sort
[3, 1, 2]|sort(reverse=true)|first
['b', 'A']|sort(case_sensitive=true)
[1, 1, 2]|unique|list
[1, 5, 3]|max - [1, 5]|min
[1, 2, 3, 4, 5]|batch(2, 0)|list
[1, 2, 3, 4, 5]|slice(2)|list
[1, 2]|reverse|list
'abc'|reverse
'abc'|list
'abc'|length ~ 'abc'|count
[1, none, '']|select|list
[1, none, '']|reject('none')|list
[1, 2, 3]|select('odd')|list
[[1], [2]]|sum(start=[])
{'a': 1}|items|list
{'a': 1}|xmlattr
'A'|lower ~ 'b'|upper
'é'|urlencode
'a'|pprint
dict(a=1, b=[2])
dict.fromkeys([1, 2], 'x')
range(3)|list
range(2, 10, 3)|join
namespace(a=1).a
lipsum(0)
messages is iterable and messages is sequence and messages is not mapping
none is none and true is true and 1 is number and 'a' is string
3 is divisibleby(3) and 3 is odd and 4 is even
1 is sameas(1) and [1] == [1] and 2 is gt(1) and 2 is in([1, 2])
'a' if messages else 'b'
not messages
1 < 2 <= 2
tools is defined ~ (tools is none) ~ (documents is defined)
custom_thing
sep_token ~ cls_token ~ mask_token ~ bos_token
'abc'[1:] ~ 'abc'[-1] ~ 'abc'[::2]
messages[5]
messages[0].content.encode('utf-8')|length
'a1'.isalnum() ~ 'x'.upper() ~ 'ß'.casefold()
('a', 'b')|tojson
1.0|tojson ~ none|tojson ~ 'a"b'|tojson
'x'|default('y', true) ~ ''|default('y', true)
[{'a': {'b': 1}}]|map(attribute='a.b')|list
[{'a': 1}]|map(attribute='z', default=9)|list
""".strip().splitlines()
STATEMENTS = [
    "{% set ns = namespace(n=0, l=[]) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
    "{% set ns.l = ns.l + [m.role] %}{{ ns.n }}{{ ns.l }}{% endfor %}",
    "{% for m in messages %}{{ loop.index }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}"
    "{{ loop.length }}{{ loop.previtem.role }}{{ loop.nextitem.role }}{{ loop.cycle('a', 'b') }}"
    "{{ loop.changed(m.role) }}{{ loop.depth }}{% else %}none{% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ loop.length }}{{ m.role }}{% endfor %}",
    "{% for m in messages|selectattr('role', 'eq', 'user') %}{{ loop.length }}{% endfor %}",
    "{% for m in [] %}{% else %}none{% endfor %}{% for x in missing %}{% else %}none{% endfor %}",
    "{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for x in 'abc' recursive %}{{ x }}{{ loop('de') if loop.depth < 3 }}{% endfor %}",
    "{% for m in messages %}{% if loop.index0 == 1 %}{% continue %}{% endif %}{{ m.role }}"
    "{% if loop.index0 == 2 %}{% break %}{% endif %}{% endfor %}",
    "{% macro show(m, x='y', *a, **k) %}{{ m.role }}{{ x }}{{ varargs }}{{ kwargs }}{{ caller() if"
    " caller }}{% endmacro %}{{ show(messages[0]) }}{{ show(messages[0], 'z', 1, b=2) }}"
    "{% call show(messages[0]) %}inside{% endcall %}{{ show.name }}{{ show.arguments }}",
    "{% filter upper %}abc{{ messages[0].role }}{% endfilter %}",
    "{% set x %}a{{ messages[0].role }}{% endset %}{{ x }}{% set a, b = 1, 2 %}{{ a + b }}",
    "{% set x = [] %}{% with y = 1 %}{{ y }}{% endwith %}{{ y }}",
    "{% raw %}{{ raw }}{% endraw %}{# a comment #}{{- ' a ' -}}  b  {%- if true %} c{% endif %}",
    "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "{% autoescape true %}{{ '<' }}{{ '<'|safe }}{{ '<' ~ 'a' }}{% endautoescape %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}"
    "{% set j = joiner('|') %}{{ j() }}{{ j() }}",
    "{% block title %}{{ messages[0].role }}{% endblock %}{{ self.title() }}",
    "  {% if true %}\n  a\n  {% endif %}\nb\n\n",
    "{% for m in messages %}\r\n{{ m.role }}\r\n{% endfor %}\r\n",
    "\ufeff{{ messages[0].role }}",
    "{% if messages[0].role == 'system' %}a{% elif 'x' in messages[0] %}b{% else %}c{% endif %}",
    "{{ raise_exception('System role\nnot supported') }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].content.__class__ }}",
    "{% set ns = namespace(__init__=1) %}",
    "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "{% include 'x' %}",
    "{% for m in messages %}{{ m.reasoning_content }}{{ m.thinking }}{{ m.tool_calls }}"
    "{{ m.content is defined }}{{ m.content is none }}{% endfor %}",
]

LOOP = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}BODY{{ '<|im_end|>\\n' }}"
    "{% endfor %}"
)
TURN = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
LAST = (
    "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
)
IS_OLD = "m.role == 'assistant' and '</think>' in m.content and loop.index0 < ns.last"
AFTER = "m.content.split('</think>')[-1].lstrip('\\n')"
TEMPLATES = {
    "drops thoughts before the last question": LAST
    + LOOP.replace(
        "BODY", f"{{% if {IS_OLD} %}}{{{{ {AFTER} }}}}{{% else %}}{{{{ m.content }}}}{{% endif %}}"
    )
    + TURN,
    "drops all thoughts": LOOP.replace("BODY", f"{{{{ {AFTER} }}}}") + TURN,
    "opens a thought in the prompt": LOOP.replace("BODY", f"{{{{ {AFTER} }}}}")
    + TURN
    + "<think>\n",
    "trims": LOOP.replace("BODY", "{{ m.content | trim }}") + TURN,
    "trims at the end": LOOP.replace("BODY", "{{ m.content.rstrip() }}") + TURN,
    "numbers the turns": LOOP.replace("BODY", "{{ loop.index }}: {{ m.content }}") + TURN,
    "counts the turns": "{{ messages | length }}" + LOOP.replace("BODY", "{{ m.content }}") + TURN,
    "begins with the date": "{{ strftime_now('%d %b %Y') }}\n"
    + LOOP.replace("BODY", "{{ m.content }}")
    + TURN,
    "writes something after the reply": LOOP.replace(
        "BODY", "{{ m.content }}{% if m.role == 'assistant' %}\n(said){% endif %}"
    )
    + TURN,
    "changes case": LOOP.replace("BODY", "{{ m.content | upper }}") + TURN,
    "says a reply twice": LOOP.replace("BODY", "{{ m.content }}|{{ m.content }}") + TURN,
    "keeps the last two": "{% set messages = messages[-2:] %}"
    + LOOP.replace("BODY", "{{ m.content }}")
    + TURN,
    "cuts long replies": LOOP.replace("BODY", "{{ m.content[:12] }}") + TURN,
    "replaces letters": LOOP.replace("BODY", "{{ m.content | replace('l', 'L') }}") + TURN,
    "writes JSON": LOOP.replace("BODY", "{{ m.content | tojson }}") + TURN,
    "as it is": LOOP.replace("BODY", "{{ m.content }}") + TURN,
    "BitNet's": BITNET,
    "ChatML": CHATML,
    "length first": REWRITING,
}
