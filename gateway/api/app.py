"""The control API's application: its routes, and the rules that hold for each of them.

Handlers only translate: a request into a command or a reading, the outcome into JSON. It is served on the data
plane's port through `gateway.proxy.control`; request ids come from there.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec
from aiohttp import web

from gateway.api.shapes import ErrorJson
from gateway.engines.grpc_engines import Engines
from gateway.errors import BadRequest, GatewayError
from gateway.kubernetes.status import DiscoveryStatus
from gateway.operations import Operations
from gateway.presence import Presence
from gateway.proxy.answers import error_body
from gateway.proxy.explain import Explainer
from gateway.proxy.fleet import Fleet
from gateway.proxy.flights import Flight
from gateway.proxy.routes import DATA_ROUTES
from gateway.settings.effective import Effective
from gateway.telemetry.history import History
from gateway.telemetry.samples import WorkerSample
from gateway.telemetry.status import GatewayStatus
from gateway.tokenizers.commands import TokenizerOperations
from gateway.tokenizers.registry import TokenizerRegistry
from gateway.workers.ask import Ask
from gateway.workers.facts import Cause
from gateway.workers.model import WorkerId
from gateway.workers.registry import Registry
from gateway.workers.rolling_jobs import RollingDrains

logger = logging.getLogger(__name__)

MAX_BODY = 256 * 1024
"""Three times the largest sensible spec; judging the worst body of this size holds the loop for some 20 ms."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Samples(Protocol):
    """Where rates and percentiles of the last second come from."""

    def sample(self, worker_id: WorkerId) -> WorkerSample: ...

    def history(self, worker_id: WorkerId | None = None, model: str | None = None) -> History | None: ...


def _nothing_flies(most: int, worker_id: WorkerId | None) -> Sequence[Flight]:
    return ()


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What the API shows and acts on."""

    registry: Registry
    operations: Operations
    ask: Ask
    samples: Samples
    stopping: Callable[[], bool]
    mono: Callable[[], float]
    fleet: Fleet
    version: str
    boot: str
    """Tells this process's event numbers from another's."""
    status: Callable[[], GatewayStatus]
    explainer: Explainer
    settings: Sequence[Effective]
    tokenizers: TokenizerRegistry
    tokenizer_operations: TokenizerOperations
    rolling: RollingDrains
    engines: Engines | None = None
    """None: workers are spoken to over HTTP only."""
    discovery: Callable[[], DiscoveryStatus] | None = None
    """None: workers are not discovered."""
    presence: Presence = field(default_factory=Presence)
    """Where consoles that are attached from elsewhere are named."""
    flights: Callable[[int, WorkerId | None], Sequence[Flight]] = _nothing_flies
    """The oldest requests under way, so many at most; of a worker, or of all."""

    @property
    def disaggregated(self) -> bool:
        """Every request needs a prefill and a decode worker."""
        return self.fleet.plan.disaggregated


PARTS = web.AppKey("parts", ApiParts)


@dataclass(frozen=True, slots=True)
class Route:
    """A route and what the OpenAPI document says of it."""

    method: str
    path: str
    handler: Handler
    summary: str
    body: type | None = None
    """The pydantic model of its body."""
    statuses: tuple[int, ...] = (200,)
    query: tuple[str, ...] = ()
    answer: object = None
    """The type of a good answer's JSON; None: it is not JSON, but `media`."""
    refusal: object = ErrorJson
    """The type of the other answers'."""
    media: str = "application/json"
    head: bool = True
    """HEAD is answered too, as everywhere in SMG; not where the answer has no end."""


def build_app(parts: ApiParts) -> web.Application:
    """The application with all its routes."""
    from gateway.api import (
        discovery,
        events,
        gateway,
        history,
        info,
        meters,
        openapi,
        probes,
        process,
        rolling,
        routing,
        settings,
        tokenize,
        tokenizers,
        workers,
    )

    app = web.Application(middlewares=[_guard], client_max_size=MAX_BODY)
    app[PARTS] = parts
    routes = [
        *probes.ROUTES,
        *info.ROUTES,
        *workers.ROUTES,
        *rolling.ROUTES,
        *gateway.ROUTES,
        *history.ROUTES,
        *routing.ROUTES,
        *discovery.ROUTES,
        *settings.ROUTES,
        *process.ROUTES,
        *tokenizers.ROUTES,
        *tokenize.ROUTES,
        *events.ROUTES,
        *openapi.ROUTES,
    ]
    for route in routes:
        if route.method == "GET":
            app.router.add_get(route.path, route.handler, allow_head=route.head)
        else:
            app.router.add_route(route.method, route.path, route.handler)
    app[events.BOARD] = meters.Board(parts)
    app[openapi.DOCUMENT] = openapi.Document(routes, parts.version)
    return app


def json_response(value: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """JSON by msgspec: several times faster than the standard library, and it holds the loop meanwhile."""
    kind = {"Content-Type": "application/json; charset=utf-8"}
    return web.Response(body=msgspec.json.encode(value), status=status, headers=kind | (headers or {}))


def packed(value: object) -> msgspec.Raw:
    """A part of an answer as finished JSON, so that putting a large whole together takes next to no time."""
    return msgspec.Raw(msgspec.json.encode(value))


def error_response(error: GatewayError) -> web.Response:
    """An error as SMG's control routes give it."""
    return web.json_response({"error": error.message, "code": error.code}, status=error.status)


@web.middleware
async def _guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever goes wrong into an answer that says so."""
    try:
        response = await handler(request)
    except GatewayError as error:
        response = error_response(error)
    except web.HTTPNotFound:
        response = _unknown_url(request)
    except web.HTTPMethodNotAllowed as refused:
        response = _wrong_method(request, ", ".join(sorted(refused.allowed_methods)))
    except web.HTTPRequestEntityTooLarge:
        text = f"the body is larger than {MAX_BODY} bytes"
        response = web.json_response({"error": text, "code": "PAYLOAD_TOO_LARGE"}, status=413)
    except web.HTTPException:
        raise
    except (ConnectionResetError, ConnectionAbortedError):
        raise  # the client left
    except Exception:
        logger.exception("control_request_failed", extra={"fields": {"path": request.path}})
        text = "the gateway failed on this request; its log has the details"
        response = web.json_response({"error": text, "code": "INTERNAL_SERVER_ERROR"}, status=500)
    if not response.prepared and (request_id := request.headers.get("X-Request-Id")):
        response.headers["X-Request-Id"] = request_id
    if not response.prepared and request.method not in ("GET", "HEAD"):
        # What the command did is in the journal up to here: who follows the events can wait for it.
        parts = request.app[PARTS]
        response.headers["X-SMG-Event-Id"] = f"{parts.boot}-{parts.registry.journal.seq}"
    return response


def _unknown_url(request: web.Request) -> web.Response:
    if request.path.encode("utf-8", "replace") in DATA_ROUTES:  # of another method, or it would not be here
        return _wrong_method(request, "POST")
    return _smg_error(404, "unknown_url", f"Invalid URL ({request.method} {request.path})")


def _wrong_method(request: web.Request, allowed: str) -> web.Response:
    text = f"Method {request.method} is not allowed for {request.path}; allowed: {allowed}"
    response = _smg_error(405, "method_not_allowed", text)
    response.headers["Allow"] = allowed
    return response


def _smg_error(status: int, code: str, text: str) -> web.Response:
    response = web.json_response(error_body(status, code, text), status=status)
    response.headers["X-SMG-Error-Code"] = code
    return response


def actor_of(request: web.Request) -> str:
    """Who asks, for the journal. On the Unix socket it is the gateway's own user, who is believed when programs of
    his say whom they act for (`X-SMG-Actor: attach:anna`); over TCP it stays the API, with the name as a hint.

    Raises BadRequest for a name that does not fit into a line.
    """
    name = request.headers.get("X-SMG-Actor", "")
    if not name:
        return "api"
    if len(name) > 64 or not all(c.isascii() and (c.isalnum() or c in "._:@-") for c in name):
        raise BadRequest(
            f"X-SMG-Actor: given {name[:80]!r}, expected up to 64 letters, digits and . _ : @ -", field="X-SMG-Actor"
        )
    return name if is_local(request) else f"api:{name}"


def cause_of(request: web.Request) -> Cause:
    """The same with the request's id, as commands take it. Raises BadRequest."""
    return Cause(actor_of(request), request.headers.get("X-Request-Id", ""))


def is_local(request: web.Request) -> bool:
    """Whether it came over the Unix socket: of that the address is its path, of any other a tuple."""
    return request.transport is not None and isinstance(request.transport.get_extra_info("sockname"), str)


def whole_number(request: web.Request, name: str, default: int, least: int, most: int) -> int:
    """A query parameter. Raises BadRequest naming it."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 19 and least <= int(text) <= most):
        raise BadRequest(f"{name}: given {text!r}, expected a whole number from {least} to {most}", field=name)
    return int(text)


def seconds(request: web.Request, name: str, most: float) -> float | None:
    """A query parameter in seconds; None where it is absent. Raises BadRequest naming it."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= most:
        raise BadRequest(f"{name}: given {text!r}, expected 0 to {most:g} seconds", field=name)
    return value
