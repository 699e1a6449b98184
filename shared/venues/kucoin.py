"""KuCoin spot (HF trading account): what it can do, what its errors mean and what it allows.

Sources: kucoin.com/docs-new, "Add order" (clientOid), "Get order by clientOid", "Rate limit"; ccxt 4.5.90,
``kucoin.py``: ``sign`` (key version 2), ``create_spot_order_request``, ``exceptions``. A request is refused when its
timestamp is more than 5 s from the venue's.
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
    by_text=MappingProxyType(
        {
            "duplicate": _UNKNOWN,  # 400100, 126044: an order with our clientOid exists, so go and look
            "Exceeded the access frequency": _LIMITED,
            "require more permission": _STOP,
        }
    ),
    by_code=MappingProxyType(
        {
            "1015": _BANNED,  # the address, by the content network
            "100001": _REFUSE,  # order does not exist
            "100004": _REFUSE,  # order cannot be cancelled
            "200002": _LIMITED,
            "200004": _REFUSE,  # balance insufficient
            "200009": _REFUSE,
            "210021": _REFUSE,
            "230003": _REFUSE,
            "260100": _REFUSE,
            "300000": _UNKNOWN,
            "400000": _REFUSE,
            "400001": _STOP,  # headers missing
            "400002": _RETRY,  # timestamp
            **dict.fromkeys(("400003", "400004", "400005", "400006", "400007"), _STOP),  # key, passphrase, signature
            "400100": _REFUSE,  # parameter
            "400200": _REFUSE,
            "400303": _STOP,
            **dict.fromkeys(("400330", "400350", "400370", "400400", "400600", "400760"), _REFUSE),
            "400401": _STOP,
            "400500": _STOP,  # region
            "408000": _UNKNOWN,  # network timeout
            "411100": _STOP,  # user is frozen
            "415000": _REFUSE,
            "429000": _LIMITED,
            "500000": _UNKNOWN,
            "600100": _REFUSE,  # size or funds
            "600101": _REFUSE,
            "900001": _REFUSE,  # symbol does not exist
        }
    ),
    by_http_status=MappingProxyType({401: _STOP, 403: _STOP, 429: _LIMITED}),
)

# VIP 0: a weight of 4,000 in 30 s for spot, 4,000 for management; counted together, at half.
_RATES = RateLimits(
    weight_per_minute=4_000,
    orders_per_10s=150,
    orders_per_day=400_000,
    costs=MappingProxyType(
        {
            "POST /api/v1/hf/orders": Cost(1, is_order=True),
            "DELETE /api/v1/hf/orders/*": Cost(1, settles=True),
            "GET /api/v1/hf/orders/*": Cost(2, settles=True),
            "GET /api/v1/hf/fills": Cost(2, settles=True),
            "GET /api/v1/timestamp": Cost(3, settles=True),
        }
    ),
    other=Cost(5),
)

KUCOIN = VenueCapabilities(
    dialect="kucoin",
    errors=_ERRORS,
    client_ids=ClientIds(Scope.UNSTATED, 40),
    receive_window_ms=5_000,
    read_lag_ms=2_000,
    needs_passphrase=True,
    clock_codes=frozenset({"400002"}),
    limited_s=10.0,
    rates=_RATES,
)
