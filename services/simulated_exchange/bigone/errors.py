"""Errors as BigONE spells them (open.bigone.com, "Error codes")."""

from services.simulated_exchange.orders import Cause, VenueRefusal


class BigoneError(Exception):
    """An error reply: HTTP status, code and message."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status

    def body(self) -> dict[str, object]:
        """``{"code": 10013, "message": "Resource not found"}``"""
        return error_body(self.code, self.message)


def error_body(code: int, message: str) -> dict[str, object]:
    """The body of an error."""
    return {"code": code, "message": message}


def not_found() -> BigoneError:
    """There is no such thing."""
    return BigoneError(10013, "Resource not found", 404)


def malformed(name: str) -> BigoneError:
    """A parameter is missing or makes no sense."""
    return BigoneError(10007, f"Parameter error: {name}")


UNAUTHORIZED = BigoneError(40004, "Unauthorized", 401)
INVALID_TOKEN = BigoneError(40004, "invalid jwt", 401)
TOO_MANY_REQUESTS = BigoneError(10429, "Too many requests", 429)
UNKNOWN_OPENING_ORDER = BigoneError(54043, "Unknown opening order")
ALREADY_ENDED = BigoneError(40121, "Order is already cancelled or filled")

_BY_CAUSE = {
    Cause.UNKNOWN_SYMBOL: (10013, "Resource not found", 404),
    Cause.UNKNOWN_ASSET: (10013, "Resource not found", 404),
    Cause.UNKNOWN_ORDER: (10013, "Resource not found", 404),
    Cause.MARKET_CLOSED: (60100, "Asset pair is suspended", 400),
    Cause.DUPLICATE_ORDER: (54041, "Duplicate client_order_id", 400),
    Cause.INSUFFICIENT_BALANCE: (10014, "Insufficient funds", 400),
    Cause.WOULD_TAKE: (10007, "Post only order would be matched", 400),
}
_BY_FILTER = {
    "PRICE_FILTER": (10007, "Price's scale must greater than AssetPair's quote scale"),
    "LOT_SIZE": (10007, "Amount's scale must greater than AssetPair's base scale"),
    "NOTIONAL": (10007, "Price mulit with amount should larger than AssetPair's min_quote_value"),
    "PERCENT_PRICE_BY_SIDE": (40604, "Price exceed the maximum order price"),
}


def from_refusal(refusal: VenueRefusal) -> BigoneError:
    """The reply for a refusal of the venue. The spelling of the messages is BigONE's own."""
    if refusal.cause is Cause.FILTER:
        return BigoneError(*_BY_FILTER.get(refusal.detail, (10007, f"Parameter error: {refusal.detail}")))
    return BigoneError(*_BY_CAUSE[refusal.cause])
