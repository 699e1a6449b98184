"""The venue's own list of trades, against which the journal's fills are compared.

One JSON object a line, as ccxt's ``fetch_my_trades`` returns them: ``id``, ``symbol`` ("BTC/USDT"), ``side``,
``amount`` (base), ``cost`` (quote), ``fee`` with ``cost`` and ``currency``; numbers or decimal text. Or CSV with the
columns ``id,symbol,side,amount,cost,fee_cost,fee_currency``.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from deploy.audit.books import Fill, text_of, units_of

_Trade = tuple[str, int, int, int, str]


CSV_COLUMNS = ("id", "symbol", "side", "amount", "cost", "fee_cost", "fee_currency")


def lines_of_csv(rows: Iterable[str]) -> Iterator[str]:
    """A table of trades as JSON Lines. Raises ValueError when a column is missing or a row has another length."""
    table = csv.DictReader(rows)
    absent = [name for name in CSV_COLUMNS if name not in (table.fieldnames or ())]
    if absent:
        raise ValueError(f"the trades have no column {', '.join(absent)}")
    for number, row in enumerate(table, start=1):
        if None in row or None in row.values():
            raise ValueError(f"row {number} of the trades is not as long as the first line")
        fee = {"cost": row["fee_cost"] or "0", "currency": row["fee_currency"]}
        yield json.dumps({name: row[name] for name in CSV_COLUMNS[:5]} | {"fee": fee})


class VenueTrades:
    """Trades of one venue that the journal must have, each exactly once. Raises ValueError for an unreadable line."""

    def __init__(self, venue: str, lines: Iterable[str]) -> None:
        self._venue = venue
        self._trades: dict[tuple[str, str], _Trade] = {}
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    self._add(json.loads(line, parse_float=Decimal, parse_int=Decimal))
                except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
                    raise ValueError(f"line {number} of the trades is no trade: {error!r}") from error

    def _add(self, trade: dict[str, Any]) -> None:
        fee = trade["fee"] or {"cost": 0, "currency": ""}
        amounts = (_units(trade["amount"]), _units(trade["cost"]), _units(fee["cost"] or 0))
        key = (trade["symbol"], str(trade["id"]))
        self._trades[key] = (trade["side"].lower(), *amounts, fee["currency"] or "")

    def compare(self, fill: Fill) -> None:
        """Tick a fill off. Raises ValueError when the venue has no such trade, or another one."""
        if fill.venue != self._venue:
            return
        key = (f"{fill.base}/{fill.quote}", fill.trade_id.rpartition(":")[2])
        trade = self._trades.pop(key, None)
        if trade is None:
            raise ValueError(f"{self._venue} has no trade {fill.trade_id}")
        booked = (fill.side, fill.quantity, fill.quote_quantity, fill.fee, fill.fee_asset)
        if booked[:4] != trade[:4] or (fill.fee and fill.fee_asset != trade[4]):
            told = ", ".join(text_of(units) for units in trade[1:4])
            raise ValueError(f"{self._venue} has trade {fill.trade_id} as {trade[0]} of {told} {trade[4]}")

    def missing(self) -> Iterator[str]:
        """Trades of the venue that no entry has booked."""
        for symbol, trade_id in sorted(self._trades):
            yield f"trade {trade_id} of {symbol} is in no entry"


def _units(value: Decimal | int | str) -> int:
    return units_of(format(Decimal(value), "f"))
