"""The days on which the strategy files are tried: real ones where they are at hand, else made up ones like them."""

import csv
import os
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

DATA = Path(os.environ.get("TRIMTAB_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
DAILY = DATA / "daily" / "binance_daily_close_2018-2026.csv"
FIRST_ROW, ROWS = 780, 220
"""20 February 2020 on: the crash of March, the recovery, SOL listed in August."""

_STARTS = {"BTC": 9_600.0, "ETH": 257.0, "BNB": 22.0, "LTC": 69.0, "SOL": 3.0}
_SOL_LISTED = 120
# (rows, percent a day): calm, a crash, a recovery, a fall, a rise.
_PHASES = ((15, 0.0), (5, -11.0), (80, 1.2), (30, -0.8), (90, 0.4))
_SCATTER = 0.045


def market_file(folder: Path) -> Path:
    """A price file of ``ROWS`` days in ``folder``."""
    path = folder / "days.csv"
    if DAILY.exists():
        header, *rows = DAILY.read_text().splitlines()
        path.write_text("\n".join([header, *rows[FIRST_ROW : FIRST_ROW + ROWS]]) + "\n")
    else:
        path.write_text("\n".join(_made_up()) + "\n")
    return path


def days_in(path: Path) -> list[tuple[datetime, dict[str, Decimal]]]:
    """Each day of a file with the prices known by then."""
    known: dict[str, Decimal] = {}
    found = []
    with path.open() as file:
        header, *rows = csv.reader(file)
        for day, *prices in rows:
            known |= {asset: Decimal(price) for asset, price in zip(header[1:], prices, strict=True) if price}
            found.append((datetime.fromisoformat(day).replace(tzinfo=UTC), dict(known)))
    return found


def _made_up() -> Iterator[str]:
    chance, prices, first = random.Random(5), dict(_STARTS), date(2020, 2, 20)
    yield ",".join(["date", *prices])
    drifts = [percent / 100 for rows, percent in _PHASES for _ in range(rows)]
    for row, drift in enumerate(drifts):
        texts = [(first + timedelta(days=row)).isoformat()]
        for asset, price in prices.items():
            texts.append("" if asset == "SOL" and row < _SOL_LISTED else f"{price:.4f}")
            prices[asset] = price * (1 + drift + chance.uniform(-_SCATTER, _SCATTER))
        yield ",".join(texts)
