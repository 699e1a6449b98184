"""OKX: what it can do, what its errors mean and what it allows.

Sources: okx.com/docs-v5, "Place order" (clOrdId, expTime), "Error code"; ccxt 4.5.90, ``okx.py``: ``sign``,
``create_order_request``, ``exceptions`` (50004: "does not indicate success or failure of order").
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
            **dict.fromkeys(("2", "50004", "50005", "50013", "50026", "51054", "51149"), _UNKNOWN),
            "51011": _UNKNOWN,  # duplicated order id
            "51016": _UNKNOWN,  # duplicated client order id: an order of ours exists, so go and look
            "50011": _LIMITED,
            "50061": _LIMITED,
            "50001": _RETRY,  # matching engine upgrading
            "50036": _RETRY,  # expTime has passed
            "50102": _RETRY,  # timestamp expired
            "50112": _RETRY,  # timestamp not readable
            "51021": _RETRY,  # contract to be listed
            **dict.fromkeys(("4088", "50007", "50008", "50009", "50012", "50027", "50100", "50101"), _STOP),
            **dict.fromkeys((str(code) for code in range(50103, 50108)), _STOP),  # headers
            **dict.fromkeys(("50110", "50111", "50113", "50114", "50119", "50120", "51009", "51024"), _STOP),
            **dict.fromkeys(("50000", "50002", "50006", "50014", "50015", "50016", "50024", "50025"), _REFUSE),
            **dict.fromkeys((str(code) for code in range(51000, 51009)), _REFUSE),  # parameters, size, price, balance
            **dict.fromkeys(("51010", "51012", "51015", "51020", "51022", "51025", "51027", "51028"), _REFUSE),
            **dict.fromkeys(("51119", "51120", "51121", "51127", "51131", "51136", "51137", "51138"), _REFUSE),
            **dict.fromkeys((str(code) for code in range(51400, 51411)), _REFUSE),  # cancel: no such open order
            "51603": _REFUSE,  # order does not exist
        }
    ),
    by_http_status=MappingProxyType({401: _STOP, 403: _STOP, 429: _LIMITED}),
)

# 60 orders in 2 s per pair, 20 to 60 reads in 2 s each; counted as one budget, well below.
_RATES = RateLimits(
    weight_per_minute=600,
    orders_per_10s=150,
    orders_per_day=400_000,
    costs=MappingProxyType(
        {
            "POST /api/v5/trade/order": Cost(1, is_order=True),
            "POST /api/v5/trade/cancel-order": Cost(1, settles=True),
            "GET /api/v5/trade/*": Cost(1, settles=True),
            "GET /api/v5/public/time": Cost(1, settles=True),
        }
    ),
    other=Cost(2),
)

OKX = VenueCapabilities(
    dialect="okx",
    errors=_ERRORS,
    client_ids=ClientIds(Scope.UNSTATED, 32),
    receive_window_ms=2_000,  # expTime; without it 30 s after the timestamp
    late_ms=28_000,  # should expTime not be heeded
    read_lag_ms=1_000,
    has_sandbox=True,
    needs_passphrase=True,
    clock_codes=frozenset({"50036", "50102", "50112"}),
    limited_s=2.0,
    rates=_RATES,
)
