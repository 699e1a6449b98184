"""Binance: what it can do, what its errors mean and what it allows.

Source: developers.binance.com, spot "Error codes" (errors.md), "General API information" (rest-api.md: HTTP 5XX and
-1006/-1007 = execution status UNKNOWN; newClientOrderId unique among open orders; recvWindow).
"""

from types import MappingProxyType

from shared.core.order_styles import OrderKind
from shared.venues.capabilities import ClientIds, ErrorTable, Scope, VenueCapabilities, Verdict
from shared.venues.rate_limits import Cost, RateLimits

_REFUSE, _RETRY, _UNKNOWN, _STOP = Verdict.REFUSE, Verdict.RETRY, Verdict.UNKNOWN, Verdict.STOP
_LIMITED, _BANNED = Verdict.RATE_LIMITED, Verdict.BANNED

BINANCE_ERRORS = ErrorTable(
    by_text=MappingProxyType(
        {
            "duplicate order sent": _UNKNOWN,  # -2010: an order with our id exists, so go and look
            "banned until": _BANNED,  # -1003 with 418
            "ip banned": _BANNED,
            "ip auto-banned": _BANNED,
        }
    ),
    by_code=MappingProxyType(
        {
            -1000: _UNKNOWN,  # unknown error while processing
            -1001: _UNKNOWN,  # internal error, unable to process
            -1002: _STOP,  # unauthorized
            -1003: _LIMITED,  # too many requests
            -1004: _UNKNOWN,  # server busy
            -1006: _UNKNOWN,  # unexpected response, execution status unknown
            -1007: _UNKNOWN,  # timeout waiting for the back end, execution status unknown
            -1008: _RETRY,  # overloaded: thrown before the order reaches matching
            -1010: _UNKNOWN,  # error message received from the matching engine
            -1013: _REFUSE,  # filter failure
            -1014: _REFUSE,  # unsupported order combination
            -1015: _LIMITED,  # too many new orders
            -1016: _RETRY,  # service shutting down
            -1020: _REFUSE,  # unsupported operation
            -1021: _RETRY,  # timestamp outside of the receive window
            -1022: _STOP,  # invalid signature
            -1034: _RETRY,  # too many connections
            **dict.fromkeys(range(-1137, -1099), _REFUSE),  # malformed parameters
            -2010: _REFUSE,  # new order rejected (insufficient balance, market closed, ...)
            -2011: _REFUSE,  # cancel rejected
            -2013: _REFUSE,  # order does not exist
            -2014: _STOP,  # bad API key format
            -2015: _STOP,  # invalid API key, IP or permissions
            -2026: _REFUSE,  # order archived
        }
    ),
    by_http_status=MappingProxyType({403: _RETRY, 418: _BANNED, 429: _LIMITED}),
)

# Source: spot documents, "REST API" (weight of each endpoint), "LIMITS"; exchangeInfo tells the limits in force.
# Wallet endpoints (/sapi) have a budget of their own; counting them here errs to the safe side.
BINANCE_RATES = RateLimits(
    weight_per_minute=6_000,
    orders_per_10s=100,
    orders_per_day=200_000,
    costs=MappingProxyType(
        {
            "POST /api/v3/order": Cost(1, is_order=True),
            "DELETE /api/v3/order": Cost(1, settles=True),
            "GET /api/v3/order": Cost(4, settles=True),
            "GET /api/v3/openOrders": Cost(6, settles=True),
            "GET /api/v3/myTrades": Cost(20, settles=True),
            "GET /api/v3/time": Cost(1, settles=True),  # a clock that is off keeps every order from being looked up
            "GET /api/v3/exchangeInfo": Cost(20),
            "GET /api/v3/account": Cost(20),
            "GET /api/v3/allOrders": Cost(20),
            "GET /api/v3/depth": Cost(5),  # up to 100 levels
            "GET /sapi/v1/asset/tradeFee": Cost(1),
            "GET /sapi/v1/capital/deposit/hisrec": Cost(1),
            "WS userDataStream.subscribe.signature": Cost(2, settles=True),
        }
    ),
)

BINANCE = VenueCapabilities(
    dialect="binance",
    errors=BINANCE_ERRORS,
    client_ids=ClientIds(Scope.OPEN_ORDERS, 36),
    receive_window_ms=2_000,
    read_lag_ms=500,
    fills_in_reply=True,
    has_user_stream=True,
    has_sandbox=True,
    clock_codes=frozenset({-1021}),
    rates=BINANCE_RATES,
    order_kinds=frozenset(OrderKind),
)
