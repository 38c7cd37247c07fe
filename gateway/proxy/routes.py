"""Which requests are the data plane's, and which need a model. All others are the control API's. Pure."""

CONTROL = "control"

DATA_ROUTES: dict[bytes, str] = {
    route: route.decode()
    for route in (
        b"/v1/chat/completions",
        b"/v1/completions",
        b"/generate",
        b"/v1/embeddings",
        b"/v1/rerank",
        b"/rerank",
        b"/v1/classify",
        b"/v1/responses",
        b"/v1/messages",
        b"/v1/audio/transcriptions",
    )
}
"""POST on these goes to a worker; the values are the names they are counted under."""

MODEL_REQUIRED = frozenset(
    (b"/v1/chat/completions", b"/v1/completions", b"/v1/embeddings", b"/v1/responses", b"/v1/messages")
)

ID_PREFIXES = {
    b"/v1/chat/completions": b"chatcmpl-",
    b"/v1/completions": b"cmpl-",
    b"/generate": b"gnt-",
    b"/v1/responses": b"resp-",
    b"/v1/messages": b"msg_",
}


def is_data(method: bytes, route: bytes) -> bool:
    return method == b"POST" and route in DATA_ROUTES
