"""The id of a request: the client's own where it sent a sound one, else a new one in OpenAI's spelling. Pure."""

import re
from collections.abc import Mapping, Sequence
from random import Random

from gateway.proxy.routes import ID_PREFIXES

_SOUND = re.compile(rb"[\x21-\x7e]{1,128}").fullmatch


def request_id(route: bytes, fields: Mapping[bytes, bytes], names: Sequence[bytes], rng: Random) -> bytes:
    """`fields` are the request's headers by lower-case name, `names` those that may carry an id, in order."""
    for name in names:
        if name in fields and _SOUND(fields[name]):
            return fields[name]
    return b"%b%024x" % (ID_PREFIXES.get(route, b"req-"), rng.getrandbits(96))
