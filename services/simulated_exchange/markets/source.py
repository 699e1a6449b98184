"""What the venue needs to know of a source of prices."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol


@dataclass(frozen=True, slots=True)
class PriceRange:
    """Lowest and highest price (USDT) that an asset has, or may plausibly have, in a source."""

    low: Decimal
    high: Decimal


class PriceSource(Protocol):
    """Rows of prices at increasing market times. The same source always gives the same rows.

    Times are epoch milliseconds UTC.
    """

    @property
    def name(self) -> str:
        """For people."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes whenever any row would."""
        ...

    @property
    def assets(self) -> tuple[str, ...]:
        """Asset codes by column."""
        ...

    @property
    def rows_total(self) -> int | None:
        """Number of rows; None = endless."""
        ...

    def time_ms(self, row: int) -> int:
        """Market time of a row."""
        ...

    def price(self, row: int, column: int) -> Decimal | None:
        """Price of ``assets[column]`` in a row; None = not listed yet, or no tick in that row."""
        ...

    def row_at(self, time_ms: int) -> int:
        """The last row at or before a time; -1 when the time is before the first row."""
        ...

    def ranges(self) -> dict[str, PriceRange]:
        """Price range by asset; an asset without any price is absent."""
        ...
