"""A rough market of days for replays in lockstep, the same each time, and strategies that trade on it."""

import random
from pathlib import Path
from typing import Any

ASSETS = ("BTC", "ETH", "SOL", "LATE", "GAPS")
ROWS = 80
QUIET_ROW = 50
LISTED_ROW = 30


def days() -> list[tuple[str, dict[str, str]]]:
    """Each day with its prices: LATE is listed late, GAPS has a price once a week, one day has none at all."""
    chance = random.Random(11)
    prices = dict(zip(ASSETS, (30_000.0, 2_000.0, 80.0, 5.0, 1.0), strict=True))
    found = []
    for row in range(ROWS):
        told = {}
        for asset in ASSETS:
            prices[asset] *= 1 + chance.uniform(-0.09, 0.1)
            missing = (asset == "LATE" and row < LISTED_ROW) or (asset == "GAPS" and row % 7) or row == QUIET_ROW
            if not missing:
                told[asset] = f"{prices[asset]:.6f}"
        month, day = divmod(row, 28)
        found.append((f"2024-{month + 1:02d}-{day + 1:02d}", told))
    return found


def price_file(folder: Path) -> Path:
    """The days as a file."""
    lines = [",".join([day, *(told.get(asset, "") for asset in ASSETS)]) for day, told in days()]
    path = folder / "prices.csv"
    path.write_text("\n".join(["time," + ",".join(ASSETS), *lines]) + "\n")
    return path


def document(name: str, targets: dict[str, str], rule: dict[str, str], **further: str) -> dict[str, Any]:
    """A strategy file's content."""
    return {
        "name": name,
        "venue": "paper",
        "funding_asset": "USDT",
        "amount": "3000",
        "targets": targets,
        "rebalance": rule,
        **further,
    }


TIGHT = document("tight", {"BTC": "40", "ETH": "30", "SOL": "30"}, {"threshold": "1.5"})
WEEKLY = document("weekly", {"BTC": "60", "SOL": "40"}, {"interval": "7d"})
EXITS = document("exits", {"ETH": "50", "SOL": "50"}, {"threshold": "3"}, take_profit="12", stop_loss="-12")
LATE = document("starts late", {"LATE": "50", "GAPS": "25", "BTC": "25"}, {"threshold": "4"})
