"""Kraken's replies as the port's values. Pure; raises ``values.UNREADABLE`` for what makes no sense.

Samples: docs.kraken.com, "Get open orders", "Get closed orders", "Query trades info", "Get tradable asset pairs";
ccxt 4.5.90, ``kraken.py``: ``parse_order``, ``parse_trade``. Fees are in quote, because orders say so (oflags fciq).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from services.order_executor.adapters.values import NO_LIMIT, Body, amount, field, step, step_of_scale
from shared.core.market import Instrument
from shared.core.money import ZERO
from shared.core.orders import VenueReport
from shared.venues.port import VenueBalances, VenueDeposit, VenueOrder, VenueTrade

_OPEN, _ENDED = frozenset({"pending", "open"}), frozenset({"closed", "canceled", "expired"})
_COMMON_NAMES = {"XBT": "BTC", "XDG": "DOGE"}
_OLD_NAMES = 4
_PERCENT = Decimal(100)


def result_of(body: object) -> Any:
    """The envelope's content: {"error": [], "result": ...}; warnings (W...) are not errors."""
    if not isinstance(body, dict):
        raise ValueError("not an answer")  # noqa: TRY004 - a wrong reply, not a wrong call
    return field(body, "result")


def asset_of(name: str) -> str:
    """The common name: XXBT and XBT are BTC, ZUSD is USD; what follows a point (staked, held elsewhere) stays."""
    plain, point, kind = name.partition(".")
    if len(plain) == _OLD_NAMES and plain[0] in "XZ":
        plain = plain[1:]
    return _COMMON_NAMES.get(plain, plain) + point + kind


def moment_of_seconds(value: object) -> datetime:
    """UTC from seconds with fractions."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"not a time in seconds: {value!r}")  # noqa: TRY004 - a wrong reply, not a wrong call
    return datetime.fromtimestamp(float(value), UTC)


def order_of(order_id: str, body: Body) -> VenueOrder:
    """{"status": "closed", "cl_ord_id": "6d1b345e-2821-40e2-ad83-4ecb18a06876", "opentm": 1688583840.8648, "descr":
    {"pair": "XBTUSDT", "type": "buy"}, "vol": "0.50000000", "vol_exec": "0.50000000", "cost": "14750.00000", "trades":
    ["TCCCTY-WJ6EO-4FP4VZ"]} under its id
    """
    status, executed = field(body, "status"), amount(field(body, "vol_exec"))
    if status not in _OPEN and status not in _ENDED:
        raise ValueError(f"unknown order status {status!r}")
    if executed > amount(field(body, "vol")):
        raise ValueError("more executed than ordered")
    symbol = str(field(field(body, "descr"), "pair"))
    return VenueOrder(str(body.get("cl_ord_id") or ""), order_id, symbol, VenueReport(status in _OPEN, executed))


def trade_of(trade_id: str, body: Body, pairs: Mapping[str, tuple[str, str]]) -> VenueTrade:
    """{"ordertxid": "O26VBY-ISGAE-JP5TLU", "pair": "XXBTZUSD", "time": 1688585840.8921, "type": "buy", "price":
    "29500.50", "cost": "14750.25", "fee": "23.60", "vol": "0.50000000"} under its id; ``pairs`` by every name a pair
    has: the name that orders use, and the quote currency
    """
    symbol, quote = pairs[str(field(body, "pair"))]
    return VenueTrade(
        trade_id=f"{symbol}:{trade_id}",
        venue_order_id=str(field(body, "ordertxid")),
        symbol=symbol,
        quantity=amount(field(body, "vol")),
        price=amount(field(body, "price")),
        quote_quantity=amount(field(body, "cost")),
        fee=amount(field(body, "fee")),
        fee_asset=quote,
        at=moment_of_seconds(field(body, "time")),
    )


def balances_of(body: Body, at: datetime) -> VenueBalances:
    """{"ZUSD": "200000.00", "XXBT": "0.5"}: what is held by open orders is contained."""
    total: dict[str, Decimal] = {}
    for name, held in body.items():
        total[asset_of(name)] = total.get(asset_of(name), ZERO) + amount(held)
    return VenueBalances({asset: held for asset, held in total.items() if held}, at)


def deposits_of(rows: list[Body]) -> list[VenueDeposit]:
    """[{"refid": "FTQcuak-V6Za8qrWnhzTx67yYHz8Tg", "asset": "XXBT", "amount": "0.78125000", "fee": "0.0000000", "time":
    1688992722, "status": "Success"}]
    """
    return [
        VenueDeposit(
            str(row["refid"]),
            asset_of(str(row["asset"])),
            amount(row["amount"]) - amount(row.get("fee") or "0"),
            moment_of_seconds(row["time"]),
        )
        for row in rows
        if row["status"] == "Success"
    ]


def pairs_of(body: Body) -> dict[str, tuple[str, str]]:
    """{"XXBTZUSD": {"altname": "XBTUSD", "wsname": "XBT/USD", "quote": "ZUSD"}}: by each of its names."""
    found: dict[str, tuple[str, str]] = {}
    for key, row in body.items():
        meant = str(field(row, "altname")), asset_of(str(field(row, "quote")))
        found |= {str(key): meant, meant[0]: meant, str(row.get("wsname") or key): meant}
    return found


def instrument_of(venue: str, body: Body) -> Instrument:
    """{"altname": "XBTUSDT", "base": "XXBT", "quote": "USDT", "pair_decimals": 1, "lot_decimals": 8, "ordermin":
    "0.0001", "costmin": "5", "tick_size": "0.1", "status": "online", "fees": [[0, 0.4], [10000, 0.35]]}; fees are in
    percent by volume: the first is the highest
    """
    lot_step = step_of_scale(field(body, "lot_decimals"))
    tick = step(body["tick_size"]) if body.get("tick_size") else step_of_scale(field(body, "pair_decimals"))
    return Instrument(
        venue=venue,
        symbol=str(field(body, "altname")),
        base=asset_of(str(field(body, "base"))),
        quote=asset_of(str(field(body, "quote"))),
        lot_step=lot_step,
        min_quantity=max(lot_step, amount(field(body, "ordermin")).normalize()),
        max_quantity=NO_LIMIT,
        tick_size=tick,
        min_notional=amount(body.get("costmin") or "0").normalize(),
        taker_fee=Decimal(str(field(body, "fees")[0][1])) / _PERCENT,
        tradable=field(body, "status") == "online",
        buy_fee_in_quote=True,
    )
