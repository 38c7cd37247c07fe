"""Which kind of exchange a request on a data route gets: with one worker or a pair, over HTTP or with token ids."""

from gateway.errors import GatewayError
from gateway.proxy.exchange import Exchange
from gateway.proxy.hints import hints_of
from gateway.proxy.messages import Request
from gateway.proxy.pairs import PAIRED_ROUTES, PairExchange
from gateway.proxy.relay import Client
from gateway.proxy.traffic import Traffic


def open_exchange(traffic: Traffic, client: Client, request: Request) -> Exchange:
    """The exchange for this request."""
    if not traffic.fleet.special:
        return Exchange(traffic, client, request)
    return _kind(traffic, request)(traffic, client, request)


def _kind(traffic: Traffic, request: Request) -> type[Exchange]:
    content, fleet = request.fields.get(b"content-type", b""), traffic.fleet
    try:
        model = fleet.canonical(hints_of(request.route, content, request.body).model)
    except GatewayError:
        return Exchange  # which will say what is wrong with it
    paired = fleet.pairing and request.route in PAIRED_ROUTES and not content.startswith(b"multipart/")
    pair = paired and fleet.pairs(model)
    if traffic.generating is None or not fleet.speaks_grpc(model):
        return PairExchange if pair else Exchange
    from gateway.proxy.generated import Generated  # loaded with the first gRPC worker that gets a request
    from gateway.proxy.generated_pairs import GeneratedPair

    return GeneratedPair if pair else Generated
