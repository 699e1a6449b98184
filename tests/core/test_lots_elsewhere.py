"""Lots against others on generated histories: beancount's own booking, and a pool kept beside the average."""

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import pytest
from beancount import loader
from beancount.core import realization
from beancount.core.data import Transaction

from shared.core.lots import LotBook, Method

START = datetime(2020, 1, 1, tzinfo=UTC)
HISTORIES = 12
STEPS = 40
NEARLY = Decimal("1e-12")  # beancount divides a lot's cost by its quantity, to 28 digits


class Step(NamedTuple):
    """A purchase, or a sale of what is there; ``money``: cost or proceeds."""

    is_purchase: bool
    quantity: Decimal
    money: Decimal


def history(seed: int) -> Iterator[Step]:
    """Purchases and covered sales, some of them of all that is there."""
    dice, held = random.Random(seed), Decimal(0)
    for _ in range(STEPS):
        is_purchase = not held or dice.random() < 0.55
        quantity = Decimal(dice.randint(1, 10**6)) / 10**4
        if not is_purchase:
            quantity = held if dice.random() < 0.05 else min(quantity, held)
        held += quantity if is_purchase else -quantity
        yield Step(is_purchase, quantity, Decimal(dice.randint(1, 10**7)) / 100)


def booked(seed: int, method: Method) -> tuple[list[Decimal], LotBook]:
    """The gain of each sale, and what is left, by ours."""
    book, gains = LotBook(method), []
    for day, step in enumerate(history(seed)):
        if step.is_purchase:
            book.open(step.quantity, step.money, START + timedelta(days=day), str(day))
        else:
            gains.append(sum((piece.gain for piece in book.close(step.quantity, step.money)), Decimal(0)))
    return gains, book


def ledger_of(seed: int, method: Method) -> str:
    """The same history in Beancount's language, a day per step; what it books the gain to is left open."""
    lines = [f'2019-01-01 open Assets:Coins COIN "{method.upper()}"']
    lines += ["2019-01-01 open Assets:Money", "2019-01-01 open Income:Gains"]
    for day, step in enumerate(history(seed)):
        lines.append(f'{date(2020, 1, 1) + timedelta(days=day)} * "{day}"')
        if step.is_purchase:
            lines += [
                f"  Assets:Coins  {step.quantity} COIN {{{{{step.money:.2f} USD}}}}",
                f"  Assets:Money  -{step.money:.2f} USD",
            ]
        else:
            lines += [f"  Assets:Coins  -{step.quantity} COIN {{}}", f"  Assets:Money  {step.money:.2f} USD"]
            lines.append("  Income:Gains")
    return "\n".join(lines)


def is_sale(entry: Transaction) -> bool:
    return any(posting.account == "Income:Gains" for posting in entry.postings)


def gain_of(sale: Transaction) -> Decimal:
    """Proceeds less the cost of the lots that beancount has chosen; its own sum is rounded to cents."""
    weights = [(posting.units.number, posting.cost) for posting in sale.postings if posting.account != "Income:Gains"]
    return sum((number if cost is None else number * cost.number for number, cost in weights), Decimal(0))


@pytest.mark.parametrize("method", [Method.FIFO, Method.LIFO, Method.HIFO])
def test_lots_when_beancount_books_the_same_history_are_the_same(method: Method) -> None:
    for seed in range(HISTORIES):
        entries, errors, _ = loader.load_string(ledger_of(seed, method))
        assert errors == []
        told = [gain_of(entry) for entry in entries if isinstance(entry, Transaction) and is_sale(entry)]
        gains, book = booked(seed, method)
        assert len(told) == len(gains)
        assert all(abs(one - other) < NEARLY for one, other in zip(told, gains, strict=True)), f"seed {seed}"
        left = realization.get(realization.realize(entries), "Assets:Coins").balance
        theirs = sorted((one.cost.date, one.units.number) for one in left)
        assert theirs == sorted((lot.opened_at.date(), lot.quantity) for lot in book.lots.values()), f"seed {seed}"


def test_average_when_a_pool_of_exact_fractions_is_kept_beside_it_is_the_same() -> None:
    for seed in range(HISTORIES):
        quantity, cost, told = Fraction(0), Fraction(0), []
        for step in history(seed):
            if step.is_purchase:
                quantity, cost = quantity + Fraction(step.quantity), cost + Fraction(step.money)
            else:
                unit = cost / quantity
                told.append(Fraction(step.money) - unit * Fraction(step.quantity))
                quantity -= Fraction(step.quantity)
                cost = unit * quantity
        gains, book = booked(seed, Method.AVERAGE)
        assert len(told) == len(gains)
        assert all(abs(one - Fraction(other)) < NEARLY for one, other in zip(told, gains, strict=True)), f"seed {seed}"
        assert Fraction(book.quantity) == quantity
        assert abs(Fraction(book.cost) - cost) < NEARLY
