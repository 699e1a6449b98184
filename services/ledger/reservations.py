"""What open orders hold of their strategies' money: pending, then posted by fills or voided by the order's end. Pure.

In the manner of TigerBeetle's two-phase transfers. An order's hold is a function of three facts, and of no order in
which they arrive:

    held(asset) = max(0, may_take - taken) while the newest word on the order says that it may still trade, else 0

``may_take`` is what its intent said, ``taken`` what its posted fills gave away, the newest word the one with the
highest version. Whatever changes a hold is a movement: ``pending`` adds to it (the intent; an end that turns out to be
none), ``posted`` is what a fill took of it, ``voided`` what the order's end set free. So, per order and asset, held =
pending - posted - voided at any time.

A hold promises no money. A fill is booked whatever is held; what an order may take can be more than there is (it waits
for a fill that is on its way), so what is reserved of a balance is never more than the balance.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from shared.contracts.orders import OrderChanged, OrderFilled
from shared.core.double_entry import EXACT_SUMS
from shared.core.errors import Refused
from shared.core.money import ZERO, plain
from shared.core.orders import UNSETTLED, OrderState

Key = tuple[str, str]
"""Strategy and client order id."""

Amounts = dict[str, Decimal]
"""By asset, without zeros."""


class Phase(StrEnum):
    """What a movement does to a hold."""

    PENDING = "pending"
    POSTED = "posted"
    VOIDED = "voided"


@dataclass(slots=True)
class OrderHold:
    """An order as the ledger knows it. ``version``: of the newest word (0: none yet); ``step``: its newest movement."""

    venue: str
    version: int = 0
    is_open: bool = False
    may_take: Amounts = field(default_factory=dict)
    taken: Amounts = field(default_factory=dict)
    held: Amounts = field(default_factory=dict)
    step: int = 0


@dataclass(frozen=True, slots=True)
class Movement:
    """One change of a hold, ``amount`` > 0. ``sequence``: the journal entry of the fill that took it, else None."""

    key: Key
    step: int
    phase: Phase
    asset: str
    amount: Decimal
    version: int
    sequence: int | None


class Reservations:
    """The holds a group of requests touches. ``orders``: those of its messages; ``open_orders``: all open ones of the
    strategies that are asked about. ``changed`` and ``movements`` are what must be written back.
    """

    def __init__(self, orders: Mapping[Key, OrderHold], open_orders: Iterable[Key]) -> None:
        self.orders = dict(orders)
        self.changed: set[Key] = set()
        self.movements: list[Movement] = []
        self._open: dict[str, set[str]] = {}
        for key in open_orders:
            self._open.setdefault(key[0], set()).add(key[1])

    def has_open(self, strategy_id: str) -> bool:
        """Whether an order of the strategy may still take or bring something."""
        return bool(self._open.get(strategy_id))

    def learn(self, word: OrderChanged) -> None:
        """Take in a word on an order. Raises Refused, having changed nothing, when it contradicts an earlier one.

        An older word than the newest says nothing, unless it is the intent.
        """
        if not word.version:
            return
        key = (word.strategy_id, word.client_order_id)
        order = self.orders.get(key) or OrderHold(word.venue)
        is_open = _state_of(word) in UNSETTLED
        may_take = {asset: amount for asset, amount in sorted(word.may_take.items()) if amount}
        _require_sense(order, word, is_open=is_open, may_take=may_take)
        is_newer, is_intent = word.version > order.version, bool(may_take) and not order.may_take
        if not is_newer and not is_intent:
            return
        if is_newer:
            order.version, order.is_open = word.version, is_open
            names = self._open.setdefault(word.strategy_id, set())
            (names.add if is_open else names.discard)(word.client_order_id)
        if is_intent:
            order.may_take = may_take
        self.orders[key] = order
        self._move(key, order, Phase.VOIDED, None)

    def fill(self, fill: OrderFilled, sequence: int) -> None:
        """Take in a fill that was posted as entry ``sequence``: once for each."""
        key = (fill.strategy_id, fill.client_order_id)
        order = self.orders.setdefault(key, OrderHold(fill.venue))
        for asset, amount in taken_by(fill):
            order.taken[asset] = EXACT_SUMS.add(order.taken.get(asset, ZERO), amount)
        self._move(key, order, Phase.POSTED, sequence)

    def _move(self, key: Key, order: OrderHold, less: Phase, sequence: int | None) -> None:
        """Make the hold what it must be, with a movement for each asset in which it changes."""
        self.changed.add(key)
        must = held_by(order)
        for asset in sorted({*order.held, *must}):
            change = EXACT_SUMS.subtract(must.get(asset, ZERO), order.held.get(asset, ZERO))
            if change:
                order.step += 1
                phase = Phase.PENDING if change > 0 else less
                self.movements.append(Movement(key, order.step, phase, asset, abs(change), order.version, sequence))
        order.held = must


def taken_by(fill: OrderFilled) -> Iterable[tuple[str, Decimal]]:
    """What a fill takes of a strategy: what is given to the venue, and the fee (a rebate takes nothing)."""
    given = (fill.quote, fill.quote_quantity) if fill.side.lower() == "buy" else (fill.base, fill.quantity)
    return [(asset, amount) for asset, amount in (given, (fill.fee_asset, fill.fee)) if amount > 0]


def held_by(order: OrderHold) -> Amounts:
    """What an order must hold, by the formula above."""
    if not order.is_open:
        return {}
    left = {asset: EXACT_SUMS.subtract(most, order.taken.get(asset, ZERO)) for asset, most in order.may_take.items()}
    return {asset: amount for asset, amount in left.items() if amount > 0}


def reserved_of(balances: Mapping[str, Decimal], holds: Iterable[Mapping[str, Decimal]]) -> Amounts:
    """What is reserved of each balance: all that is held of it, at most what is there."""
    sums: Amounts = {}
    for held in holds:
        for asset, amount in held.items():
            sums[asset] = EXACT_SUMS.add(sums.get(asset, ZERO), amount)
    return {asset: min(balance, sums.get(asset, ZERO)) for asset, balance in balances.items()}


def _state_of(word: OrderChanged) -> OrderState:
    try:
        return OrderState(word.state)
    except ValueError:
        raise Refused.one("state", word.state, ", ".join(OrderState), "is not a state of an order") from None


def _require_sense(order: OrderHold, word: OrderChanged, *, is_open: bool, may_take: Amounts) -> None:
    name = word.client_order_id
    if order.venue != word.venue:
        raise Refused.one("venue", word.venue, order.venue, f"order {name} is at another venue")
    if word.version < 0:
        raise Refused.one("version", str(word.version), "1 or more", f"order {name} has no such version")
    if any(amount < 0 for amount in may_take.values()):
        raise Refused.one("may_take", _told(may_take), "amounts above 0", f"order {name} cannot take that")
    if may_take and order.may_take and may_take != order.may_take:
        raise Refused.one("may_take", _told(may_take), _told(order.may_take), f"order {name} was intended otherwise")
    if word.version == order.version and is_open != order.is_open:
        allowed = "open" if order.is_open else "ended"
        raise Refused.one("state", word.state, allowed, f"version {word.version} of order {name} said otherwise")


def _told(amounts: Mapping[str, Decimal]) -> str:
    return ", ".join(f"{plain(amount)} {asset}" for asset, amount in sorted(amounts.items()))
