"""The authorized keys: which line lets whom in as what, and that no line is honoured in part."""

import base64
import calendar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access import AccessRole
from smg_console.ssh.authorized import NAME_SIZE, AuthorizedKey, fingerprint, parse, shown

NOW = 1_790_000_000.0
HERE = "192.0.2.7"


def blob(number: int = 1, kind: str = "ssh-ed25519") -> bytes:
    return len(kind).to_bytes(4, "big") + kind.encode() + (32).to_bytes(4, "big") + bytes([number]) * 32


def key(number: int = 1, kind: str = "ssh-ed25519") -> str:
    return f"{kind} {base64.b64encode(blob(number, kind)).decode()}"


def one(line: str) -> AuthorizedKey:
    found = parse(line)
    assert found.problems == ()
    (only,) = found.keys
    return only


def problem(line: str) -> str:
    found = parse(line)
    assert found.keys == ()
    (only,) = found.problems
    return only


def test_a_plain_line_is_a_viewer_named_after_its_comment() -> None:
    found = one(f"{key()} ops on the laptop")
    assert (found.role, found.name, found.blob, found.terminal) == (
        AccessRole.VIEWER,
        "ops on the laptop",
        blob(),
        True,
    )
    assert one(key()).name == fingerprint(blob())
    assert fingerprint(blob()).startswith("SHA256:")


def test_comments_and_empty_lines_are_skipped_and_lines_are_counted() -> None:
    found = parse(f"# who may\n\n  {key()} a\nnonsense\n{key(2)} b\n")
    assert [(k.name, k.line) for k in found.keys] == [("a", 3), ("b", 5)]
    assert found.problems == ("line 4: cannot be read from 'nonsense' on; expected options, then a public key",)


@pytest.mark.parametrize("role", list(AccessRole))
def test_each_role_is_given_by_its_name(role: AccessRole) -> None:
    assert one(f'role="{role}" {key()}').role is role
    assert one(f'restrict,ROLE="{role}",no-pty {key()}').terminal is False


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f'role="root" {key()}', "role: given 'root', expected one of viewer, operator, admin"),
        (f"role {key()}", "role: given '', expected one of viewer, operator, admin"),
        (f'command="/bin/sh" {key()}', "option command is not honoured here"),
        (f'environment="A=b" {key()}', "option environment is not honoured here"),
        (f"cert-authority {key()}", "option cert-authority is not honoured here"),
        (f'restrict="x" {key()}', "option restrict is not honoured here"),
        (f'from="*.example.org" {key()}', "from: given '*.example.org', expected addresses: names are not looked up"),
        (f'from="10.0.0.0/33" {key()}', "from: '10.0.0.0/33' does not appear to be an IPv4 or IPv6 network"),
        (f'from="10.0.0.1/8" {key()}', "from: 10.0.0.1/8 has host bits set"),
        (f'from="" {key()}', 'from: expected a value, as in from="..."'),
        (f'expiry-time="2026-01-01" {key()}', "expiry-time: given '2026-01-01', expected YYYYMMDD"),
        (f'expiry-time="20261301" {key()}', "expiry-time: given '20261301', expected YYYYMMDD"),
        (f'role="operator {key()}', "cannot be read from 'role=\"operator ssh-e' on"),
        ("ssh-ed25519", "what follows ssh-ed25519 is not a key of that kind"),
        ("ssh-ed25519 AAAA!", "what follows ssh-ed25519 is not a key of that kind"),
        (f"ssh-rsa {key().split()[1]}", "what follows ssh-rsa is not a key of that kind"),
        ('role="viewer" ssh-dss AAAA', "given 'ssh-dss', expected a public key"),
        ("x" * 20_000, "longer than 16384 characters"),
    ],
)
def test_a_line_that_cannot_be_honoured_in_full_is_left_out_and_says_why(line: str, said: str) -> None:
    assert problem(line).startswith(f"line 1: {said}")


@pytest.mark.parametrize(
    ("patterns", "admitted"),
    [
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("192.0.2.0/24", True),
        ("198.51.100.0/24,192.0.2.*", True),
        ("192.0.2.?", True),
        ("192.0.2.0/24,!192.0.2.7", False),
        ("!192.0.2.8", False),
        ("2001:db8::/32", False),
    ],
)
def test_a_key_may_be_bound_to_addresses(patterns: str, admitted: bool) -> None:
    found = parse(f'from="{patterns}" {key()} a').admit(blob(), HERE, NOW)
    assert isinstance(found, AuthorizedKey) is admitted
    if not admitted:
        assert found == "the key of line 1 may not be used from this address"


def test_a_key_may_end_at_a_time_of_this_place_or_of_the_world() -> None:
    when = calendar.timegm((2026, 9, 21, 14, 13, 0))
    for text in ("202609211413Z", "20260921141300Z", "202609211413", "20260921141300"):  # tests run in UTC
        keys = parse(f'expiry-time="{text}" {key()} a')
        assert isinstance(keys.admit(blob(), HERE, when - 1), AuthorizedKey)
        assert keys.admit(blob(), HERE, when) == "the key of line 1 has expired"


def test_an_unknown_key_is_refused_and_a_later_line_may_let_in_what_an_earlier_one_does_not() -> None:
    keys = parse(f'from="10.0.0.1",role="admin" {key()} a\nrole="viewer" {key()} b')
    found = keys.admit(blob(), HERE, NOW)
    assert isinstance(found, AuthorizedKey)
    assert (found.name, found.role) == ("b", AccessRole.VIEWER)
    assert keys.admit(blob(2), HERE, NOW) == "the key is not among the authorized keys"


@given(st.text(max_size=200))
def test_any_text_is_keys_or_problems_and_what_is_shown_of_it_is_harmless(text: str) -> None:
    found = parse(text)
    assert found.keys == ()
    assert shown(text).isprintable()
    assert len(shown(text)) <= NAME_SIZE


@given(st.text(max_size=60))
def test_no_text_before_a_key_makes_it_an_admin(text: str) -> None:
    assert all(k.role is AccessRole.VIEWER for k in parse(f"{text} {key()}").keys)
