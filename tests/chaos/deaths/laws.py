"""What holds of a plan's orders whenever a process dies, its prices standing still: computed from the orders, exactly.

A purchase keeps room for the price to move: its limit is above the ask by ``FIRST_BUY_ROOM_BPS``, doubled with each
cycle, up to the slippage bound; the orders of a phase take at their limits all the money that there is, but for what
quantities are rounded down by. Nothing else may be left over, and nothing else may make two end states differ.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.order_executor.settings import Settings
from services.order_executor.steps import FIRST_BUY_ROOM_BPS
from shared.core.money import ceil_to_step, floor_to_step

D = Decimal
MOST_ROOM_BPS = D(Settings.model_fields["slippage_bps"].default)


@dataclass(frozen=True, slots=True)
class Intent:
    """An order as the executor committed it; ``filled`` is what it traded at the venue. Amounts in base."""

    client_order_id: str
    round: int
    asset: str
    side: str
    quantity: Decimal
    limit: Decimal
    filled: Decimal

    @property
    def cycle(self) -> int:
        return self.round // 2


@dataclass(frozen=True, slots=True)
class Trade:
    """A trade as the venue tells it, against USDT."""

    trade_id: str
    client_order_id: str
    asset: str
    side: str
    quantity: Decimal
    money: Decimal
    fee: Decimal
    fee_asset: str

    def changes(self) -> dict[str, Decimal]:
        """What it does to a holding, by asset."""
        sign = 1 if self.side == "BUY" else -1
        found = {self.asset: sign * self.quantity, "USDT": -sign * self.money}
        found[self.fee_asset] = found.get(self.fee_asset, D(0)) - self.fee
        return found


@dataclass(frozen=True, slots=True)
class Terms:
    """Of an asset at the venue, standing still; ``fee`` is a fraction, taken from what is received."""

    bid: Decimal
    ask: Decimal
    lot: Decimal
    tick: Decimal
    fee: Decimal


Market = Mapping[str, Terms]


def room_of(cycle: int) -> Decimal:
    """The room of a purchase, as a fraction of the ask."""
    return min(MOST_ROOM_BPS, FIRST_BUY_ROOM_BPS * D(2) ** cycle) / 10_000


def position(funded: Mapping[str, Decimal], trades: Iterable[Trade]) -> dict[str, Decimal]:
    """What is held after these trades; no zeros."""
    held = dict(funded)
    for trade in trades:
        for asset, change in trade.changes().items():
            held[asset] = held.get(asset, D(0)) + change
    return {asset: amount for asset, amount in held.items() if amount}


def rounds_of(intents: Iterable[Intent]) -> tuple[tuple[int, str, bool], ...]:
    """The rounds of a plan: what was ordered in each of them, and whether it traded."""
    return tuple(sorted((one.round, one.asset, one.filled > 0) for one in intents))


def room_kept(intents: Iterable[Intent], market: Market) -> dict[str, Decimal]:
    """How much money each asset lacks at the end of a plan because of the room that its purchases kept.

    A phase that takes all the money at its limits keeps ``room`` of what it pays at the ask. By so much all assets
    together fall short then: those it does not buy by what they lacked before, those it buys share the rest.
    """
    lacking: dict[str, Decimal] = {}
    for number, orders in sorted(_purchases(intents).items()):
        paid = {one.asset: one.quantity * market[one.asset].ask for one in orders}
        total = sum(paid.values(), D(0))
        others = sum((money for asset, money in lacking.items() if asset not in paid), D(0))
        kept = total * room_of(number // 2) - others
        lacking |= {asset: kept * money / total for asset, money in paid.items()}
    return lacking


def without_room(held: Mapping[str, Decimal], intents: Iterable[Intent], market: Market) -> dict[str, Decimal]:
    """A holding at the end of a plan as it would be if the plan's purchases had kept no room."""
    lacking = room_kept(intents, market)
    found = dict(held)
    for asset, money in lacking.items():
        found[asset] = found.get(asset, D(0)) + money / market[asset].ask * (1 - market[asset].fee)
    return {**found, "USDT": found.get("USDT", D(0)) - sum(lacking.values(), D(0))}


def broken(intents: Sequence[Intent], trades: Sequence[Trade], funded: Mapping[str, Decimal], market: Market) -> str:
    """The first law that these orders and their trades break; "" when none."""
    laws = (
        _overspent(trades, funded),
        _more_than_ordered(intents, trades),
        _cycles_without_cause(intents),
        *(_limit_elsewhere(one, market[one.asset]) for one in intents),
        *(_unlike_money(number, intents, trades, funded["USDT"], market) for number in _purchases(intents)),
    )
    return next(filter(None, laws), "")


def _overspent(trades: Iterable[Trade], funded: Mapping[str, Decimal]) -> str:
    """Purchases with their fees take no more than sales bring and cash there was, nor sales more than was held."""
    short = {asset: amount for asset, amount in position(funded, trades).items() if amount < 0}
    return f"more was taken than there was: {short}" if short else ""


def _more_than_ordered(intents: Iterable[Intent], trades: Iterable[Trade]) -> str:
    """Each trade belongs to an intent, which it and its others have filled as far as the executor says, no further."""
    left = {one.client_order_id: one.filled for one in intents}
    for trade in trades:
        left[trade.client_order_id] = left.get(trade.client_order_id, D(0)) - trade.quantity
    wrong = {name: amount for name, amount in left.items() if amount}
    too_much = [one for one in intents if one.filled > one.quantity]
    return f"traded otherwise than booked: {wrong or too_much}" if wrong or too_much else ""


def _cycles_without_cause(intents: Sequence[Intent]) -> str:
    """Another cycle follows only where something of the one before did not trade; and none is left out."""
    cycles = sorted({one.cycle for one in intents})
    if cycles != list(range(len(cycles))):
        return f"the cycles are {cycles}"
    whole = [c for c in cycles[:-1] if all(one.filled == one.quantity for one in intents if one.cycle == c)]
    return f"cycle {whole[0]} has traded whole, and another one followed" if whole else ""


def _limit_elsewhere(one: Intent, terms: Terms) -> str:
    """A purchase's limit is where its cycle's room ends, a sale's at the slippage bound."""
    if one.side == "BUY":
        limit = max(floor_to_step(terms.ask * (1 + room_of(one.cycle)), terms.tick), terms.ask)
    else:
        limit = min(ceil_to_step(terms.bid * (1 - MOST_ROOM_BPS / 10_000), terms.tick), terms.bid)
    return f"the limit of {one} should be {limit}" if one.limit != limit else ""


def _unlike_money(
    number: int, intents: Sequence[Intent], trades: Iterable[Trade], cash: Decimal, market: Market
) -> str:
    """The purchases of a round take at their limits the money there was then, but for less than a lot each."""
    before = {one.client_order_id for one in intents if one.round < number}
    money = position({"USDT": cash}, (trade for trade in trades if trade.client_order_id in before)).get("USDT", D(0))
    orders = _purchases(intents)[number]
    left = money - sum(one.quantity * one.limit for one in orders)
    most = sum(market[one.asset].lot * one.limit for one in orders)
    if 0 <= left < most:
        return ""
    return f"of {money} the purchases of round {number} leave {left}, not less than {most}: {orders}"


def _purchases(intents: Iterable[Intent]) -> dict[int, list[Intent]]:
    """The purchases by round."""
    found: dict[int, list[Intent]] = {}
    for one in intents:
        if one.side == "BUY":
            found.setdefault(one.round, []).append(one)
    return found
