"""The synthetic market, and trading rules derived from prices."""

from decimal import Decimal

import numpy as np
import pytest

from services.simulated_exchange.markets.files import load_prices
from services.simulated_exchange.markets.instruments import derive_instrument
from services.simulated_exchange.markets.source import PriceRange
from services.simulated_exchange.markets.synthetic import BLOCK_ROWS, BOUND, SyntheticMarket
from tests.services.simulated_exchange.running import real_data

D = Decimal
HOUR_S, DAY_ROWS = 3600, 24


def rows(market: SyntheticMarket, first: int, count: int) -> list[list[Decimal | None]]:
    return [[market.price(row, column) for column in range(len(market.assets))] for row in range(first, first + count)]


def test_synthetic_when_same_seed_gives_same_rows_and_another_seed_others() -> None:
    first, again, other = (SyntheticMarket(seed, HOUR_S, {}) for seed in (7, 7, 8))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert rows(first, 0, 600) == rows(again, 0, 600)
    assert rows(first, 1, 600) != rows(other, 1, 600)


@pytest.mark.parametrize("row", [0, 1, BLOCK_ROWS - 1, BLOCK_ROWS, 5 * BLOCK_ROWS + 17])
def test_synthetic_when_resumed_from_checkpoints_goes_on_alike(row: int) -> None:
    kept: dict[int, str] = {}
    before = rows(SyntheticMarket(7, HOUR_S, kept), 0, row + 300)
    assert rows(SyntheticMarket(7, HOUR_S, dict(kept)), row, 300) == before[row:]
    assert rows(SyntheticMarket(7, HOUR_S, {}), row, 300) == before[row:]


def test_synthetic_when_run_for_years_is_correlated_clustered_and_bounded() -> None:
    market = SyntheticMarket(11, HOUR_S, {})
    daily = np.array(
        [[float(market.price(row, c) or 0) for c in range(12)] for row in range(0, 1500 * DAY_ROWS, DAY_ROWS)]
    )
    returns = np.diff(np.log(daily), axis=0)
    correlations = np.corrcoef(returns.T)[np.triu_indices(12, 1)]
    assert 0.4 < correlations.mean() < 0.8
    assert 0.02 < returns[:, 0].std() < 0.05
    sizes = np.abs(returns)
    clustering = [np.corrcoef(sizes[:-1, column], sizes[1:, column])[0, 1] for column in range(12)]
    assert np.mean(clustering) > 0.03
    kurtosis = (returns**4).mean(axis=0) / (returns**2).mean(axis=0) ** 2
    assert kurtosis.mean() > 3.5
    assert (daily / daily[0]).max() <= BOUND * 1.01
    assert (daily / daily[0]).min() >= 0.99 / BOUND


def test_synthetic_when_asked_for_rows_by_time_finds_them() -> None:
    market = SyntheticMarket(7, 60, {})
    start = market.time_ms(0)
    assert [market.row_at(start + offset) for offset in (-1, 0, 59_999, 60_000)] == [-1, 0, 0, 1]


@pytest.mark.parametrize(
    ("low", "high", "tick", "lot"),
    [
        ("3211.72", "124658.54", "0.01", "0.000001"),
        ("0.0015817", "0.68982", "0.00000001", "1"),
        ("1.198", "261.97", "0.00001", "0.001"),
        ("4.516", "1307.4", "0.0001", "0.0001"),
        ("1", "1", "0.00001", "1"),
        ("0.00000900", "0.00001", "0.00000000001", "100000"),
    ],
)
def test_instrument_when_derived_has_fine_ticks_and_small_lots(low: str, high: str, tick: str, lot: str) -> None:
    found = derive_instrument("X", PriceRange(D(low), D(high)), min_notional=D(5), taker_fee_bps=D(10))
    assert (found.tick_size, found.lot_step) == (D(tick), D(lot))
    assert found.tick_size <= D(low) / 10_000
    assert found.lot_step * D(high) <= 1
    assert found.max_quantity * D(low) >= 10_000_000
    assert found.taker_fee == D("0.001")


def test_instruments_when_derived_from_recorded_prices_fit_eight_decimals() -> None:
    table = load_prices(real_data("daily/binance_daily_close_2018-2026.csv"))
    for asset, prices in table.ranges().items():
        found = derive_instrument(asset, prices, min_notional=D(5), taker_fee_bps=D(10))
        assert found.tick_size.adjusted() + found.lot_step.adjusted() >= -8, asset
