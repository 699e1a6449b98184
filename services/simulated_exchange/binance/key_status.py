"""What a key may do, and how much of its limits is used (Binance wallet "Account", spot "Unfilled Order Count")."""

from services.simulated_exchange.binance.account import assets
from services.simulated_exchange.binance.endpoints import Call, Endpoint, Security
from services.simulated_exchange.binance.errors import BinanceError
from services.simulated_exchange.desk import wall_ms


def restrictions(_call: Call) -> object:
    """GET /sapi/v1/account/apiRestrictions: every key trades spot, and no key moves money."""
    return {
        "ipRestrict": False,
        "createTime": 0,
        "enableReading": True,
        "enableSpotAndMarginTrading": True,
        "enableWithdrawals": False,
        "enableInternalTransfer": False,
        "permitsUniversalTransfer": False,
        "enableMargin": False,
        "enableFutures": False,
        "enableVanillaOptions": False,
    }


def status(_call: Call) -> object:
    """GET /sapi/v1/account/status."""
    return {"data": "Normal"}


def trading_status(_call: Call) -> object:
    """GET /sapi/v1/account/apiTradingStatus."""
    return {"data": {"isLocked": False, "plannedRecoverTime": 0, "triggerCondition": {}, "updateTime": 0}}


def order_counts(call: Call) -> object:
    """GET /api/v3/rateLimit/order: new orders of the account in the windows in force."""
    limits = [limit for limit in call.desk.gate.rules.listed() if limit["rateLimitType"] == "ORDERS"]
    counts = call.desk.gate.orders_counted(call.account.api_key, wall_ms())
    return [limit | {"count": count} for limit, count in zip(limits, counts, strict=True)]


def deposit_address(call: Call) -> object:
    """GET /sapi/v1/capital/deposit/address."""
    coin = call.parameters.required("coin")
    if coin not in assets(call.venue):
        raise BinanceError(-4018, "This asset is not supported.")
    return {"coin": coin, "address": "paper", "tag": "", "url": ""}


_SIGNED = Security.SIGNED
KEY_ENDPOINTS = (
    Endpoint("GET", "/api/v3/rateLimit/order", order_counts, "account.rateLimits.orders", _SIGNED, 40),
    Endpoint("GET", "/sapi/v1/account/apiRestrictions", restrictions, security=_SIGNED),
    Endpoint("GET", "/sapi/v1/account/status", status, security=_SIGNED),
    Endpoint("GET", "/sapi/v1/account/apiTradingStatus", trading_status, security=_SIGNED),
    Endpoint("GET", "/sapi/v1/capital/deposit/address", deposit_address, security=_SIGNED, weight=10),
)
