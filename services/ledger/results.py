"""What a strategy has earned, as a fold over its own entries of the journal. Pure and exact.

Facts are applied in the order of `facts.in_order`; ``placed`` tells what has arrived out of it: then all of them are
applied again. The figures are defined in `services/ledger/README.md`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from services.ledger.basket import Basket
from services.ledger.facts import QUOTE_UNLESS_TOLD, Fact, Place, TradeMade, Transferred
from shared.core.double_entry import EXACT_SUMS
from shared.core.lots import LotBook, Method, Piece, share_of
from shared.core.money import HUNDRED, ONE, ZERO, exact
from shared.core.returns import Growth


class ClosingKind(StrEnum):
    """Why a lot was closed."""

    SALE = "sale"
    FEE = "fee"
    PAYOUT = "payout"


@dataclass(frozen=True, slots=True)
class Closing:
    """A piece that a fact has closed under one method."""

    method: Method
    sequence: int
    asset: str
    number: int
    kind: ClosingKind
    piece: Piece
    closed_at: datetime
    closed_by: str


@dataclass(frozen=True, slots=True)
class FlowMade:
    """A flow with its worth (out: below zero), and what everything was worth just before it."""

    sequence: int
    at: datetime
    amount: Decimal
    value_before: Decimal


@dataclass(frozen=True, slots=True)
class Valuation:
    """Everything a strategy holds, at one moment. ``weights`` in percent; ``at_cost``: assets without a price."""

    value: Decimal
    weights: Mapping[str, Decimal]
    at_cost: tuple[str, ...]
    basket: Decimal
    growth: Decimal


@dataclass(slots=True)
class StrategyResults:
    """The running state of one strategy; ``closings`` and ``flows`` are new since they were last taken away."""

    strategy_id: str
    venue: str
    quote: str = QUOTE_UNLESS_TOLD
    holdings: dict[str, Decimal] = field(default_factory=dict)
    lots: dict[tuple[Method, str], LotBook] = field(default_factory=dict)
    realised: dict[tuple[Method, str], Decimal] = field(default_factory=dict)
    fees: dict[str, Decimal] = field(default_factory=dict)
    fees_worth: Decimal = ZERO
    put_in: Decimal = ZERO
    taken_out: Decimal = ZERO
    growth: Growth = field(default_factory=Growth)
    basket: Basket = field(default_factory=Basket)
    last_place: Place | None = None
    last_fill_known_at: datetime | None = None
    money_in_known_at: datetime | None = None
    closings: list[Closing] = field(default_factory=list)
    flows: list[FlowMade] = field(default_factory=list)

    def placed(self, fact: Fact) -> Fact | None:
        """The fact with its place after all that were applied; None when it belongs before one of them."""
        if self.last_place is None:
            return replace(fact, after_fill=0) if fact.is_money_in else fact
        if fact.is_money_in:
            if self.last_fill_known_at is not None and fact.known_at <= self.last_fill_known_at:
                return None
            fact = replace(fact, after_fill=self.last_place[0])
        since = self.money_in_known_at
        if isinstance(fact.what, TradeMade) and since is not None and fact.known_at < since:
            return None
        return fact if fact.place > self.last_place else None

    def apply(self, fact: Fact) -> None:
        """Take in the next fact, in its place."""
        is_first, self.last_place = self.last_place is None, fact.place
        match fact.what:
            case TradeMade() as trade:
                self.last_fill_known_at = max(fact.known_at, self.last_fill_known_at or fact.known_at)
                self._apply_trade(fact, trade)
            case Transferred() as transfer:
                if transfer.is_in and not is_first:
                    self.money_in_known_at = fact.known_at
                self._apply_transfer(fact, transfer)

    @exact
    def value_at(self, prices: Mapping[str, Decimal]) -> Valuation:
        """The valuation at these bids; what has no price counts at its average cost."""
        worths = {asset: amount * self._price(asset, prices) for asset, amount in sorted(self.holdings.items())}
        value = sum(worths.values(), ZERO)
        weights = {asset: share_of(HUNDRED, worth, value) if value else ZERO for asset, worth in worths.items()}
        counted = sorted({*self.holdings, *self.basket.units} - {self.quote})
        at_cost = tuple(asset for asset in counted if not prices.get(asset))
        basket = self.basket.value(self.holdings, lambda asset: self._price(asset, prices))
        return Valuation(value, weights, at_cost, basket, self.growth.rate(value))

    def _apply_trade(self, fact: Fact, trade: TradeMade) -> None:
        self.quote = trade.measure
        self.basket.trade(trade.plan_id, self.holdings, trade.fee_worth)
        if trade.fee > 0:
            self.fees[trade.fee_asset] = EXACT_SUMS.add(self.fees.get(trade.fee_asset, ZERO), trade.fee)
            self.fees_worth = EXACT_SUMS.add(self.fees_worth, trade.fee_worth)
        self._move(fact.changes)
        paid, bought = fact.changes.get(trade.quote, ZERO), fact.changes.get(trade.base, ZERO)
        if trade.quote != trade.measure:
            self._exchange(trade, paid, bought, fact)
        elif bought > 0:
            self._open(trade.base, bought, paid.copy_negate(), fact)
        else:
            self._close(trade.base, bought.copy_negate(), paid, ClosingKind.SALE, fact)
        for asset, change in fact.changes.items():
            if asset in {trade.base, trade.quote, trade.measure}:
                continue
            if change > 0:
                self._open(asset, change, ZERO, fact)
            else:
                self._close(asset, change.copy_negate(), ZERO, ClosingKind.FEE, fact)

    def _exchange(self, trade: TradeMade, quote_change: Decimal, base_change: Decimal, fact: Fact) -> None:
        """One asset for another: what is given is sold for the worth of what the pair's quote asset moved by, and what
        comes is bought for it; a fee in the strategy's own currency is part of that cost.
        """
        is_swap = (quote_change > 0) != (base_change > 0)
        worth = _worth(quote_change, trade.quote_price) if is_swap else ZERO
        cost = EXACT_SUMS.subtract(worth, fact.changes.get(trade.measure, ZERO))
        for asset, change in ((trade.base, base_change), (trade.quote, quote_change)):
            if change > 0:
                self._open(asset, change, cost, fact)
            else:
                self._close(asset, change.copy_negate(), worth, ClosingKind.SALE, fact)

    def _apply_transfer(self, fact: Fact, transfer: Transferred) -> None:
        known = {*self.holdings, *self.basket.units, *fact.changes}
        prices = {asset: self._price(asset, transfer.prices) for asset in known}
        before = self.value_at(transfer.prices).value
        worths = {asset: _worth(change, prices[asset]) for asset, change in fact.changes.items()}
        if transfer.worth is not None:
            worths = dict.fromkeys(fact.changes, transfer.worth)
        worth = _sum(worths.values())
        if transfer.is_in:
            self.basket.put_in(worth, self.holdings, self.quote, prices.__getitem__)
            self.put_in = EXACT_SUMS.add(self.put_in, worth)
        else:
            self.basket.take_out(worth, before, self.holdings, prices.__getitem__)
            self.taken_out = EXACT_SUMS.add(self.taken_out, worth)
        self._move(fact.changes)
        for asset, change in sorted(fact.changes.items()):
            if asset != self.quote and change > 0:
                self._open(asset, change, worths[asset], fact)
            elif asset != self.quote:
                self._close(asset, change.copy_negate(), worths[asset], ClosingKind.PAYOUT, fact)
        amount = worth if transfer.is_in else worth.copy_negate()
        self.growth.flow(before, amount)
        self.flows.append(FlowMade(fact.sequence, fact.at, amount, before))

    def _move(self, changes: Mapping[str, Decimal]) -> None:
        for asset, change in changes.items():
            amount = EXACT_SUMS.add(self.holdings.get(asset, ZERO), change)
            if amount:
                self.holdings[asset] = amount
            else:
                self.holdings.pop(asset, None)

    @exact
    def _price(self, asset: str, prices: Mapping[str, Decimal]) -> Decimal:
        if asset == self.quote:
            return ONE
        if price := prices.get(asset):
            return price
        book = self.lots.get((Method.AVERAGE, asset))
        return book.cost / book.quantity if book is not None and book.lots else ZERO

    def _open(self, asset: str, quantity: Decimal, cost: Decimal, fact: Fact) -> None:
        for method in Method:
            book = self.lots.setdefault((method, asset), LotBook(method))
            book.open(quantity, cost, fact.at, fact.transaction_id)

    def _close(self, asset: str, quantity: Decimal, proceeds: Decimal, kind: ClosingKind, fact: Fact) -> None:
        if not quantity and not proceeds:
            return
        for method in Method:
            book = self.lots.setdefault((method, asset), LotBook(method))
            for number, piece in enumerate(book.close(quantity, proceeds), start=1):
                sold = (fact.sequence, asset, number, kind, piece, fact.at, fact.transaction_id)
                self.closings.append(Closing(method, *sold))
                key = (method, asset)
                self.realised[key] = EXACT_SUMS.add(self.realised.get(key, ZERO), piece.gain)


def _worth(change: Decimal, price: Decimal) -> Decimal:
    """Of what moves, either way; rounded down to the 18 decimals that the books keep."""
    return share_of(change.copy_abs(), price, ONE)


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    total = ZERO
    for amount in amounts:
        total = EXACT_SUMS.add(total, amount)
    return total
