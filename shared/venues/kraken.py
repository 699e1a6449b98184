"""Kraken spot: what it can do, what its errors mean and what it allows.

Sources: docs.kraken.com, "Add order" (cl_ord_id, deadline, oflags), "Client order identifiers" (unique among open
orders; a UUID or 18 characters of text), "Spot REST rate limits", "Error codes"; ccxt 4.5.90, ``kraken.py``: ``sign``,
``order_request``, ``handle_errors``.
"""

from types import MappingProxyType

from shared.venues.capabilities import (
    ClientIds,
    ErrorTable,
    FeeAsset,
    MarketBuy,
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
            "duplicate": _UNKNOWN,  # an order with our id exists, so go and look
            "Throttled": _LIMITED,
            "rate limit exceeded": _LIMITED,
            "EGeneral:Invalid arguments": _REFUSE,  # with or without the name of the argument
            "EOrder:Invalid": _REFUSE,
        }
    ),
    by_code=MappingProxyType(
        {
            "EAPI:Bad request": _REFUSE,
            "EAPI:Feature disabled": _RETRY,
            "EAPI:Invalid key": _STOP,
            "EAPI:Invalid nonce": _RETRY,
            "EAPI:Invalid signature": _STOP,
            "EAccount:Invalid permissions": _STOP,
            "EDatabase:Internal error": _UNKNOWN,
            "EGeneral:Internal error": _UNKNOWN,
            "EGeneral:Permission denied": _STOP,
            "EGeneral:Temporary lockout": _BANNED,
            "EGeneral:Too many requests": _LIMITED,
            "EOrder:Cannot open position": _REFUSE,
            "EOrder:Cost minimum not met": _REFUSE,
            "EOrder:Insufficient funds": _REFUSE,
            "EOrder:Order minimum not met": _REFUSE,
            "EOrder:Orders limit exceeded": _REFUSE,
            "EOrder:Tick size check failed": _REFUSE,
            "EOrder:Trading agreement required": _STOP,
            "EOrder:Unknown order": _REFUSE,
            "EQuery:Unknown asset": _REFUSE,
            "EQuery:Unknown asset pair": _REFUSE,
            "EQuery:Invalid asset pair": _REFUSE,
            "EService:Busy": _UNKNOWN,
            "EService:Deadline elapsed": _RETRY,  # our own deadline: the matching engine has dropped it
            "EService:Market in cancel_only mode": _RETRY,
            "EService:Market in limit_only mode": _RETRY,
            "EService:Market in post_only mode": _RETRY,
            "EService:Timeout": _UNKNOWN,
            "EService:Unavailable": _UNKNOWN,
            "ESession:Invalid session": _STOP,
            "ETrade:User Locked": _STOP,
        }
    ),
    by_http_status=MappingProxyType({403: _RETRY, 429: _LIMITED}),
)

# A counter of 20 that falls by 0.5 a second (Intermediate); orders have a counter of their own.
_RATES = RateLimits(
    weight_per_minute=30,
    orders_per_10s=20,
    orders_per_day=50_000,
    costs=MappingProxyType(
        {
            "POST /0/private/AddOrder": Cost(0, is_order=True),
            "POST /0/private/CancelOrder": Cost(0, settles=True),
            "POST /0/private/OpenOrders": Cost(1, settles=True),
            "POST /0/private/ClosedOrders": Cost(2, settles=True),
            "POST /0/private/QueryOrders": Cost(1, settles=True),
            "POST /0/private/QueryTrades": Cost(1, settles=True),
            "POST /0/private/TradesHistory": Cost(2, settles=True),
            "POST /0/private/*": Cost(1),
            "GET /0/public/*": Cost(0, settles=True),
        }
    ),
    other=Cost(2),
)

KRAKEN = VenueCapabilities(
    dialect="kraken",
    errors=_ERRORS,
    client_ids=ClientIds(Scope.OPEN_ORDERS, 36, as_uuid=True),
    receive_window_ms=5_000,  # the order's own deadline, 2 to 60 s
    read_lag_ms=3_000,
    in_order=True,
    fee_asset=FeeAsset.QUOTE,
    market_buy=MarketBuy.CHOICE,
    clock_codes=frozenset({"EAPI:Invalid nonce", "EService:Deadline elapsed"}),
    limited_s=10.0,
    banned_s=900.0,
    rates=_RATES,
)
