"""What the bytes of a head may be, as RFC 9112 has it and no wider: request lines, fields, and what is left of chunks.

The grammar is the check: what matches it can be read in one way only, and nothing has to be looked for that it
does not name (bare line feeds, folded lines, control characters, blanks before a colon). The patterns are possessive,
so that the time they take grows with the length of a head alone. Pure.
"""

import re

from gateway.proxy.messages import Headers

_TCHAR = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_VALUE = rb"[\t -~\x80-\xff]"
_QUOTED = rb'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*+"'
_EXTENSION = rb";%b++(?:=(?:%b++|%b))?" % (_TCHAR, _TCHAR, _QUOTED)

FIRST_LINE = re.compile(rb"(%b{1,32}+) ([!-~]++) HTTP/([0-9]\.[0-9])\r\n" % _TCHAR)
"""Method, target, version."""
FIRST_LINE_SO_FAR = re.compile(rb"%b{1,32}+(?: (?:[!-~]++(?: (?:[!-~]*+\r?)?)?)?)?" % _TCHAR)
"""What a first line may be while its end has not come."""
STATUS_LINE = re.compile(rb"HTTP/(1\.[01]) ([1-5][0-9]{2})(?: (%b*+))?\r\n" % _VALUE)
"""Version, status, reason."""
FIELDS = re.compile(rb"(?:%b++:%b*+\r\n)*+" % (_TCHAR, _VALUE))
"""Whole lines of fields."""
_FIELD = re.compile(rb"(%b++):(%b*+)\r\n" % (_TCHAR, _VALUE))
UNSOUND = re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r[^\n]")
"""What no head has anywhere."""
CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15}+)(?:%b)*+\r\n" % _EXTENSION)
CHUNK_SIZE_SO_FAR = re.compile(rb"[0-9A-Fa-f]{0,15}+(?:(?<=[0-9A-Fa-f])(?:;%b*+)?\r?)?" % _VALUE)
HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]+|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._~-]+)?\])(?::[0-9]{0,5})?")


def fields_of(lines: bytes) -> Headers:
    """The fields of lines that match `FIELDS`."""
    return [(name.lower(), value.strip(b" \t")) for name, value in _FIELD.findall(lines)]


def tokens(value: bytes) -> list[bytes]:
    """The members of a list, in lower case."""
    return [token.strip(b" \t") for token in value.lower().split(b",")]


def stays_open(version: str, headers: Headers) -> bool:
    """Whether the connection may carry another request."""
    said = [token for name, value in headers if name == b"connection" for token in tokens(value)]
    return b"close" not in said if version == "1.1" else b"keep-alive" in said and b"close" not in said
