"""Coinbase Advanced Trade: what it can do, what its errors mean and what it allows.

Sources: docs.cdp.coinbase.com, "Create order", "List orders", "List fills", "Rate limits", "API key authentication";
ccxt 4.5.90, ``coinbase.py``: ``create_order`` (IOC is sor_limit_ioc), ``create_auth_token``, ``handle_errors``.
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
            "request timestamp expired": _RETRY,
            "PREVIEW_": _REFUSE,  # what a preview finds wrong is never placed
            "order with this orderID was not found": _REFUSE,
        }
    ),
    by_code=MappingProxyType(
        {
            "UNKNOWN_FAILURE_REASON": _UNKNOWN,
            "COMMANDER_REJECTED_NEW_ORDER": _REFUSE,
            "INSUFFICIENT_FUND": _REFUSE,
            "INSUFFICIENT_FUNDS": _REFUSE,
            "INVALID_ARGUMENT": _REFUSE,
            "INVALID_LIMIT_PRICE": _REFUSE,
            "INVALID_LIMIT_PRICE_POST_ONLY": _REFUSE,
            "INVALID_NO_LIQUIDITY": _REFUSE,
            "INVALID_PRICE_PRECISION": _REFUSE,
            "INVALID_PRODUCT_ID": _REFUSE,
            "INVALID_REQUEST": _REFUSE,
            "INVALID_SIDE": _REFUSE,
            "INVALID_SIZE_PRECISION": _REFUSE,
            "ORDER_ENTRY_DISABLED": _RETRY,
            "PERMISSION_DENIED": _STOP,
            "UNSUPPORTED_ORDER_CONFIGURATION": _REFUSE,
            "UNKNOWN_CANCEL_ORDER": _REFUSE,
            "invalid_request": _REFUSE,
            "not_found": _REFUSE,
            "param_required": _REFUSE,
            "validation_error": _REFUSE,
            "authentication_error": _STOP,
            "expired_token": _RETRY,
            "identity_verification_required": _STOP,
            "invalid_authentication_method": _STOP,
            "invalid_scope": _STOP,
            "invalid_token": _STOP,
            "revoked_token": _STOP,
            "two_factor_required": _STOP,
            "unauthorized": _STOP,
            "rate_limit_exceeded": _LIMITED,
            "resource_exhausted": _LIMITED,
            "internal_server_error": _UNKNOWN,
        }
    ),
    by_http_status=MappingProxyType({401: _STOP, 403: _STOP, 429: _LIMITED}),
)

# 30 private requests a second; half of it.
_RATES = RateLimits(
    weight_per_minute=900,
    orders_per_10s=100,
    orders_per_day=200_000,
    costs=MappingProxyType(
        {
            "POST /api/v3/brokerage/orders": Cost(1, is_order=True),
            "POST /api/v3/brokerage/orders/batch_cancel": Cost(1, settles=True),
            "GET /api/v3/brokerage/orders/*": Cost(1, settles=True),
            "GET /api/v3/brokerage/time": Cost(1, settles=True),
        }
    ),
    other=Cost(1),
)

COINBASE = VenueCapabilities(
    dialect="coinbase",
    errors=_ERRORS,
    client_ids=ClientIds(Scope.UNSTATED, 128, queryable=False),
    receive_window_ms=5_000,  # the JWT says when it expires
    late_ms=60_000,  # how much leniency it gives an expired one is not documented
    read_lag_ms=2_000,
    fee_asset=FeeAsset.QUOTE,
    market_buy=MarketBuy.CHOICE,
    reads_deposits=False,
    clock_codes=frozenset({"authentication_error", "expired_token"}),
    limited_s=1.0,
    rates=_RATES,
)
