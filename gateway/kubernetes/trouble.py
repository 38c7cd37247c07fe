"""What can go wrong with an API server, and in which words operators hear of it."""

import msgspec

from gateway.kubernetes.access import NoAccess
from gateway.kubernetes.api import UNREACHABLE, ApiError

TROUBLE = (ApiError, NoAccess, msgspec.DecodeError, UnicodeDecodeError, *UNREACHABLE)
"""All that a request raises when it does not work. The world may heal: it is tried again."""


class Unsteady(Exception):
    """A watch that ended at once, or spoke no JSON. The message is for the status."""


class Unread(Exception):
    """A Secret could not be read. The message is for operators."""


class Silent(Unsteady):
    """A watch that said nothing for too long."""


def words(error: Exception) -> str:
    """The trouble in a sentence for the status and the log."""
    if isinstance(error, ApiError):
        return f"the API server refused to {error.verb} pods: {error.code} {error.reason} {error.message}".rstrip()
    if isinstance(error, NoAccess | Unsteady):
        return str(error)
    if isinstance(error, msgspec.DecodeError | UnicodeDecodeError):
        return f"the API server's answer is not what Kubernetes documents: {error}"
    if isinstance(error, TimeoutError):
        return str(error) or "the API server did not answer in time"
    return f"the API server cannot be reached: {error or type(error).__name__}"
