"""An exchange of the test's own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.services.simulated_exchange.running import Running, serving, write_prices

ROWS = [
    # BTC moves; ETH is listed in row 2; ONE has a gap in row 3.
    ("2024-01-01", "10000", "", "0.02"),
    ("2024-01-02", "10100", "", "0.021"),
    ("2024-01-03", "9000", "2000", "0.022"),
    ("2024-01-04", "11000", "2100", ""),
    ("2024-01-05", "11000", "2050", "0.018"),
]


@pytest.fixture
def prices_file(tmp_path: Path) -> Path:
    return write_prices(tmp_path / "prices.csv", ("date", "BTC", "ETH", "ONE"), ROWS)


@pytest.fixture
async def exchange(tmp_path: Path, prices_file: Path) -> AsyncIterator[Running]:
    """Five days of three assets, paused at the first; 10,000 USDT per book level."""
    fields = {"exchange_prices_file": str(prices_file), "exchange_depth_usdt": 10_000, "exchange_depth_levels": 5}
    async with serving(tmp_path / "state", **fields) as running:
        yield running
