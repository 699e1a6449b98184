"""BigONE: what it can do, what its errors mean and what it allows.

Sources: open.bigone.com, "Error codes", "Orders", "Authentication"; ccxt 4.5.90, ``bigone.py``: ``sign`` (JWT with
nonce and recv_window, in seconds by its comment), ``create_order``, ``exceptions``.
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
    by_text=MappingProxyType({"duplicate": _UNKNOWN}),
    by_code=MappingProxyType(
        {
            "10001": _REFUSE,  # syntax error
            "10005": _UNKNOWN,  # internal error
            "10007": _REFUSE,  # parameter error: scale, min_quote_value
            "10011": _UNKNOWN,  # system error
            "10013": _REFUSE,  # resource not found
            "10014": _REFUSE,  # insufficient funds
            "10403": _STOP,  # permission denied
            "10429": _LIMITED,
            "40004": _STOP,  # unauthorized, invalid jwt
            "40103": _STOP,
            "40104": _STOP,
            "40106": _STOP,  # invalid token
            "40107": _STOP,  # bad header
            "40120": _REFUSE,  # order is in trading
            "40121": _REFUSE,  # order is already cancelled or filled
            "40301": _STOP,  # permission denied
            "40302": _UNKNOWN,  # already requested
            "40303": _REFUSE,
            "40304": _STOP,  # order creation forbidden
            "40305": _STOP,  # account restricted
            "40601": _RETRY,  # resource is locked
            "40602": _REFUSE,  # resource is depleted
            "40603": _REFUSE,  # insufficient resource
            "40604": _REFUSE,  # price above the maximum
            "40605": _REFUSE,  # price below the minimum
            "50047": _REFUSE,  # too much liquidity taken
            "54041": _UNKNOWN,  # duplicate client_order_id: an order of ours exists, so go and look
            "54043": _REFUSE,  # unknown opening order
            "60100": _REFUSE,  # asset pair is suspended
        }
    ),
    by_http_status=MappingProxyType({401: _STOP, 403: _STOP, 429: _LIMITED}),
)

# 500 requests in 10 s per address, whatever they are.
_RATES = RateLimits(
    weight_per_minute=3_000,
    orders_per_10s=100,
    orders_per_day=200_000,
    costs=MappingProxyType(
        {
            "POST /api/v3/viewer/orders": Cost(1, is_order=True),
            "POST /api/v3/viewer/orders/*": Cost(1, settles=True),
            "GET /api/v3/viewer/orders*": Cost(1, settles=True),
            "GET /api/v3/viewer/trades": Cost(1, settles=True),
            "GET /api/v3/ping": Cost(1, settles=True),
        }
    ),
    other=Cost(1),
)

BIGONE = VenueCapabilities(
    dialect="bigone",
    errors=_ERRORS,
    client_ids=ClientIds(Scope.DAY, 36, queryable=False),
    receive_window_ms=5_000,
    # Without the window that we state it is 30 s: so late an order may come should the venue not heed ours.
    late_ms=25_000,
    read_lag_ms=2_000,
    fills_in_reply=False,
    fee_asset=FeeAsset.RECEIVED,
    market_buy=MarketBuy.CONTRADICTORY,
    limited_s=10.0,
    rates=_RATES,
)
