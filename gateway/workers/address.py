"""What counts as a worker's URL: one rule for flags, API, console and discovery. Pure."""

import re
from urllib.parse import urlsplit

SCHEMES = ("http", "https", "grpc", "grpcs")
ACCEPTED = (
    "http://host:port (also https://, grpc:// or grpcs://, or host:port alone), "
    "without path, query, fragment or credentials"
)

_BARE = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s/?#@:\[\]]+):\d{1,5}")
"""A name or address with a port, and nothing else."""


def worker_url(text: str) -> str:
    """The normal form `scheme://host[:port]` of a worker's URL. A bare `host:port` becomes `http://host:port`, at
    which a worker may turn out to speak gRPC.

    Raises ValueError whose message says what is wrong and what is accepted. The text may carry credentials,
    so the message never repeats it.
    """
    text = text.strip()
    if _BARE.fullmatch(text):
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # its own message quotes what it took for a port, which may be a part of a password
        raise ValueError(f"it has no valid host and port; expected {ACCEPTED}") from None
    if parts.scheme.lower() not in SCHEMES:
        raise ValueError(f"it must start with http://, https://, grpc:// or grpcs://; expected {ACCEPTED}")
    if "@" in parts.netloc:
        raise ValueError(f"credentials do not belong in a worker's URL, use its api key; expected {ACCEPTED}")
    if parts.path not in ("", "/") or parts.query or parts.fragment or "?" in text or "#" in text:
        raise ValueError(f"it has more than host and port; expected {ACCEPTED}")
    host = parts.hostname
    if not host or any(c.isspace() or c in "\\<>^`{|}%" or ord(c) < 33 for c in host):
        raise ValueError(f"it has no valid host; expected {ACCEPTED}")
    if parts.scheme.lower().startswith("grpc") and port is None:
        raise ValueError(f"gRPC has no port of its own, so it needs one; expected {ACCEPTED}")
    if port == 0:
        raise ValueError(f"port 0 cannot be connected to; expected {ACCEPTED}")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme.lower()}://{shown}" + (f":{port}" if port is not None else "")
