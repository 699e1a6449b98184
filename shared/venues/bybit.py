"""Bybit spot (unified account): what it can do, what its errors mean and what it allows.

Sources: bybit-exchange.github.io/docs/v5, "Place order" (orderLinkId), "Integration guidance" (recv_window), "Rate
limit" (HTTP 403: ten minutes), "Error codes"; ccxt 4.5.90, ``bybit.py``: ``sign``, ``create_order_request``.
"""

from types import MappingProxyType

from shared.venues.capabilities import (
    ClientIds,
    ErrorTable,
    Scope,
    VenueCapabilities,
    Verdict,
)
from shared.venues.rate_limits import Cost, RateLimits

_REFUSE, _RETRY, _UNKNOWN, _STOP = Verdict.REFUSE, Verdict.RETRY, Verdict.UNKNOWN, Verdict.STOP
_LIMITED, _BANNED = Verdict.RATE_LIMITED, Verdict.BANNED

_ERRORS = ErrorTable(
    by_code=MappingProxyType(
        {
            "10000": _UNKNOWN,  # server timeout
            "10014": _UNKNOWN,  # duplicate request
            "10016": _UNKNOWN,  # internal error
            "5004": _UNKNOWN,  # server timeout
            "12141": _UNKNOWN,  # duplicate orderLinkId: an order of ours exists, so go and look
            "110072": _UNKNOWN,  # the same
            "170141": _UNKNOWN,  # the same
            **dict.fromkeys(("170001", "170007", "170032", "170035", "170146", "170149", "170234"), _UNKNOWN),
            "10002": _RETRY,  # outside of the receive window
            "10019": _RETRY,  # service is restarting
            "10006": _LIMITED,
            "10018": _LIMITED,
            "170005": _LIMITED,
            "170222": _LIMITED,
            "10009": _BANNED,  # the address
            **dict.fromkeys(("10003", "10004", "10005", "10007", "10008", "10010", "10020", "10024"), _STOP),
            **dict.fromkeys(("10027", "10028", "33004", "170201", "170209", "170241"), _STOP),
            **dict.fromkeys(("7001", "10001", "10017", "10029", "12137", "12201"), _REFUSE),
            **dict.fromkeys(("110001", "110003", "110004", "110007", "110008", "110010", "110012"), _REFUSE),
            **dict.fromkeys(("170033", "170105", "170115", "170116", "170117", "170121", "170124"), _REFUSE),
            **dict.fromkeys((str(code) for code in range(170130, 170138)), _REFUSE),  # balance, price, size, decimals
            **dict.fromkeys(("170139", "170140", "170142", "170143", "170144", "170145", "170148"), _REFUSE),
            **dict.fromkeys(("170151", "170157", "170159", "170190"), _REFUSE),
            **dict.fromkeys((str(code) for code in range(170192, 170201)), _REFUSE),  # price limits
            **dict.fromkeys(("170210", "170213", "170217", "170218", "170221", "170228", "170229"), _REFUSE),
        }
    ),
    by_http_status=MappingProxyType({401: _STOP, 403: _BANNED, 429: _LIMITED}),
)

# 20 orders a second, 50 reads a second, 600 requests in 5 s per address.
_RATES = RateLimits(
    weight_per_minute=1_200,
    orders_per_10s=150,
    orders_per_day=400_000,
    costs=MappingProxyType(
        {
            "POST /v5/order/create": Cost(1, is_order=True),
            "POST /v5/order/cancel": Cost(1, settles=True),
            "GET /v5/order/*": Cost(1, settles=True),
            "GET /v5/execution/list": Cost(1, settles=True),
            "GET /v5/market/time": Cost(1, settles=True),
        }
    ),
    other=Cost(2),
)

BYBIT = VenueCapabilities(
    dialect="bybit",
    errors=_ERRORS,
    client_ids=ClientIds(Scope.UNSTATED, 36),
    receive_window_ms=2_000,
    read_lag_ms=2_000,  # "create order" is an acknowledgement: the order is made afterwards
    has_sandbox=True,
    clock_codes=frozenset({"10002"}),
    limited_s=1.0,
    banned_s=600.0,
    rates=_RATES,
)
