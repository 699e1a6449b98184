"""BigONE's replies as the port's values. Pure; raises ``values.UNREADABLE`` for what makes no sense.

Samples: open.bigone.com, "Spot orders", "Trades", "Asset pairs"; ccxt 4.5.90, ``bigone.py``: ``parse_order``,
``parse_trade`` (whose fee is of what the trade brought), ``parse_balance`` ("balance" contains "locked_balance").
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

from services.order_executor.adapters.values import (
    NO_LIMIT,
    Body,
    amount,
    field,
    moment_of_text,
    step_of_scale,
)
from shared.core.market import Instrument
from shared.core.money import MONEY_CONTEXT, ZERO
from shared.core.orders import VenueReport
from shared.venues.port import VenueBalances, VenueDeposit, VenueOrder, VenueTrade

_OPEN, _ENDED = frozenset({"PENDING", "OPENING", "FIRED"}), frozenset({"FILLED", "CANCELLED", "REJECTED"})
_CREDITED = frozenset({"WITHHOLD", "CONFIRMED", "COMPLETED"})
_TAKER_FEE = Decimal("0.001")  # "Fee policy": for everybody, no endpoint tells it


def data_of(body: object) -> Any:
    """The envelope's content: {"code": 0, "data": ...}; the code comes as number and as text."""
    if not isinstance(body, dict) or str(field(body, "code")) != "0":
        raise ValueError(f"not an answer: {str(body)[:100]}")
    return field(body, "data")


def order_of(body: Body) -> VenueOrder:
    """{"id": 10, "asset_pair_name": "ETH-USDT", "price": "10.00", "amount": "10.00", "filled_amount": "9.0",
    "state": "CANCELLED", "client_order_id": "tt6g", "created_at": "2019-01-29T06:05:56Z"}
    """
    state, executed = field(body, "state"), amount(field(body, "filled_amount"))
    if state not in _OPEN and state not in _ENDED:
        raise ValueError(f"unknown order state {state!r}")
    if executed > amount(field(body, "amount")):
        raise ValueError("more executed than ordered")
    report = VenueReport(state in _OPEN, executed, state == "REJECTED")
    name = str(body.get("client_order_id") or "")
    return VenueOrder(name, str(field(body, "id")), str(field(body, "asset_pair_name")), report)


def trade_of(body: Body) -> VenueTrade:
    """{"id": 10854263, "asset_pair_name": "XIN-USDT", "price": "75.7", "amount": "12.743149", "taker_side": "BID",
    "maker_order_id": null, "taker_order_id": 58284888, "maker_fee": null, "taker_fee": "0.0025486298", "side": "BID",
    "inserted_at": "2019-04-15T06:20:57Z"}
    """
    symbol, side = str(field(body, "asset_pair_name")), field(body, "side")
    if side not in {"BID", "ASK"}:  # SELF_TRADING names two orders of ours in one row, and we cross none of our own
        raise ValueError(f"a trade on side {side!r}")
    role = "taker" if field(body, "taker_side") == side else "maker"
    base, quote = symbol.split("-")
    price, quantity = amount(field(body, "price")), amount(field(body, "amount"))
    return VenueTrade(
        trade_id=f"{symbol}:{field(body, 'id')}",
        venue_order_id=str(field(body, f"{role}_order_id")),
        symbol=symbol,
        quantity=quantity,
        price=price,
        quote_quantity=MONEY_CONTEXT.multiply(price, quantity),
        fee=amount(field(body, f"{role}_fee") or "0"),
        fee_asset=base if side == "BID" else quote,
        at=moment_of_text(field(body, "inserted_at")),
    )


def balances_of(rows: list[Body], at: datetime) -> VenueBalances:
    """[{"asset_symbol": "BTC", "balance": "0.5", "locked_balance": "0.1"}]: the balance is free and locked together."""
    total = {str(row["asset_symbol"]): amount(row["balance"]) for row in rows}
    return VenueBalances({asset: held for asset, held in total.items() if held}, at)


def deposits_of(rows: list[Body]) -> list[VenueDeposit]:
    """[{"id": 5, "amount": "25.0", "inserted_at": "2018-02-16T11:39:58.000Z", "state": "WITHHOLD", "asset_symbol":
    "BTS"}]
    """
    return [
        VenueDeposit(
            str(row["id"]), str(row["asset_symbol"]), amount(row["amount"]), moment_of_text(row["inserted_at"])
        )
        for row in rows
        if row["state"] in _CREDITED
    ]


def instrument_of(venue: str, body: Body) -> Instrument:
    """{"name": "BTC-USDT", "base_scale": 6, "quote_scale": 2, "base_asset": {"symbol": "BTC"}, "quote_asset":
    {"symbol": "USDT"}, "min_quote_value": "10", "max_quote_value": "900000"}: scales are numbers of decimals
    """
    lot_step = step_of_scale(field(body, "base_scale"))
    return Instrument(
        venue=venue,
        symbol=str(field(body, "name")),
        base=str(field(field(body, "base_asset"), "symbol")),
        quote=str(field(field(body, "quote_asset"), "symbol")),
        lot_step=lot_step,
        min_quantity=lot_step,
        max_quantity=NO_LIMIT,
        tick_size=step_of_scale(field(body, "quote_scale")),
        min_notional=amount(field(body, "min_quote_value")).normalize() + ZERO,
        taker_fee=_TAKER_FEE,
        tradable=True,
    )
