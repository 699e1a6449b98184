"""Histories of orders: intents, fills and ends of two strategies, and withdrawals between them."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from services.ledger.bookkeeping import Bookkeeper, NotCovered
from services.ledger.pages import Pages, TransferRecord
from services.ledger.requests import Body, Request
from services.ledger.reservations import Key, Movement, Phase
from tests.services.ledger.messages import RECEIVED, Scene, request_of

D, ZERO = Decimal, Decimal(0)
SCENE = Scene()
STRATEGIES = ("s1", "s2")


@dataclass
class _Numbers:
    """What was given to a strategy's orders and fills so far."""

    fills: int = 0
    orders: int = 0
    sellable: Decimal = ZERO


def history(dice: random.Random, *, all_end: bool) -> list[list[Body]]:
    """Phases: what is of one phase may be on its way at once, for nobody trades while any money is taken out."""
    funds = [SCENE.fund(900 + index, "100000", name) for index, name in enumerate(STRATEGIES)]
    phases: list[list[Body]] = [[SCENE.deposit(1, "1000000")], [*funds]]
    numbers = {name: _Numbers() for name in STRATEGIES}
    for turn in range(3):
        phase: list[Body] = []
        for index, name in enumerate(STRATEGIES):
            left_open = turn == 2 and not all_end
            phase += _orders(dice, name, index, numbers[name], left_open=left_open)
            if not left_open:
                amount = f"{dice.randint(1, 50)}"
                phase.append(SCENE.withdraw(numbers[name].fills, 10 * turn + index, name, "USDT", amount))
        phases.append(phase)
    return phases


def _orders(dice: random.Random, name: str, index: int, count: _Numbers, *, left_open: bool) -> Iterable[Body]:
    was_sellable = count.sellable
    for _ in range(dice.randint(1, 3)):
        count.orders += 1
        number = 1000 * index + count.orders
        is_sale = was_sellable > 0 and dice.random() < 0.5
        side, parts = "SELL" if is_sale else "BUY", dice.randint(0, 3)
        quantity = (was_sellable / 16).quantize(D("1e-8")) if is_sale else D("0.01")
        most = (("BTC", f"{quantity * 3}"),) if is_sale else (("USDT", f"{dice.choice((300, 1200, 1300))}"),)
        yield SCENE.word(number, "intended", 1, side, most, name)
        for _part in range(parts):
            count.fills += 1
            fill = SCENE.fill(1000 * index + count.fills, side, f"{quantity}", "400", "0.0001", name)
            yield fill.model_copy(update={"client_order_id": f"o{number}", "fill_number": count.fills})
            count.sellable += -quantity if is_sale else quantity - D("0.0001")
        words = dice.choice((["open"], ["unknown", "absent", "open"], ["rejected", "open"], []))
        end = (
            ("open" if dice.random() < 0.5 else "unknown") if left_open else "partially_filled" if parts else "unfilled"
        )
        for version, state in enumerate([*words, end], start=2):
            yield SCENE.word(number, state, version, side, (), name)


@dataclass
class Delivery:
    """Books in memory, and what came of every transfer."""

    pages: Pages = field(default_factory=lambda: Pages(sequence=0, posted_at=RECEIVED))
    transfers: dict[str, TransferRecord] = field(default_factory=dict)

    def deliver(self, phase: Sequence[Body], dice: random.Random) -> None:
        """Post in groups of any size; what is not covered yet comes again."""
        waiting: list[Request] = [request_of(body) for body in phase]
        while waiting:
            some, waiting = waiting[: (size := dice.randint(1, 12))], waiting[size:]
            keeper = Bookkeeper(self.pages, RECEIVED)
            outcomes = keeper.settle_all(some)
            self.transfers |= keeper.changes.transfers
            for request, outcome in zip(some, outcomes, strict=True):
                assert outcome is None or isinstance(outcome, NotCovered), outcome
                if outcome is not None:
                    waiting.append(request)

    def figures(self) -> object:
        """Everything that must not depend on the order of arrival."""
        orders = self.pages.reservations.orders
        return (
            {account: self.pages.holdings(account) for account in sorted(self.pages.balances)},
            sorted((name, str(record)) for name, record in self.pages.strategies.items()),
            {
                key: (one.version, one.is_open, one.may_take, sorted(one.taken.items()), one.held)
                for key, one in sorted(orders.items())
            },
            {name: (one.state, one.reason, one.amounts, one.worth) for name, one in sorted(self.transfers.items())},
        )


def held_by_movements(movements: Iterable[Movement]) -> dict[Key, dict[str, Decimal]]:
    """What is held by the sum of all movements, without zeros."""
    held: dict[Key, dict[str, Decimal]] = {}
    for made in movements:
        own = held.setdefault(made.key, {})
        own[made.asset] = own.get(made.asset, D(0)) + (made.amount if made.phase is Phase.PENDING else -made.amount)
        assert own[made.asset] >= 0
    left = {key: {asset: amount for asset, amount in own.items() if amount} for key, own in held.items()}
    return {key: own for key, own in left.items() if own}
