"""What an operator or a client may be told went wrong: one small family, each with a code.

API, console, CLI and logs all show the same code and sentence; the HTTP status rides along so that the API
decides nothing. A worker's failure is not here (it is data: a reason on the worker), nor is a broken
invariant (that is a plain exception, a bug).
"""


class GatewayError(Exception):
    """A refused command or request. `code` is stable for programs, the message is for people."""

    code = "INTERNAL_SERVER_ERROR"
    status = 500

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class BadRequest(GatewayError):
    """The input is wrong; the message names the field and what is accepted."""

    code = "BAD_REQUEST"
    status = 400


class WorkerNotFound(GatewayError):
    code = "WORKER_NOT_FOUND"
    status = 404


class WorkerExists(GatewayError):
    code = "WORKER_ALREADY_EXISTS"
    status = 409


class JobNotFound(GatewayError):
    code = "JOB_NOT_FOUND"
    status = 404


class Conflict(GatewayError):
    """The command is legal, but not for the worker's present state; the message says why."""

    code = "CONFLICT"
    status = 409


class ReadOnly(GatewayError):
    code = "READ_ONLY"
    status = 403


class Forbidden(GatewayError):
    """Whoever asks may not do this; the message says what it takes."""

    code = "FORBIDDEN"
    status = 403
