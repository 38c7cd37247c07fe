"""Conversations and chat templates for tests: own templates that use all of HuggingFace's conventions, and the
published ones of the `trl` package where it is installed (its code is not imported).
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": {"city": "Köln", "days": 3}}}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": 'The weather <in> a city & its "surroundings"',
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Its name"},
                    "days": {"type": "integer", "enum": [1, 3, 7]},
                },
                "required": ["city"],
            },
            "return": {"type": "string", "description": "A sentence"},
        },
    }
]
USER = {"role": "user", "content": "Wie wird das Wetter in Köln? 🌦️"}
SYSTEM = {"role": "system", "content": "You are brief.\n"}
ANSWER = {"role": "assistant", "content": "  Rain.  "}
TEXT_PARTS = {"role": "user", "content": [{"type": "text", "text": "And "}, {"type": "text", "text": "tomorrow?"}]}

CHATS: dict[str, list[dict[str, Any]]] = {
    "one message": [USER],
    "system": [SYSTEM, USER],
    "turns": [SYSTEM, USER, ANSWER, {"role": "user", "content": " And then? "}],
    "parts": [USER, ANSWER, TEXT_PARTS],
    "nulls": [USER, {"role": "assistant", "content": "Rain.", "tool_calls": None, "name": None}, USER],
    "reasoning": [USER, {"role": "assistant", "content": "Rain.", "reasoning_content": "Autumn."}, USER],
    "thinking": [USER, {"role": "assistant", "content": "<think>Autumn.</think>\n\nRain.", "reasoning": "A."}, USER],
    "tools": [
        SYSTEM,
        USER,
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "name": "weather", "tool_call_id": "call_1", "content": "rain, 9 °C"},
    ],
    "tools without content": [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "name": "weather", "tool_call_id": "call_1", "content": '{"rain": true}'},
        ANSWER,
        USER,
    ],
    "wrong order": [ANSWER, USER, USER, {"role": "narrator", "content": "Silence."}],
    "long": [SYSTEM, *[USER, ANSWER] * 20, USER],
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "prompt": {"add_generation_prompt": True},
    "tools": {"tools": TOOLS, "add_generation_prompt": True},
    "documents": {"documents": [{"title": "A", "text": "Böse"}, {"title": "B", "text": "Gut"}]},
    "kwargs": {"enable_thinking": False, "reasoning_effort": "high", "add_generation_prompt": True},
}
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}

OWN = {
    "chatml": """{% for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message['content'] | trim + '<|im_end|>' + '\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}""",
    "conventions": """{{ bos_token }}{%- set ns = namespace(n=0, seen=[]) -%}
{%- macro head(role, extra='') -%}[{{ role|upper }}{{ ' ' ~ extra ~ loop_less if extra else '' }}]{%- endmacro -%}
{%- if tools %}{{ tools | tojson }}|{{ tools | tojson(indent=2) }}|
{{- tools[0].function.parameters.properties|dictsort }}
{%- for key, value in tools[0].function.items() %}{{ key }}={{ value|string|length }};{% endfor %}
{%- endif -%}
{%- if documents is defined and documents %}{% for doc in documents %}{{ doc.title }}: {{ doc['text'] }}
{% endfor %}{% endif -%}
{%- if enable_thinking is defined and not enable_thinking %}no thinking{% endif -%}
{%- for message in messages -%}
  {%- if loop.index0 > 12 %}{% break %}{% endif -%}
  {%- if message.role == 'narrator' %}{{ raise_exception('no narrators, ' ~ message.role) }}{% endif -%}
  {%- set ns.n = ns.n + 1 -%}{%- set ns.seen = ns.seen + [message.role] -%}
  {{- head(message.role, loop.index) -}}
  {%- generation -%}
  {%- if message.content is string -%}{{ message.content.strip().replace('K', 'k').split(' ')[-1] }}
  {%- elif message.content is iterable and message.content is not none -%}
    {%- for part in message.content if part.type == 'text' %}
      {{- loop.index }}/{{ loop.length }} {{ part.text }}{% endfor -%}
  {%- endif -%}
  {%- endgeneration -%}
  {%- for call in message.tool_calls or [] %}<call>{{ call.function | tojson }}</call>{% else %}.{% endfor -%}
  {{- '%s-%03d' % (message.role, loop.index) }} {{ "{:>4}|{}".format(loop.index, message.role) -}}
  {{- message.content[:3] if message.content is string }}{{ messages[::-1][0].role ~ 'x' * 3 -}}
{%- endfor -%}
{{ ns.n }}{{ ns.seen|join(',') }}{{ messages|map(attribute='role')|unique|list }}
{{- messages|selectattr('role', 'equalto', 'user')|list|length }}
{{- (messages|last).role }}{{ {'a': 1, 'b': [1, 2, (3, 4)]} }}
{{- range(3)|sum }}{{ ['b', 'a']|sort|join('-') }}{{ 'ä'|tojson }}
{{- strftime_now('%Y-%m-%d') }}{{ eos_token }}
{{- undefined_name }}{{ 2 ** 10 % 7 }}{{ [1] * 2 + [x] }}{{ none }}{{ 1.5 }}
{%- filter upper %}filtered{% endfilter %}{% set block %}a{{ ns.n }}{% endset %}{{ block }}{{ 'a,b'.split(',') }}
{{ messages|groupby('role')|length }}{{ dict(a=1) }}{{ messages|batch(2)|list|length }}""",
}


def published() -> dict[str, str]:
    """The chat templates of released models, as `trl` ships them."""
    spec = find_spec("trl")
    if spec is None or spec.origin is None:
        return {}
    folder = Path(spec.origin).parent / "chat_templates"
    return {path.stem: path.read_text() for path in sorted(folder.glob("*.jinja"))}
