"""Errors as Binance spells them (spot documents, "Error codes")."""

from services.simulated_exchange.orders import Cause, VenueRefusal

MANDATORY = "Mandatory parameter '{}' was not sent, was empty/null, or malformed."


class BinanceError(Exception):
    """An error reply: HTTP status (or websocket API status), code and message."""

    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status

    def body(self) -> dict[str, object]:
        """``{"code": -1121, "msg": "Invalid symbol."}``"""
        return {"code": self.code, "msg": self.message}


UNDER_MAINTENANCE = BinanceError(1, "System is under maintenance.", 503)


def error_body(code: int, message: str) -> dict[str, object]:
    """The body of an error."""
    return BinanceError(code, message).body()


def missing(name: str) -> BinanceError:
    """A mandatory parameter is not there."""
    return BinanceError(-1102, MANDATORY.format(name))


_BY_CAUSE = {
    Cause.UNKNOWN_SYMBOL: (-1121, "Invalid symbol."),
    Cause.MARKET_CLOSED: (-1013, "Market is closed."),
    Cause.DUPLICATE_ORDER: (-2010, "Duplicate order sent."),
    Cause.INSUFFICIENT_BALANCE: (-2010, "Account has insufficient balance for requested action."),
    Cause.WOULD_TAKE: (-2010, "Order would immediately match and take."),
    Cause.UNKNOWN_ORDER: (-2013, "Order does not exist."),
    Cause.UNKNOWN_ASSET: (-1121, "Invalid asset."),
}


def from_refusal(refusal: VenueRefusal, *, cancelling: bool = False) -> BinanceError:
    """The reply for a refusal of the venue; an unknown order reads differently where it was to be cancelled."""
    if refusal.cause is Cause.FILTER:
        return BinanceError(-1013, f"Filter failure: {refusal.detail}")
    if refusal.cause is Cause.UNKNOWN_ORDER and cancelling:
        return BinanceError(-2011, "Unknown order sent.")
    return BinanceError(*_BY_CAUSE[refusal.cause])
