"""Recorded prices from a file: `.csv`, `.csv.gz` or `.parquet`; wide, wide OHLCV or long.

* wide: a time column, then one column of closing prices in USDT per asset ("BTC", also "BTCUSDT" or "BTC-USD");
* wide OHLCV: columns "BTC_close", "ETH_close", ... beside others, which are ignored;
* long: columns time, asset or symbol, close (others are ignored); rows of different assets may come in any order.

The time column is the one called time, date, datetime, timestamp, ts or open_time, else the first. An empty cell means
no tick: before an asset's first price it is not listed, later its last price stands.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from services.simulated_exchange.markets.cells import Cell, Faults, read_price, read_time
from services.simulated_exchange.markets.source import PriceRange
from services.simulated_exchange.markets.tables import RawTable, read_table
from shared.core.errors import Problem, Refused
from shared.core.money import parse_asset

TIME_NAMES = ("time", "date", "datetime", "timestamp", "ts", "open_time")
ASSET_NAMES = ("asset", "symbol")
CLOSE = "close"
QUOTE_ENDINGS = ("/USDT", "-USDT", "_USDT", "USDT", "/USD", "-USD", "_USD")
OHLCV_ENDINGS = ("open", "high", "low", "close", "volume", "vwap", "trades", "quote_volume")


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices of a file: ``prices[row][column]`` belongs to ``times_ms[row]`` and ``assets[column]``."""

    name: str
    fingerprint: str
    assets: tuple[str, ...]
    times_ms: tuple[int, ...]
    prices: tuple[tuple[Decimal | None, ...], ...]

    @property
    def rows_total(self) -> int | None:
        """Number of rows."""
        return len(self.times_ms)

    def time_ms(self, row: int) -> int:
        """Market time of a row, epoch milliseconds UTC."""
        return self.times_ms[row]

    def price(self, row: int, column: int) -> Decimal | None:
        """Price of ``assets[column]`` in a row, or None."""
        return self.prices[row][column]

    def row_at(self, time_ms: int) -> int:
        """The last row at or before a time; -1 when there is none."""
        return bisect_right(self.times_ms, time_ms) - 1

    def ranges(self) -> dict[str, PriceRange]:
        """Lowest and highest price by asset."""
        found = {}
        for column, asset in enumerate(self.assets):
            known = [price for row in self.prices if (price := row[column]) is not None]
            found[asset] = PriceRange(min(known), max(known))
        return found


@dataclass(frozen=True, slots=True)
class PriceSummary:
    """What a price file contains, for a person: times are ISO 8601 UTC, ``listed`` the first price's time by asset."""

    name: str
    rows: int
    ticks: int
    first: str
    last: str
    listed: dict[str, str]


def load_prices(path: Path | str) -> PriceTable:
    """Read and check a price file.

    Raises Refused naming the file, the line (csv) or row (parquet), the column, the value and what is allowed; up to
    ten faults at once.
    """
    path = Path(path)
    table = read_table(path)
    faults = Faults(path.name)
    names = [name.strip() for name in table.header]
    lowered = [name.lower() for name in names]
    _refuse_duplicates(lowered, names, faults)
    time_column = next((lowered.index(name) for name in TIME_NAMES if name in lowered), 0)
    asset_column = next((lowered.index(name) for name in ASSET_NAMES if name in lowered), None)
    if asset_column is not None and CLOSE in lowered:
        assets, rows = _read_long(table, names, (time_column, asset_column, lowered.index(CLOSE)), faults)
    else:
        columns = _price_columns(names, time_column, faults)
        assets, rows = _read_wide(table, names, time_column, columns, faults)
    faults.raise_if_any()
    times = tuple(sorted(rows))
    prices = tuple(tuple(rows[time]) for time in times)
    used = [column for column in range(len(assets)) if any(row[column] is not None for row in prices)]
    if not used:
        raise Refused.one(path.name, "no price", "at least one price above 0", "holds no price at all")
    return PriceTable(
        name=path.name,
        fingerprint=hashlib.sha256(path.read_bytes()).hexdigest(),
        assets=tuple(assets[column] for column in used),
        times_ms=times,
        prices=tuple(tuple(row[column] for column in used) for row in prices),
    )


def summarise(table: PriceTable) -> PriceSummary:
    """Count rows and ticks of a table and when each asset starts."""
    listed: dict[str, str] = {}
    ticks = 0
    for time, row in zip(table.times_ms, table.prices, strict=True):
        for asset, price in zip(table.assets, row, strict=True):
            if price is not None:
                ticks += 1
                if asset not in listed:
                    listed[asset] = iso(time)
    return PriceSummary(
        name=table.name,
        rows=len(table.times_ms),
        ticks=ticks,
        first=iso(table.times_ms[0]),
        last=iso(table.times_ms[-1]),
        listed=listed,
    )


def iso(time_ms: int) -> str:
    """Epoch milliseconds as ISO 8601 UTC text."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def _refuse_duplicates(lowered: Sequence[str], names: Sequence[str], faults: Faults) -> None:
    for index, name in enumerate(lowered):
        if not name and index:
            faults.add(Cell(1, str(index + 1)), names[index], "a column name", "column has no name")
        elif name in lowered[:index]:
            faults.add(Cell(1, names[index]), names[index], "each column once", "column comes twice")
    faults.raise_if_any()


def _price_columns(names: Sequence[str], time_column: int, faults: Faults) -> dict[int, str]:
    """Asset by column index of a wide table."""
    others = [index for index in range(len(names)) if index != time_column]
    closes = {index: names[index][: -len("_close")] for index in others if names[index].lower().endswith("_close")}
    if closes and all(names[index].lower().endswith(OHLCV_ENDINGS) for index in others):
        chosen = closes
    else:
        chosen = {index: names[index] for index in others}
    if not chosen:
        allowed = "one column of closing prices per asset"
        faults.add(Cell(1, "header"), ",".join(names), allowed, "there is no price column")
    columns: dict[int, str] = {}
    for index, name in chosen.items():
        asset = _asset_of(name, Cell(1, names[index]), faults)
        if asset in columns.values():
            faults.add(Cell(1, names[index]), names[index], "each asset once", f"asset {asset} comes twice")
        columns[index] = asset
    faults.raise_if_any()
    return columns


def _asset_of(name: str, cell: Cell, faults: Faults) -> str:
    asset = name.strip().upper()
    for ending in QUOTE_ENDINGS:
        if asset.endswith(ending) and len(asset) > len(ending):
            asset = asset[: -len(ending)]
            break
    try:
        parse_asset(asset, "column")
    except Refused:
        faults.add(cell, name, "an asset code of 1-15 letters and digits, as in BTC", "is not an asset")
    if asset == "USDT":
        faults.add(cell, name, "any asset but USDT, in which prices are quoted", "is the quote currency")
    return asset


_Rows = dict[int, list[Decimal | None]]


def _read_wide(
    table: RawTable, names: Sequence[str], time_column: int, columns: dict[int, str], faults: Faults
) -> tuple[list[str], _Rows]:
    rows: _Rows = {}
    previous: int | None = None
    for line, cells in _whole_rows(table, faults):
        time = read_time(cells[time_column], Cell(line, names[time_column]), faults)
        if time is None:
            continue
        if previous is not None and time <= previous:
            _refuse_time(Cell(line, names[time_column]), time, previous, faults)
            continue
        previous = time
        rows[time] = [read_price(cells[index], Cell(line, names[index]), faults) for index in columns]
    return list(columns.values()), rows


def _read_long(
    table: RawTable, names: Sequence[str], where: tuple[int, int, int], faults: Faults
) -> tuple[list[str], _Rows]:
    time_column, asset_column, close_column = where
    assets: dict[str, int] = {}
    latest: dict[str, int] = {}
    found: list[tuple[int, int, Decimal | None]] = []
    for line, cells in _whole_rows(table, faults):
        time = read_time(cells[time_column], Cell(line, names[time_column]), faults)
        asset = _asset_of(str(cells[asset_column] or ""), Cell(line, names[asset_column]), faults)
        price = read_price(cells[close_column], Cell(line, names[close_column]), faults)
        if time is None:
            continue
        if asset in latest and time <= latest[asset]:
            _refuse_time(Cell(line, names[time_column]), time, latest[asset], faults)
            continue
        latest[asset] = time
        found.append((time, assets.setdefault(asset, len(assets)), price))
    rows: _Rows = {time: [None] * len(assets) for time, _, _ in found}
    for time, column, price in found:
        rows[time][column] = price
    return list(assets), rows


def _whole_rows(table: RawTable, faults: Faults) -> Iterator[tuple[int, Sequence[object]]]:
    """Rows that have as many cells as the header, with their line or row number."""
    count = 0
    for line, cells in table.rows:
        count += 1
        if len(cells) != len(table.header):
            faults.add(Cell(line, "row"), f"{len(cells)} cells", f"{len(table.header)} cells", "row is broken")
            continue
        yield line, cells
    if not count:
        faults.raise_if_any()
        raise Refused([Problem(faults.file, "0 rows", "at least one row of prices", "holds no rows")])


def _refuse_time(cell: Cell, time: int, previous: int, faults: Faults) -> None:
    what = "time is repeated" if time == previous else "time goes backwards"
    faults.add(cell, iso(time), f"a time after {iso(previous)}", what)
