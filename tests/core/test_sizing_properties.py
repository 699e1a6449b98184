"""Exact sizing over random filters, balances and fees: every order is valid, and nothing is spent that is not there.

A case is one phase of orders; ``TRIMTAB_TEST_EFFORT`` (5) times ``CASES_PER_EFFORT`` of them are looked at, by seeds.
"""

import os
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from shared.core.fee_reserve import keep_fees
from shared.core.legs import PlanningInput
from shared.core.market import Instrument, Quote
from shared.core.matching import OrderTerms, PriceBand, Side, filter_failures
from shared.core.money import HUNDRED, ZERO, ceil_to_step, exact, floor_to_step
from shared.core.order_styles import OrderKind, OrderStyle, Styling
from shared.core.planning import OrderDraft, Sizing, buy_orders, sell_orders
from shared.core.raising import raising_orders
from shared.core.styled_orders import Slicing, at_own_side, at_the_touch, sliced, value_to_spend

EFFORT = int(os.environ.get("TRIMTAB_TEST_EFFORT", "5"))
CASES_PER_EFFORT = 20_400
CHUNKS = 6
AT = datetime(2026, 1, 1, tzinfo=UTC)
BAND = PriceBand()
TWAP = Styling(OrderStyle.TWAP, slice_notional=Decimal(50))
ASSETS = ("AAA", "BBB", "CCC")


@dataclass(frozen=True, slots=True)
class Case:
    """What is to be sized, and where the fee is taken from: "received", "quote" or "third"."""

    planning: PlanningInput
    fee_in: str


def some(rng: random.Random, low: int, high: int, decimals: int) -> Decimal:
    """A number of some magnitude between 10^low and 10^high, with at most so many decimals."""
    digits = rng.randint(1, 10**9)
    return Decimal(digits).scaleb(rng.randint(low, high) - 9).quantize(Decimal(1).scaleb(-decimals))


def instrument(rng: random.Random, asset: str, price: Decimal, fee_in: str) -> Instrument:
    lot = Decimal(rng.choice((1, 1, 1, 5, 25))).scaleb(-rng.randint(0, 18))
    tick = min(Decimal(rng.choice((1, 1, 5))).scaleb(-rng.randint(0, 12)), floor_digit(price))
    least = lot * rng.choice((1, 1, 10, 333))
    most = max(least, floor_to_step(some(rng, 1, 9, 6), lot))
    minimum = rng.choice((ZERO, Decimal(1), Decimal(5), Decimal("10.5"), Decimal(100)))
    fee = Decimal(rng.choice((0, 1, 10, 25, 60, 120))) / 10_000
    return Instrument("v", f"{asset}USDT", asset, "USDT", lot, least, most, tick, minimum, fee,
                      tradable=rng.random() > 0.02, buy_fee_in_quote=fee_in == "quote")  # fmt: skip


def floor_digit(price: Decimal) -> Decimal:
    """A thousandth of the price, as a power of ten: the coarsest tick a pair may have."""
    return Decimal(1).scaleb(price.adjusted() - 3)


@exact
def case_of(rng: random.Random) -> Case:
    fee_in = rng.choice(("received", "quote", "third"))
    assets = ASSETS[: rng.choice((1, 2, 2, 3))]
    quotes, instruments = {}, {}
    for asset in assets:
        about = some(rng, -4, 5, 12) + Decimal("0.00001")
        listed = instruments[asset] = instrument(rng, asset, about, fee_in)
        bid = ceil_to_step(about, listed.tick_size)
        quotes[asset] = Quote(bid, bid + listed.tick_size * rng.choice((0, 1, 1, 7)), AT)
    cash = ZERO if rng.random() < 0.2 else some(rng, 0, 6, rng.choice((0, 2, 8, 18)))
    holdings = {asset: some(rng, -3, 5, rng.choice((0, 2, 8, 18))) / quotes[asset].bid for asset in assets}
    holdings = {a: ZERO if rng.random() < 0.3 else h.quantize(Decimal("1e-18")) for a, h in holdings.items()}
    cuts = sorted(rng.sample(range(1, 100), len(assets)))
    shares = [Decimal(b - a) for a, b in zip((0, *cuts), (*cuts, 100), strict=True)]
    targets = dict(zip((*assets, "USDT"), shares, strict=True))
    if rng.random() < 0.5:
        targets[assets[0]] += targets.pop("USDT")
    planning = PlanningInput(targets, {**holdings, "USDT": cash}, quotes, instruments, "USDT",
                             Decimal(rng.choice((0, 5, 50, 300))),
                             fee_asset=rng.choice(assets) if fee_in == "third" else "")  # fmt: skip
    return Case(planning, fee_in)


@exact
def check(case: Case, drafts: tuple[OrderDraft, ...], kind: OrderKind) -> None:
    """Valid by the venue's own filters; never more than is held, or than the cash there is, fees included."""
    planning, spent = case.planning, ZERO
    third, fees, is_sold = planning.fee_asset, ZERO, False
    assert len({draft.asset for draft in drafts}) == len(drafts)
    for draft in drafts:
        listed, quote = planning.instruments[draft.asset], planning.quotes[draft.asset]
        assert listed.tradable
        terms = OrderTerms(draft.side, draft.quantity, None, None if kind is OrderKind.MARKET else draft.limit_price)
        by_value = kind is OrderKind.MARKET and draft.side is Side.BUY
        value = draft.quantity * draft.limit_price
        if by_value:
            value = value_to_spend(draft.quantity, draft.limit_price)
            terms = OrderTerms(draft.side, None, value, None)
        touch = quote.ask if draft.side is Side.BUY else quote.bid
        assert filter_failures(terms, listed, BAND, touch) == (), (draft, listed)
        if draft.side is Side.SELL:
            assert draft.quantity <= planning.holdings[draft.asset]
            is_sold = is_sold or draft.asset == third
            # One that finds nothing free for its own fee pays it from what it receives.
            fees += ZERO if draft.asset == third else draft.quantity * draft.limit_price * listed.taker_fee
        else:
            spent += value * (1 + listed.taker_fee) if case.fee_in == "quote" else value
    assert spent <= planning.holdings["USDT"], (spent, planning.holdings["USDT"])
    if is_sold:  # whatever order trades first, the fees of all leave what is sold
        sold = next(draft.quantity for draft in drafts if draft.asset == third)
        assert sold + fees / planning.quotes[third].bid <= planning.holdings[third]


@exact
def after_sales(case: Case, drafts: tuple[OrderDraft, ...]) -> PlanningInput:
    """The holdings after the sales at their limits, the worst there is, and with the fee from where it is taken."""
    held = dict(case.planning.holdings)
    for draft in drafts:
        fee = case.planning.instruments[draft.asset].taker_fee
        held[draft.asset] -= draft.quantity
        held["USDT"] += draft.quantity * draft.limit_price * (1 if case.fee_in == "third" else 1 - fee)
    planning = case.planning
    return PlanningInput(planning.targets_pct, held, planning.quotes, planning.instruments, "USDT",
                         planning.slippage_bps, sold=frozenset(draft.asset for draft in drafts))  # fmt: skip


def in_style(rng: random.Random, planning: PlanningInput, side: Side) -> tuple[PlanningInput, OrderKind]:
    match rng.choice(("limit", "limit", "market", "maker")):
        case "market":
            return at_the_touch(planning), OrderKind.MARKET
        case "maker":
            return at_own_side(planning, side), OrderKind.MAKER
    return planning, OrderKind.IOC


def slices_of(rng: random.Random, planning: PlanningInput, sizing: Sizing) -> tuple[OrderDraft, ...]:
    slicing = Slicing(rng.randint(0, 25), None, {})
    return tuple(sliced(draft, planning.instruments[draft.asset], TWAP, slicing) for draft in sizing.drafts)


def orders_of_one_plan(seed: int) -> int:
    """Check the sales of a case in some style, and the purchases from what they really brought; returns the orders."""
    rng = random.Random(seed)
    case = case_of(rng)
    size = raising_orders if rng.random() < 0.1 else sell_orders
    given, kind = in_style(rng, case.planning, Side.SELL)
    sells = keep_fees(size(given), given).drafts
    check(Case(given, case.fee_in), sells, kind)
    case = Case(after_sales(case, sells), case.fee_in)
    given, kind = in_style(rng, case.planning, Side.BUY)
    sizing = buy_orders(given)
    buys = slices_of(rng, given, sizing) if kind is OrderKind.IOC and rng.random() < 0.3 else sizing.drafts
    check(Case(given, case.fee_in), buys, kind)
    assert sum(given.targets_pct.values(), ZERO) == HUNDRED
    return len(sells) + len(buys)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_sizing_when_filters_balances_and_fees_are_random_makes_only_valid_orders(chunk: int) -> None:
    phases = CASES_PER_EFFORT * EFFORT
    orders = 0
    for seed in range(chunk, phases // 2, CHUNKS):
        try:
            orders += orders_of_one_plan(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    assert orders > phases / CHUNKS / 3, "too few cases led to an order"
