"""A market that jumps between one look and the next, and a plan worked off in it: in process, all from one seed.

What the executor does over sockets happens here in a loop: look, ``next_step``, the market moves on, orders arrive and
trade at once within their limits, wholly, partly or not at all.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from services.order_executor.records import FillRecord, OrderRecord, PlanRecord, holdings_of
from services.order_executor.steps import Close, Market, Send, Terms, next_step
from shared.contracts.plans import PlanLine, RebalancePlanned
from shared.core.market import Instrument, Quote
from shared.core.matching import OrderTerms, PriceBand, Side, crosses, filter_failures
from shared.core.money import ZERO, ceil_to_step, exact, floor_to_step
from shared.core.orders import OrderState

D = Decimal
AT = datetime(2026, 1, 1, tzinfo=UTC)
TERMS = Terms(D(50), 1, AT, timedelta(seconds=1))
BAND = PriceBand()
LONGEST_RUN = 200

Row = dict[str, Decimal]


@dataclass(frozen=True, slots=True)
class Venue:
    """Instruments by asset; half the spread; how often an order fills only in part; how far the book may be ahead."""

    instruments: dict[str, Instrument]
    half_spread_bps: Decimal
    partly: float
    rows_a_trip: float


@dataclass(slots=True)
class Run:
    """A plan on its way through the rows of a market, of which ``row`` is the newest."""

    record: PlanRecord
    row: Row
    rows: Iterator[Row]
    venue: Venue
    dice: random.Random
    refused: int = 0

    def quotes(self) -> dict[str, Quote]:
        """Bids and asks of the newest row."""
        return quotes_of(self.row, self.venue)

    def look(self) -> Market:
        """The market as the executor sees it."""
        return Market(self.quotes(), self.venue.instruments)

    def pass_time(self) -> None:
        """The market moves on by ``rows_a_trip`` rows on average."""
        rate = self.venue.rows_a_trip
        for _ in range(int(rate) + (self.dice.random() < rate % 1)):
            self.row = next(self.rows, self.row)

    def work(self) -> Close:
        """Until the plan closes."""
        for _ in range(LONGEST_RUN):
            step = next_step(self.record, self.look(), TERMS)
            if isinstance(step, Close):
                return step
            self.pass_time()
            self._trade(step)
            self.pass_time()
        raise AssertionError("the plan never closes")

    @exact
    def _trade(self, step: Send) -> None:
        spent = sum((one.quantity * one.limit_price for one in step.orders if one.side is Side.BUY), ZERO)
        held = holdings_of(self.record)
        assert spent <= held.get("USDT", ZERO), "never more than there is"
        orders, fills = [], []
        for order in step.orders:
            assert order.side is Side.BUY or order.quantity <= held.get(order.asset, ZERO)
            ended, fill = self._arrive(order)
            orders.append(ended)
            fills += [fill] if fill else []
        record = self.record
        self.record = replace(
            record, orders=(*record.orders, *orders), fills=(*record.fills, *fills), sizing=step.sizing
        )

    def _arrive(self, order: OrderRecord) -> tuple[OrderRecord, FillRecord | None]:
        instrument, quote = self.venue.instruments[order.asset], self.quotes()[order.asset]
        terms = OrderTerms(order.side, quantity=order.quantity, price=order.limit_price)
        failures = filter_failures(terms, instrument, BAND, quote.mid)
        assert all(one.filter == "PERCENT_PRICE_BY_SIDE" for one in failures), failures
        if failures:
            self.refused += 1
            return replace(order, state=OrderState.REJECTED), None
        price = quote.ask if order.side is Side.BUY else quote.bid
        share = D(self.dice.randint(0, 99)) / 100 if self.dice.random() < self.venue.partly else D(1)
        quantity = floor_to_step(order.quantity * share, instrument.lot_step)
        if not crosses(order.side, order.limit_price, price) or not quantity:
            return replace(order, state=OrderState.UNFILLED), None
        whole = quantity == order.quantity
        state = OrderState.FILLED if whole else OrderState.PARTIALLY_FILLED
        money = quantity * price
        received, fee_asset = (quantity, order.asset) if order.side is Side.BUY else (money, "USDT")
        fee = floor_to_step(received * instrument.taker_fee, D("1e-8"))
        name = order.client_order_id
        fill = FillRecord(name, name, order.asset, "USDT", order.side, quantity, money, fee, fee_asset, AT)
        return replace(order, state=state, filled_quantity=quantity), fill


@exact
def quotes_of(row: Row, venue: Venue) -> dict[str, Quote]:
    """Bid and ask around each price, on the tick."""
    quotes = {}
    for asset, price in row.items():
        tick = venue.instruments[asset].tick_size
        half = max(tick, ceil_to_step(price * venue.half_spread_bps / 10_000, tick))
        middle = max(2 * tick, floor_to_step(price, tick))
        quotes[asset] = Quote(middle - half, middle + half, AT)
    return quotes


def plan_of(targets: dict[str, Decimal], holdings: dict[str, Decimal], quotes: dict[str, Quote]) -> PlanRecord:
    """A plan made at these quotes."""
    one = Quote(D(1), D(1), AT)
    lines = tuple(
        PlanLine(
            asset=asset,
            quantity=holdings.get(asset, ZERO),
            bid=quotes.get(asset, one).bid,
            ask=quotes.get(asset, one).ask,
            value=ZERO,
            weight_pct=ZERO,
            target_weight_pct=targets.get(asset, ZERO),
        )
        for asset in sorted({*targets, *holdings, "USDT"})
    )
    plan = RebalancePlanned(
        plan_id="plan",
        strategy_id="s1",
        strategy_version=1,
        venue="paper",
        kind="rebalance",
        reason="threshold",
        inputs={},
        position_version=1,
        fills_seen=0,
        previous_plan_id="",
        funding_asset="USDT",
        quote="USDT",
        total_value=D(1000),
        lines=lines,
        market_time=AT,
        decided_at=AT,
        expires_at=AT + timedelta(seconds=30),
        tick_received_ns=1,
    )
    return PlanRecord(plan, is_open=True)


@exact
def synthetic_run(seed: int) -> Run:
    """A random portfolio of 2 to 10 assets in a market that moves by a few to 30 % from row to row."""
    dice = random.Random(seed)
    names = [f"C{number}" for number in range(dice.randint(2, 10))]
    prices = {name: D(dice.randint(1_000, 9_999)).scaleb(dice.randint(-7, 1)) for name in names}
    return _run(prices, _jumping(prices, dice.choice([0.002, 0.01, 0.03, 0.08]), dice), dice)


@exact
def replayed_run(seed: int, table: Sequence[Mapping[str, Decimal]]) -> Run:
    """A random portfolio in a market of real rows, from a random one of them on."""
    dice = random.Random(seed)
    start = dice.randrange(len(table) - 1)
    listed = sorted(table[start])
    names = dice.sample(listed, dice.randint(2, min(10, len(listed))))
    rows = [{name: row[name] for name in names if name in row} for row in table[start : start + LONGEST_RUN]]
    whole = [row for row in rows if len(row) == len(names)]
    return _run(whole[0], iter(whole[1:]), dice)


def _run(prices: Row, rows: Iterator[Row], dice: random.Random) -> Run:
    instruments = {name: _instrument(name, price, dice) for name, price in prices.items()}
    venue = Venue(
        instruments=instruments,
        half_spread_bps=D(dice.choice(["0.5", "1", "5"])),
        partly=dice.choice([0, 0.1, 0.5]),
        rows_a_trip=dice.choice([0.2, 0.5, 1, 2]),
    )
    targets = _targets(list(prices), dice)
    total = D(dice.choice([dice.randint(100, 2_000), dice.randint(1_000, 150_000)]))
    shares = _shares({name: float(targets.get(name, ZERO)) for name in [*prices, "USDT"]}, dice)
    holdings = {
        name: floor_to_step(total * D(share) / prices.get(name, D(1)), D("1e-8")) for name, share in shares.items()
    }
    return Run(plan_of(targets, holdings, quotes_of(prices, venue)), prices, rows, venue, dice)


def _shares(weights: dict[str, float], dice: random.Random) -> dict[str, float]:
    """What a portfolio is made of: drifted from its weights, of other ones, or these."""
    shape = dice.random()
    if shape < 0.7:
        weights = {name: share * dice.uniform(0.5, 1.6) for name, share in weights.items()}
    elif shape < 0.9:
        weights = {name: dice.choice([0.0, dice.random()]) for name in weights}
    whole = sum(weights.values())
    return {name: share / whole for name, share in weights.items()} if whole else {"USDT": 1.0}


def _jumping(row: Row, daily: float, dice: random.Random) -> Iterator[Row]:
    while True:
        row = {name: price * _step(daily, dice) for name, price in row.items()}
        yield row


def _step(daily: float, dice: random.Random) -> Decimal:
    move = dice.gauss(0, daily) if dice.random() < 0.98 else dice.choice([-1, 1]) * dice.uniform(0.05, 0.3)
    return D(1) + D(min(0.3, max(-0.3, move)))


def _instrument(name: str, price: Decimal, dice: random.Random) -> Instrument:
    """Lots worth a thousandth to half of the smallest order, filters and fees as venues have them."""
    tick = D(1).scaleb(price.adjusted() - dice.randint(3, 6))
    minimum = D(dice.choice(["5", "5", "10"]))
    lot = D(1).scaleb((minimum / 2 / price).adjusted() - dice.randint(0, 3))
    fee = D(dice.choice(["0", "0.001", "0.001", "0.006"]))
    return Instrument("paper", f"{name}USDT", name, "USDT", lot, lot, D(10) ** 15, tick, minimum, fee)


def _targets(names: list[str], dice: random.Random) -> dict[str, Decimal]:
    cuts = sorted(dice.sample(range(1, 100), len(names) - 1)) if dice.random() < 0.6 else []
    cuts = cuts or [100 * number // len(names) for number in range(1, len(names))]
    targets = {
        name: D(high - low) for name, low, high in zip(names, [0, *cuts], [*cuts, 100], strict=True) if high > low
    }
    if dice.random() < 0.15:  # the first weight is held in cash
        targets["USDT"] = targets.pop(names[0])
    return targets
