"""Label selectors: what is accepted, what it matches, and what is said of what is refused."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kubernetes.selectors import Operator, Requirement, Selector, common, parse, parse_tokens

LABELS = {"app": "sglang", "tier": "gold", "gen": "7", "empty": "", "smg.ai/role": "decode"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "app=sglang",
        "app==sglang",
        " app = sglang , tier = gold ",
        "app!=vllm",
        "nope!=vllm",
        "app in (sglang,vllm)",
        "app  in(sglang)",
        "nope notin (a,b)",
        "app notin (vllm)",
        "app",
        "!nope",
        "! nope",
        "gen>6,gen<8",
        "gen > 6",
        "empty=",
        "empty in (,x)",
        "empty==,app",
        "smg.ai/role=decode",
    ],
)
def test_a_selector_that_holds_matches(text: str) -> None:
    assert parse(text).matches(LABELS)


@pytest.mark.parametrize(
    "text",
    [
        "app=vllm",
        "app=sglang,tier=silver",
        "app!=sglang",
        "app in (vllm,trt)",
        "nope in (a,b)",
        "app notin (sglang)",
        "nope",
        "!app",
        "gen>7",
        "gen<7",
        "app>1",
        "nope<1",
        "empty>0",
        "app=",
        "nope=",
        "role=decode",
        "smg.ai/role=Decode",
    ],
)
def test_a_selector_that_does_not_hold_matches_nothing(text: str) -> None:
    assert not parse(text).matches(LABELS)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("b=2,a==1,b=2", "a=1,b=2"),
        ("x in (b,a,b)", "x in (a,b)"),
        ("x in (,a)", "x in (,a)"),
        ("x in (a)", "x=a"),
        ("x notin (a)", "x!=a"),
        ("!x , y", "!x,y"),
        ("in in (in,notin)", "in in (in,notin)"),
        ("notin", "notin"),
        ("x>+5", "x>5"),
        ("", ""),
    ],
)
def test_the_canonical_form_is_sorted_and_distinct(text: str, canonical: str) -> None:
    assert str(parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("app=b c", "found 'c'"),
        ("app b", "operator was due"),
        ("=b", "found '='"),
        ("app in b", "'(' was due"),
        ("app in", "'(' is missing"),
        ("app in (b", "')' is missing"),
        ("app in (b c)", "found 'c'"),
        ("app in ()", "set of values is empty"),
        ("a,,b", "found ','"),
        ("a,", "label key is missing"),
        (",a", "found ','"),
        ("!", "label key is missing"),
        ("!!a", "found '!'"),
        ("a>x", "needs an integer, not 'x'"),
        ("a>9223372036854775808", "needs an integer"),
        ("a=(b)", "found '('"),
        ("a=b=c", "found '='"),
        ("-a=b", "label key '-a'"),
        ("a=-b", "label value '-b'"),
        ("Foo.X/a=b", "lower-case DNS name"),
        ("/a=b", "label key '/a'"),
        ("a/b/c=d", "label key 'a/b/c'"),
        ("a" * 64 + "=b", "1 to 63"),
        ("a=" + "b" * 64, "1 to 63"),
        ("é=1", "label key 'é'"),
        ("a=ü", "label value 'ü'"),
        ("a)", "found ')'"),
    ],
)
def test_a_wrong_selector_is_refused_with_what_is_wrong_and_what_is_accepted(text: str, what: str) -> None:
    with pytest.raises(ValueError, match="selector ") as refused:
        parse(text)
    assert what in str(refused.value)
    assert repr(text) in str(refused.value)
    assert "accepted are k=v" in str(refused.value)


def test_a_flags_arguments_must_all_hold() -> None:
    assert str(parse_tokens(["k=v", "k2=v2", "k in (a,b)"])) == "k in (a,b),k=v,k2=v2"
    assert str(parse_tokens(["app=x,", "tier=y"])) == "app=x,tier=y"
    assert parse_tokens([]) == Selector()


@pytest.mark.parametrize("token", ["", " ", ","])
def test_an_empty_argument_is_refused(token: str) -> None:
    with pytest.raises(ValueError, match="is empty"):
        parse_tokens(["app=x", token])


def test_an_argument_is_refused_under_its_own_text() -> None:
    with pytest.raises(ValueError, match="selector 'b c'"):
        parse_tokens(["app=x", "b c"])


def test_what_several_selectors_share_is_what_one_watch_may_ask_for() -> None:
    prefill, decode = parse("app=x,role=prefill"), parse("role=decode,app=x")
    assert str(common([prefill, decode])) == "app=x"
    assert common([]) == Selector()
    assert common([prefill]) == prefill


names = st.from_regex(r"[a-z0-9]([-a-z0-9_.]{0,6}[a-z0-9])?", fullmatch=True)
keys = st.one_of(names, st.builds("{}/{}".format, st.from_regex(r"[a-z]{1,4}(\.[a-z]{1,3})?", fullmatch=True), names))
values = st.one_of(st.just(""), names)
integers = st.integers(-(2**63), 2**63 - 1).map(str)
value_sets = st.sets(values, min_size=1, max_size=3).map(lambda found: tuple(sorted(found)))
requirements = st.one_of(
    st.builds(Requirement, keys, st.sampled_from([Operator.IN, Operator.NOT_IN]), value_sets),
    st.builds(Requirement, keys, st.sampled_from([Operator.EXISTS, Operator.ABSENT])),
    st.builds(Requirement, keys, st.sampled_from([Operator.GREATER, Operator.LESS]), st.tuples(integers)),
)


@given(st.lists(requirements, max_size=5))
def test_the_canonical_form_is_read_back_as_the_same_selector(found: list[Requirement]) -> None:
    selector = parse(",".join(map(str, found)))
    assert set(selector.requirements) == set(found)
    assert parse(str(selector)) == selector


@given(st.text(alphabet=string.ascii_lowercase[:4] + "!=<>(), .-/01é", max_size=24))
def test_any_text_is_parsed_or_refused_with_a_sentence(text: str) -> None:
    try:
        selector = parse(text)
    except ValueError:
        with pytest.raises(ValueError, match=r"^selector .*; accepted are"):
            parse(text)
        return
    assert parse(str(selector)) == selector


@given(st.lists(requirements, max_size=3), st.dictionaries(keys, values, max_size=3))
def test_common_requirements_match_whatever_any_of_the_selectors_matches(
    found: list[Requirement], labels: dict[str, str]
) -> None:
    shared, other = Selector(tuple(found)), parse("app=x")
    if shared.matches(labels) or other.matches(labels):
        assert common([shared, other]).matches(labels)
