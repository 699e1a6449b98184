"""Rows of the schema ``ledger_results`` from and to the values of ``services.ledger.results``."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from services.ledger.adapters.postgres_rows import Row, amount_of
from services.ledger.basket import Basket
from services.ledger.facts import Place
from services.ledger.results import Closing, FlowMade, StrategyResults
from shared.core.lots import Lot, LotBook, Method
from shared.core.money import plain
from shared.core.returns import Growth

LOT_COLUMNS = (
    "strategy_id",
    "method",
    "asset",
    "number",
    "quantity",
    "cost",
    "opened_quantity",
    "opened_cost",
    "opened_at",
    "opened_by",
)
CLOSING_COLUMNS = (
    "strategy_id",
    "method",
    "sequence",
    "asset",
    "piece",
    "kind",
    "quantity",
    "cost",
    "proceeds",
    "opened_at",
    "opened_by",
    "closed_at",
    "closed_by",
)
FLOW_COLUMNS = ("strategy_id", "sequence", "at", "amount", "value_before")
SNAPSHOT_COLUMNS = (
    "strategy_id",
    "at",
    "mark_id",
    "value",
    "put_in",
    "taken_out",
    "basket",
    "growth",
    "weights",
)
BALANCE_COLUMNS = ("account", "asset", "at", "sequence", "amount")


def lot_row(strategy_id: str, asset: str, method: Method, lot: Lot) -> Row:
    """A row of ``lots``, in ``LOT_COLUMNS``."""
    figures = (lot.quantity, lot.cost, lot.opened_quantity, lot.opened_cost)
    return (strategy_id, str(method), asset, lot.number, *figures, lot.opened_at, lot.opened_by)


def lot_from(row: Mapping[str, Any]) -> Lot:
    """The lot in a row of ``lots``."""
    return Lot(
        number=row["number"],
        quantity=amount_of(row["quantity"]),
        cost=amount_of(row["cost"]),
        opened_quantity=amount_of(row["opened_quantity"]),
        opened_cost=amount_of(row["opened_cost"]),
        opened_at=row["opened_at"],
        opened_by=row["opened_by"],
    )


def closing_row(strategy_id: str, closing: Closing) -> Row:
    """A row of ``closings``, in ``CLOSING_COLUMNS``."""
    piece = closing.piece
    place = (strategy_id, str(closing.method), closing.sequence, closing.asset, closing.number, str(closing.kind))
    figures = (piece.quantity, piece.cost, piece.proceeds)
    return (*place, *figures, piece.opened_at, piece.opened_by, closing.closed_at, closing.closed_by)


def flow_row(strategy_id: str, flow: FlowMade) -> Row:
    """A row of ``flows``, in ``FLOW_COLUMNS``."""
    return (strategy_id, flow.sequence, flow.at, flow.amount, flow.value_before)


def snapshot_row(results: StrategyResults, at: datetime, mark_id: int, prices: Mapping[str, Decimal]) -> Row:
    """A row of ``snapshots``, in ``SNAPSHOT_COLUMNS``."""
    now = results.value_at(prices)
    basket = now.basket + results.basket.taken_out
    money = (now.value, results.put_in, results.taken_out, basket, now.growth)
    return (results.strategy_id, at, mark_id, *money, amounts_text(now.weights))


def amounts_text(amounts: Mapping[str, Decimal]) -> str:
    """Amounts by asset as JSON text, exact."""
    return json.dumps({asset: plain(amount) for asset, amount in sorted(amounts.items())})


def amounts_from(text: str) -> dict[str, Decimal]:
    """What ``amounts_text`` has written."""
    return {asset: Decimal(amount) for asset, amount in json.loads(text).items()}


def state_text(results: StrategyResults) -> str:
    """Everything of a strategy's results but its lots, closings and flows, as JSON text."""
    place, basket = results.last_place, results.basket
    state = {
        "quote": results.quote,
        "holdings": _texts(results.holdings),
        "lots_opened": {asset: book.last_number for (method, asset), book in results.lots.items() if method == "fifo"},
        "realised": [[str(method), asset, plain(gain)] for (method, asset), gain in sorted(results.realised.items())],
        "fees": _texts(results.fees),
        "fees_worth": plain(results.fees_worth),
        "put_in": plain(results.put_in),
        "taken_out": plain(results.taken_out),
        "growth": [plain(results.growth.factor), plain(results.growth.since_value)],
        "basket": {
            "units": _texts(basket.units),
            "first_plan": basket.first_plan,
            "is_built": basket.is_built,
            "costs": plain(basket.costs),
            "taken_out": plain(basket.taken_out),
        },
        "last_place": None if place is None else [place[0], place[1], place[2].isoformat(), place[3]],
        "last_fill_known_at": _time_text(results.last_fill_known_at),
        "money_in_known_at": _time_text(results.money_in_known_at),
    }
    return json.dumps(state, sort_keys=True)


def results_from(
    row: Mapping[str, Any], lots: Iterable[Mapping[str, Any]], methods: Iterable[Method] = Method
) -> StrategyResults:
    """The results in a row of ``strategies`` and the rows of its lots, in the order of their numbers."""
    state = json.loads(row["state"])
    basket = state["basket"]
    results = StrategyResults(
        strategy_id=row["strategy_id"],
        venue=row["venue"],
        quote=state["quote"],
        holdings=_amounts(state["holdings"]),
        realised={(Method(method), asset): Decimal(gain) for method, asset, gain in state["realised"]},
        fees=_amounts(state["fees"]),
        fees_worth=Decimal(state["fees_worth"]),
        put_in=Decimal(state["put_in"]),
        taken_out=Decimal(state["taken_out"]),
        growth=Growth(*map(Decimal, state["growth"])),
        basket=Basket(
            units=_amounts(basket["units"]),
            first_plan=basket["first_plan"],
            is_built=basket["is_built"],
            costs=Decimal(basket["costs"]),
            taken_out=Decimal(basket["taken_out"]),
        ),
        last_place=_place(state["last_place"]),
        last_fill_known_at=_time(state["last_fill_known_at"]),
        money_in_known_at=_time(state["money_in_known_at"]),
    )
    opened: dict[tuple[Method, str], list[Lot]] = {}
    for lot in lots:
        opened.setdefault((Method(lot["method"]), lot["asset"]), []).append(lot_from(lot))
    for asset, number in state["lots_opened"].items():
        for method in methods:
            last = 0 if method is Method.AVERAGE else number
            results.lots[method, asset] = LotBook(method, opened.get((method, asset), ()), last_number=last)
    return results


def _texts(amounts: Mapping[str, Decimal]) -> dict[str, str]:
    return {asset: plain(amount) for asset, amount in amounts.items()}


def _amounts(texts: Mapping[str, str]) -> dict[str, Decimal]:
    return {asset: Decimal(text) for asset, text in texts.items()}


def _place(stored: list[Any] | None) -> Place | None:
    return None if stored is None else (stored[0], stored[1], datetime.fromisoformat(stored[2]), stored[3])


def _time_text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
