"""Chat templates are written as transformers writes them, and a hostile one neither reaches Python nor runs away."""

import asyncio
import time
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.errors import BadRequest
from gateway.tokenizers.bounds import Bounds
from gateway.tokenizers.errors import TemplateFailed, TemplateUnusable
from gateway.tokenizers.templates import ChatTemplates, Conversation
from tests.unit import tokenizer_families as families
from tests.unit.tokenizer_chats import ANSWER, CHATS, OPTIONS, OWN, SPECIAL_TOKENS, TOOLS, USER, published

TEMPLATES = OWN | published()


@pytest.fixture(scope="module")
def reference() -> Any:
    """A tokenizer of transformers', for its `apply_chat_template`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what transformers warns of at import is its own affair
        from tokenizers import Tokenizer
        from transformers import PreTrainedTokenizerFast

        tokenizer = Tokenizer.from_buffer(families.trained("llama3"))
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL_TOKENS)


def theirs(reference: Any, template: str, chat: list[dict[str, Any]], options: dict[str, Any]) -> str | None:
    """What transformers writes; None where the template refuses."""
    try:
        text = reference.apply_chat_template(chat, chat_template=template, tokenize=False, **options)
    except Exception:  # noqa: BLE001 - a template may raise anything
        return None
    assert isinstance(text, str)
    return text


def ours(templates: ChatTemplates, chat: list[dict[str, Any]], options: dict[str, Any]) -> str | None:
    named = {name: options[name] for name in ("tools", "documents", "continue_final_message") if name in options}
    kwargs = {name: value for name, value in options.items() if name not in named and name != "add_generation_prompt"}
    prompt = options.get("add_generation_prompt", False)
    try:
        return templates.render(Conversation(chat, add_generation_prompt=prompt, kwargs=kwargs, **named))
    except TemplateFailed:
        return None


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_gives_what_transformers_gives(name: str, reference: Any) -> None:
    templates = ChatTemplates({"default": TEMPLATES[name]}, SPECIAL_TOKENS)
    written = 0
    for title, chat in CHATS.items():
        for options in OPTIONS.values():
            expected = theirs(reference, TEMPLATES[name], chat, options)
            assert ours(templates, chat, options) == expected, title
            written += expected is not None
    assert written >= 5


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_final_message_to_be_continued_ends_where_transformers_ends_it(name: str, reference: Any) -> None:
    templates = ChatTemplates({"default": TEMPLATES[name]}, SPECIAL_TOKENS)
    for last in ("Rain, and", "Rain  ", "Rain, and then \n"):
        chat = [USER, {"role": "assistant", "content": last}]
        expected = theirs(reference, TEMPLATES[name], chat, {"continue_final_message": True})
        if expected is not None:
            assert ours(templates, chat, {"continue_final_message": True}) == expected


def test_released_models_templates_are_among_those_compared() -> None:
    if not published():
        pytest.skip("no released templates here: 'pip install --no-deps trl' brings some fifty to compare with")
    assert {"llama3_1", "qwen3", "deepseekv3", "gptoss"} <= set(TEMPLATES)


HOSTILE = {
    "class": "{{ ''.__class__.__mro__ }}",
    "subclasses": "{{ messages.__class__.__base__.__subclasses__() }}",
    "attr": "{{ messages|attr('__class__') }}{{ (messages|attr('__class__')).__mro__ }}",
    "item": "{{ messages['__class__']['__mro__'] }}",
    "globals": "{{ raise_exception.__globals__['__builtins__'] }}",
    "frame": "{{ (messages|map('upper')).gi_frame.f_builtins }}",
    "macro": "{% macro m() %}{% endmacro %}{{ m._func.__globals__.x }}",
    "self": "{{ self._TemplateReference__context.environment.x }}",
    "format": "{{ '{0.__class__.__mro__}'.format(1) }}",
    "format_map": "{{ '{a.__class__.__mro__}'.format_map({'a': 1}) }}",
    "namespace": "{% set ns = namespace() %}{% set ns.__class__ = 1 %}{{ ns.__init__.__globals__.x }}",
    "joiner": "{{ joiner.__init__.__globals__.os.system('true') }}",
    "cycler": "{{ cycler('a').__init__.__globals__.os }}",
    "mutation": "{{ messages.append(1) }}",
    "dict mutation": "{{ messages[0].update({'a': 1}) }}",
    "import": "{% import 'os' as os %}{{ os }}",
    "include": "{% include '/etc/passwd' %}",
    "bytes": "{{ 'x'.encode() }}",
    "environment": "{{ environment.pay_block.__globals__.x }}",
    "lipsum": "{{ lipsum.__globals__.os }}",
    "undefined": "{{ nothing.__class__.__init__.__globals__.x }}",
}


@pytest.mark.parametrize("attack", HOSTILE)
def test_a_template_cannot_reach_python(attack: str) -> None:
    with pytest.raises(TemplateFailed):
        ChatTemplates({"default": HOSTILE[attack]}, {}).render(Conversation([USER]))


RUNAWAYS = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    "{% endfor %}{% endfor %}{% endfor %}",
    "filtered loops": "{% for a in range(99999) if false %}{% endfor %}" * 500,
    "filtered loops in loops": "{% for a in range(99999) %}{% for b in range(99999) if b < 0 %}{% endfor %}"
    "{% endfor %}",
    "recursion": "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
    "tree recursion": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "recursive loop": "{% for a in range(9) recursive %}{{ loop(range(9)) }}{% endfor %}",
    "power": "{{ 10 ** (10 ** 10) }}",
    "power loop": "{% set ns = namespace(x=3) %}{% for i in range(60) %}{% set ns.x = ns.x * ns.x %}"
    "{% endfor %}{{ ns.x }}",
    "repeated text": "{{ 'a' * 10 ** 10 }}",
    "repeated list": "{{ [1] * 10 ** 9 }}",
    "doubled text": "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "added text": "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "doubled block": "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set y %}{{ ns.x }}{{ ns.x }}"
    "{% endset %}"
    "{% set ns.x = y %}{% endfor %}",
    "doubled macro": "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{% set ns = namespace(x='ab') %}"
    "{% for i in range(60) %}{% set ns.x = m(ns.x) %}{% endfor %}",
    "doubled list": "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "nested list": "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
    "{% endfor %}{{ ns.x }}",
    "nested dict": "{% set ns = namespace(x=1) %}{% for i in range(60) %}"
    "{% set ns.x = {'a': ns.x, 'b': ns.x} %}{% endfor %}"
    "{{ ns.x|tojson }}",
    "nested compared": "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}"
    "{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
    "nested by default": "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}"
    "{% set ns.x = [1, 2]|map(attribute='q', default=ns.x)|list %}{% endfor %}{{ ns.x }}",
    "nested by fromkeys": "{% set ns = namespace(x=1) %}{% for i in range(60) %}"
    "{% set ns.x = {}.fromkeys('ab', ns.x) %}{% endfor %}{{ ns.x }}",
    "nested by dict": "{% set ns = namespace(x=1) %}{% for i in range(60) %}"
    "{% set ns.x = dict(a=ns.x, b=ns.x) %}{% endfor %}"
    "{{ ns.x }}",
    "nested by batch": "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}"
    "{% set ns.x = [1]|batch(3, ns.x)|list %}{% endfor %}{{ ns.x }}",
    "padded": "{{ 'a'.ljust(10 ** 9) }}",
    "centred": "{{ 'a'|center(10 ** 9) }}",
    "zeros": "{{ 'a'.zfill(10 ** 9) }}",
    "tabs": "{{ ('\t' * 9999).expandtabs(10 ** 9) }}",
    "percent": "{{ '%1000000000d' % 1 }}",
    "percent star": "{{ '%*d' % (10 ** 9, 1) }}",
    "percent precision": "{{ '%.1000000000f' % 1 }}",
    "percent filter": "{{ '%1000000000d'|format(1) }}",
    "braces": "{{ '{:1000000000}'.format(1) }}",
    "nested braces": "{{ '{:{w}}'.format(1, w=10 ** 9) }}",
    "joined": "{{ range(99999)|join('x' * 1000000) }}",
    "text joined": "{{ ('x' * 1000000).join(range(99999)|map('string')) }}",
    "replaced": "{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
    "replaced by filter": "{{ ('a' * 1000000)|replace('a', 'b' * 1000000) }}",
    "indented": "{{ ('\n' * 1000000)|indent(10000) }}",
    "indented by text": "{{ ('\n' * 1000000)|indent('x' * 1000000) }}",
    "json indent": "{{ messages|tojson(indent=10 ** 9) }}",
    "summed lists": "{{ range(99999)|map('list')|sum(start=[]) }}{{ range(99999)|batch(1)|sum(start=[]) }}",
    "to_bytes": "{{ (1).to_bytes(10 ** 9) }}",
    "batched": "{{ [1]|batch(10 ** 9, 0)|list }}",
    "sliced": "{{ [1]|slice(10 ** 9)|list }}",
    "range": "{{ range(10 ** 9)|list }}",
    "slices kept": "{% set big = 'x' * 3000000 %}{% macro m(n) %}{% set y = big[1:] %}{{ m(n - 1) if n }}{% endmacro %}"
    "{{ m(150) }}",
    "strips kept": "{% set big = ' ' ~ 'x' * 3000000 %}{% macro m(n) %}{% set y = big.strip() %}{{ m(n - 1) if n }}"
    "{% endmacro %}{{ m(150) }}",
    "self repr": "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
    "block recursion": "{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}",
    "static text": "{% for a in range(99999) %}{% for b in range(9999) %}" + "x" * 5000 + "{% endfor %}{% endfor %}",
    "translate": "{{ 'a'.translate({97: 'b' * 1000000}) }}",
    "fields again": "{{ ('{0}' * 1000).format('x' * 1000000)|length }}",
    "fields again by name": "{{ ('{a}' * 1000).format_map({'a': 'x' * 1000000}) }}",
    "percent again": "{{ ('%(a)s' * 1000) % {'a': 'x' * 1000000} }}",
    "percent filter again": "{{ ('%(a)s' * 1000)|format(a='x' * 1000000) }}",
    "many widths": "{{ ('%(a)9999d' * 90000) % {'a': 1} }}",
    "many widths in braces": "{{ ('{0:9999}' * 20000).format(1) }}",
    "arabic width": "{{ '{:٩٩٩٩٩٩٩٩٩}'.format(1) }}",
    "open brackets": "{{ ('%(' * 90000) % {} }}{{ ('%(a)9999d' * 90000) % {'a': 1} }}",
    "compared lists": "{% set a = 'x' * 3000000 %}{% set b = 'x' * 3000000 %}{{ [a] * 50000 == [b] * 50000 }}",
    "searched list": "{% set a = 'x' * 3000000 %}{% set b = 'x' * 2999999 ~ 'y' %}{{ b in [a] * 50000 }}",
    "counted in list": "{% set a = 'x' * 3000000 %}{% set b = 'x' * 2999999 ~ 'y' %}{{ ([a] * 50000).count(b) }}",
    "largest of list": "{% set a = 'x' * 3000000 %}{% set b = 'x' * 3000000 %}{{ ([a, b] * 50000)|max|length }}",
    "compared items": "{% set a = 'x' * 3000000 %}{% set b = 'x' * 3000000 %}{% for x in [a]|batch(9999, a) %}"
    "{% for y in [b]|batch(9999, b) %}{{ x == y }}{% endfor %}{% endfor %}",
    "compared again": "{% set a = 'x' * 3000000 %}{% set b = 'x' * 3000000 %}"
    + "{% for i in range(99999) %}{{ a == b }}{% endfor %}",
    "tested again": "{% set a = 'x' * 3000000 %}{% set b = 'x' * 3000000 %}"
    + "{% for i in range(99999) %}{{ a is eq(b) }}{% endfor %}",
    "searched again": "{% set a = 'x' * 3000000 %}{% for i in range(99999) %}{{ 'y' in a }}{% endfor %}",
    "letters": "{{ ('😀' * 4000000)|list|length }}",
    "sorted letters": "{{ ('😀' * 4000000)|sort|length }}",
    "sliced letters": "{{ ('😀' * 4000000)|slice(2)|list|length }}",
    "title": "{{ ('a b ' * 1000000)|title|length }}",
    "escaped": "{% set ns = namespace(x='&') %}{% for i in range(60) %}{% set ns.x = ns.x|e %}"
    "{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x|length }}",
    "escaped for JSON": "{{ ('😀' * 4000000)|tojson(ensure_ascii=true)|length }}",
    "time": "{{ strftime_now('%Y' * 1000000) }}",
}


@pytest.mark.parametrize("attack", RUNAWAYS)
def test_a_template_can_neither_run_forever_nor_fill_memory(attack: str) -> None:
    began = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises((TemplateFailed, TemplateUnusable)):
            ChatTemplates({"default": RUNAWAYS[attack]}, {}).render(Conversation([USER]), Bounds(seconds=0.5))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 150_000_000
    assert time.monotonic() - began < 5  # ten times the bound: memory is traced here, which is slow


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{% for x in messages %}", "wrong in line 1"),
        ("a\n{{ messages|nosuch }}", "line 2.*nosuch"),
        ("{{ ((((((" * 300, "wrong|cannot be compiled"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "cannot be compiled"),
        ("{% for a in b %}" * 60 + "{% endfor %}" * 60, "cannot be compiled"),
        ("x" * 200_000, "more than"),
        ("{{ messages|pprint }}", "pprint"),
    ],
)
def test_a_broken_template_is_refused_when_it_is_compiled(text: str, complaint: str) -> None:
    with pytest.raises(TemplateUnusable, match=complaint):
        ChatTemplates({"default": text}, {})


def test_constants_are_not_folded_while_nobody_counts() -> None:
    templates = ChatTemplates(
        {"default": "{% if false %}{{ 'a' * 10 ** 10 }}{{ 'a'|center(10 ** 9) }}{% endif %}ok"}, {}
    )
    assert templates.render(Conversation([USER])) == "ok"


def test_raise_exception_reaches_the_client_in_the_templates_own_words() -> None:
    templates = ChatTemplates({"default": "{{ raise_exception('roles must alternate') }}"}, {})
    with pytest.raises(TemplateFailed, match="roles must alternate"):
        templates.render(Conversation([USER]))


def test_tools_choose_the_template_for_them_and_a_name_chooses_any() -> None:
    templates = ChatTemplates({"default": "D", "tool_use": "T", "rag": "R"}, {})
    assert templates.names == ["default", "rag", "tool_use"]
    assert templates.render(Conversation([USER])) == "D"
    assert templates.render(Conversation([USER], tools=TOOLS)) == "T"
    assert templates.render(Conversation([USER], tools=TOOLS, template="rag")) == "R"
    with pytest.raises(BadRequest, match="no template 'x'; it has default, rag, tool_use"):
        templates.render(Conversation([USER], template="x"))


@pytest.mark.parametrize(
    ("conversation", "complaint"),
    [
        (Conversation([]), "at least one message"),
        (Conversation(["hello"]), "expected objects"),  # type: ignore[list-item]  # a client may send anything
        (Conversation([USER], kwargs={"messages": []}), "chat_template_kwargs: messages"),
        (Conversation([ANSWER], continue_final_message=True), "add_generation_prompt"),
        (
            Conversation([{"role": "assistant"}], add_generation_prompt=False, continue_final_message=True),
            "no text to continue",
        ),
    ],
)
def test_what_is_no_conversation_is_refused_by_field(conversation: Conversation, complaint: str) -> None:
    with pytest.raises(BadRequest, match=complaint):
        ChatTemplates({"default": "{{ messages[0].role }}"}, {}).render(conversation)


def test_the_date_is_the_one_given() -> None:
    templates = ChatTemplates(
        {"default": "{{ strftime_now('%d %b %Y') }}"}, {}, now=lambda: datetime(2031, 2, 3, tzinfo=UTC)
    )
    assert templates.render(Conversation([USER])) == "03 Feb 2031"


async def test_a_slow_template_leaves_the_loop_and_a_runaway_is_stopped_there() -> None:
    slow = "{% for a in range(30000) %}{{ a }}{% endfor %}"
    endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    with ThreadPoolExecutor(1) as pool:
        text = await ChatTemplates({"default": slow}, {}).rendered(Conversation([USER]), pool)
        assert text == "".join(map(str, range(30000)))
        rounds = 0
        async with asyncio.TaskGroup() as group:
            task = group.create_task(_failing(ChatTemplates({"default": endless}, {}), pool))
            while not task.done():
                await asyncio.sleep(0)
                rounds += 1
        assert rounds > 10


async def _failing(templates: ChatTemplates, pool: ThreadPoolExecutor) -> None:
    with pytest.raises(TemplateFailed, match="was stopped: it took"):
        await templates.rendered(Conversation([USER]), pool)


def test_what_a_template_may_make_grows_with_what_the_client_sent() -> None:
    long = "word " * 1_000_000
    templates = ChatTemplates(
        {"default": "{% for m in messages %}{{ m.content|trim }}{{ m.content + '' }}{% endfor %}"}, {}
    )
    assert (
        len(templates.render(Conversation([{"role": "user", "content": long}], add_generation_prompt=False)))
        > 9_000_000
    )


def test_more_than_any_context_holds_is_refused_before_it_is_rendered() -> None:
    templates = ChatTemplates({"default": "{{ messages[0].content|length }}"}, {})
    with pytest.raises(BadRequest, match="messages: more than 8000000 characters"):
        templates.render(Conversation([{"role": "user", "content": "x" * 8_000_001}]))
