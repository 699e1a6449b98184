"""Cancel an order and place another in one call (Binance spot documents, "Cancel an Existing Order and Send a New
Order").
"""

from enum import StrEnum

from services.simulated_exchange.binance.endpoints import Call, Endpoint, Security
from services.simulated_exchange.binance.errors import BinanceError, missing
from services.simulated_exchange.binance.market_data import found
from services.simulated_exchange.binance.trading import cancelled, place, read_order


class _Mode(StrEnum):
    STOP_ON_FAILURE = "STOP_ON_FAILURE"
    ALLOW_FAILURE = "ALLOW_FAILURE"


class _HalfDoneError(BinanceError):
    """One of the two, or both, failed: the answer tells which."""

    def __init__(self, code: int, message: str, status: int, outcome: dict[str, object]) -> None:
        super().__init__(code, message, status)
        self._outcome = outcome

    def body(self) -> dict[str, object]:
        """The error with what became of both."""
        return super().body() | {"data": self._outcome}


def cancel_replace(call: Call) -> object:
    """POST /api/v3/order/cancelReplace. What is wrong with the new order's form is found before anything is done."""
    parameters = call.parameters
    mode = parameters.choice("cancelReplaceMode", _Mode, -1100, "cancelReplaceMode")
    order_id, client_id = parameters.integer("cancelOrderId"), parameters.client_id("cancelOrigClientOrderId")
    if order_id is None and client_id is None:
        raise missing("cancelOrderId")
    read_order(call)
    symbol = found(call, parameters.symbol()).instrument.symbol
    cancel_id = parameters.client_id("cancelNewClientOrderId")
    outcome: dict[str, object] = {"cancelResult": "SUCCESS", "newOrderResult": "NOT_ATTEMPTED"}
    failures = 0
    try:
        outcome["cancelResponse"] = cancelled(call, symbol, order_id, client_id or "", cancel_id)
    except BinanceError as error:
        failures += 1
        outcome |= {"cancelResult": "FAILURE", "cancelResponse": error.body(), "newOrderResponse": None}
        if mode is _Mode.STOP_ON_FAILURE:
            raise _HalfDoneError(-2022, "Order cancel-replace failed.", 400, outcome) from None
    try:
        outcome |= {"newOrderResponse": place(call), "newOrderResult": "SUCCESS"}
    except BinanceError as error:
        failures += 1
        outcome |= {"newOrderResult": "FAILURE", "newOrderResponse": error.body()}
    if failures == 2:
        raise _HalfDoneError(-2022, "Order cancel-replace failed.", 400, outcome)
    if failures:
        raise _HalfDoneError(-2021, "Order cancel-replace partially failed.", 409, outcome)
    return outcome


CANCEL_REPLACE_ENDPOINTS = (
    Endpoint(
        "POST", "/api/v3/order/cancelReplace", cancel_replace, "order.cancelReplace", Security.SIGNED, is_order=True
    ),
)
