"""Every plan ends on target, also in a market that jumps between one look and the next."""

import csv
import os
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from services.order_executor.records import holdings_of, targets_of
from services.order_executor.steps import Close
from shared.core.legs import PlanningInput
from shared.core.market import Quote
from shared.core.money import HUNDRED, ZERO, exact
from shared.core.planning import value_after_fees
from shared.core.position import PlanOutcome
from tests.services.order_executor.jumping_market import TERMS, Run, replayed_run, synthetic_run

EFFORT = int(os.environ.get("TRIMTAB_TEST_EFFORT", "5"))
DATA = Path(os.environ.get("TRIMTAB_TEST_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
DAILY = DATA / "daily" / "binance_daily_close_2018-2026.csv"
SLIP = 1 - TERMS.slippage_bps / 10_000
CHUNKS = 5


def smallest_order(run: Run, asset: str, quote: Quote) -> Decimal:
    """Quantity of the smallest order the filters allow now, a lot of rounding included."""
    listed = run.venue.instruments[asset]
    return max(listed.min_notional / (quote.bid * SLIP), listed.min_quantity) + listed.lot_step


@exact
def assert_on_target(run: Run, close: Close) -> None:
    """Each asset is within its smallest order above its target, and lacks no more money than one order is worth (the
    largest of the smallest orders: another asset would have to be sold by it), and what lots and dust hold back.

    The plan's prices measure it; targets are shares of what the holdings are worth at them once on target.
    """
    quotes, targets = run.quotes(), targets_of(run.record.plan)
    held = {asset: max(ZERO, quantity) for asset, quantity in holdings_of(run.record).items()}
    prices = {line.asset: line.bid for line in run.record.plan.lines if line.asset != "USDT"}
    market = run.look()
    measured = PlanningInput(targets, held, quotes, market.instruments, "USDT", TERMS.slippage_bps, prices)
    total = value_after_fees(measured)
    smallest = {asset: smallest_order(run, asset, quote) for asset, quote in quotes.items()}
    rest = max(quantity * quotes[asset].bid for asset, quantity in smallest.items())
    rest += sum((run.venue.instruments[asset].lot_step * quote.bid for asset, quote in quotes.items()), ZERO)
    missing = {"USDT": targets.get("USDT", ZERO) / HUNDRED * total - held.get("USDT", ZERO)}
    stuck = ZERO
    for asset, price in prices.items():
        lacks = targets.get(asset, ZERO) / HUNDRED * total / price - held.get(asset, ZERO)
        missing[asset] = lacks * quotes[asset].bid
        if held.get(asset, ZERO) < smallest[asset]:
            stuck += max(ZERO, -missing[asset])
        else:
            assert -lacks <= smallest[asset], (asset, close)
    assert max(missing.values()) <= rest + stuck, (missing, close)
    assert -missing["USDT"] <= rest, close


def work(run: Run) -> Close:
    """The plan to its end, which must be on target, or at once if there was nothing to trade."""
    close = run.work()
    ends = PlanOutcome.COMPLETED if run.record.fills else PlanOutcome.NOTHING_TRADABLE
    assert close.outcome is ends, close
    assert_on_target(run, close)
    return close


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_plan_when_market_jumps_between_looks_ends_on_target(chunk: int) -> None:
    for seed in range(chunk, 400 * EFFORT, CHUNKS):
        try:
            work(synthetic_run(seed))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def daily_rows() -> Sequence[dict[str, Decimal]]:
    with DAILY.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{asset: Decimal(price) for asset, price in row.items() if asset != "date" and price} for row in rows]


@pytest.mark.skipif(not DAILY.exists(), reason=f"real daily prices are not here: {DAILY} (set TRIMTAB_TEST_DATA)")
def test_plan_when_real_days_pass_between_looks_ends_on_target() -> None:
    table = [row for row in daily_rows() if len(row) >= 2]
    for seed in range(200 * EFFORT):
        try:
            work(replayed_run(seed, table))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
