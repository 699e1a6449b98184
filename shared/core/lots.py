"""Lots: what was bought when and for how much, and which of it a sale closes. Exact.

A lot is a quantity of one asset with its cost in the quote currency. A closing takes a quantity q out of the open lots
in the order of the method, and each piece of it realises

    gain = proceeds x (piece / q) - cost x (piece / quantity of the lot)

* FIFO closes the oldest lot first, LIFO the newest, HIFO the one with the highest cost per unit (of equals the oldest).
* AVERAGE keeps one lot: purchases add quantity and cost, sales take cost in proportion.

Shares are rounded down to 18 decimals; what is left by rounding stays in the lot (of proceeds: goes to the last piece),
so that costs and proceeds are neither made nor lost: sum of costs closed + sum of costs open = sum of costs opened.

Sources: IRS Publication 550, "Cost basis" (FIFO, specific identification, average); Beancount, "How inventories work"
(booking methods FIFO, LIFO, HIFO).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from heapq import heapify, heappop, heappush

from shared.core.double_entry import EXACT_SUMS
from shared.core.money import MAX_DECIMALS, ZERO

_UNITS = 10**MAX_DECIMALS


class Method(StrEnum):
    """Which lot a sale closes first."""

    FIFO = "fifo"
    LIFO = "lifo"
    HIFO = "hifo"
    AVERAGE = "average"


@dataclass(frozen=True, slots=True)
class Lot:
    """An open lot; ``number`` counts the lots of its book in the order of opening (of AVERAGE it is always 0).

    ``opened_quantity`` and ``opened_cost`` never change (of AVERAGE: what the average was made of since it was last
    empty); ``quantity`` and ``cost`` (quote currency) are what is still open. ``opened_by``: the transaction.
    """

    number: int
    quantity: Decimal
    cost: Decimal
    opened_quantity: Decimal
    opened_cost: Decimal
    opened_at: datetime
    opened_by: str


@dataclass(frozen=True, slots=True)
class Piece:
    """A quantity closed out of one lot, with its share of cost and proceeds in the quote currency.

    ``opened_at`` is None and the cost 0 where more was closed than was open.
    """

    quantity: Decimal
    cost: Decimal
    proceeds: Decimal
    opened_at: datetime | None
    opened_by: str

    @property
    def gain(self) -> Decimal:
        """Proceeds less cost."""
        return EXACT_SUMS.subtract(self.proceeds, self.cost)


class LotBook:
    """The open lots of one asset under one method; ``touched``: numbers changed since it was last cleared."""

    def __init__(self, method: Method, lots: Iterable[Lot] = (), *, last_number: int = 0) -> None:
        """``lots`` in the order of their numbers; ``last_number``: the highest that was ever used."""
        self.method = method
        self.lots = {lot.number: lot for lot in lots}
        self.last_number = max([last_number, *self.lots])
        self.touched: set[int] = set()
        self._dearest = [_cost_rank(lot) for lot in self.lots.values()] if method is Method.HIFO else []
        heapify(self._dearest)

    @property
    def quantity(self) -> Decimal:
        """All that is open."""
        return _sum(lot.quantity for lot in self.lots.values())

    @property
    def cost(self) -> Decimal:
        """What all that is open has cost."""
        return _sum(lot.cost for lot in self.lots.values())

    def open(self, quantity: Decimal, cost: Decimal, at: datetime, by: str) -> None:
        """Add a quantity (> 0) that cost ``cost``."""
        if self.method is Method.AVERAGE:
            self._average_in(quantity, cost, at, by)
            return
        self.last_number += 1
        lot = Lot(self.last_number, quantity, cost, quantity, cost, at, by)
        self._keep(lot)
        if self.method is Method.HIFO:
            heappush(self._dearest, _cost_rank(lot))

    def close(self, quantity: Decimal, proceeds: Decimal) -> list[Piece]:
        """Take a quantity (>= 0) out that brought ``proceeds``; the pieces in the order in which they were taken.

        A quantity of 0 gives one piece of nothing: proceeds without a sale.
        """
        rest, left, pieces = quantity, proceeds, []
        while rest > 0 and self.lots:
            lot = self.lots[self._next()]
            taken = min(rest, lot.quantity)
            rest = EXACT_SUMS.subtract(rest, taken)
            share = left if not rest else share_of(proceeds, taken, quantity)
            left = EXACT_SUMS.subtract(left, share)
            cost = lot.cost if taken == lot.quantity else share_of(lot.cost, taken, lot.quantity)
            pieces.append(Piece(taken, cost, share, lot.opened_at, lot.opened_by))
            self._reduce(lot, taken, cost)
        if rest > 0 or not pieces:
            pieces.append(Piece(rest, ZERO, left, None, ""))
        return pieces

    def _average_in(self, quantity: Decimal, cost: Decimal, at: datetime, by: str) -> None:
        lot = self.lots.get(0) or Lot(0, ZERO, ZERO, ZERO, ZERO, at, by)
        add = EXACT_SUMS.add
        self._keep(
            replace(
                lot,
                quantity=add(lot.quantity, quantity),
                cost=add(lot.cost, cost),
                opened_quantity=add(lot.opened_quantity, quantity),
                opened_cost=add(lot.opened_cost, cost),
            )
        )

    def _next(self) -> int:
        match self.method:
            case Method.LIFO:
                return next(reversed(self.lots))
            case Method.HIFO:
                while self._dearest[0][1] not in self.lots:
                    heappop(self._dearest)
                return self._dearest[0][1]
            case _:
                return next(iter(self.lots))

    def _reduce(self, lot: Lot, quantity: Decimal, cost: Decimal) -> None:
        if quantity == lot.quantity:
            del self.lots[lot.number]
            self.touched.add(lot.number)
            return
        left = EXACT_SUMS.subtract
        self._keep(replace(lot, quantity=left(lot.quantity, quantity), cost=left(lot.cost, cost)))

    def _keep(self, lot: Lot) -> None:
        self.lots[lot.number] = lot
        self.touched.add(lot.number)


def share_of(total: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """``total`` x ``part`` / ``whole``, rounded down (toward minus infinity) to 18 decimals; ``whole`` > 0."""
    exact = Fraction(total) * Fraction(part) / Fraction(whole)
    return Decimal(f"{exact.numerator * _UNITS // exact.denominator}E-{MAX_DECIMALS}")


def _cost_rank(lot: Lot) -> tuple[Fraction, int]:
    """Dearest per unit first, as it was opened: what rounding has left in a lot must not change its place."""
    return -Fraction(lot.opened_cost) / Fraction(lot.opened_quantity), lot.number


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    total = ZERO
    for amount in amounts:
        total = EXACT_SUMS.add(total, amount)
    return total
