"""The outside check of a whole run: the journal from its postings, its fills against the executor's, the sums against
the venue's own account. It trusts no counter and no balance of the services.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import asyncpg

from services.ledger.adapters.postgres_checks import check_books
from shared.core.money import ZERO, plain

_FILL_MISMATCHES = """
SELECT format('fill %s: executor and journal differ', coalesce(f.trade_id, t.request ->> 'trade_id'))
FROM executor.fills f
FULL JOIN (SELECT * FROM ledger.transactions WHERE kind = 'fill') t
    ON t.venue = f.venue AND t.request ->> 'trade_id' = f.trade_id
WHERE t.sequence IS NULL OR f.trade_id IS NULL
   OR t.strategy_id <> f.strategy_id
   OR (t.request ->> 'quantity')::numeric <> f.quantity
   OR (t.request ->> 'quote_quantity')::numeric <> f.quote_quantity
   OR (t.request ->> 'fee')::numeric <> f.fee
   OR t.request ->> 'fee_asset' <> f.fee_asset
"""


@dataclass(frozen=True, slots=True)
class BooksFound:
    """The result of a check. ``differences`` is empty when the books are right and equal the venue's account, with
    nothing in suspense.
    """

    transactions: int
    postings: int
    balanced: bool
    equals_venue: bool
    differences: tuple[str, ...]


async def check_run(dsn: str, venue: str, at_venue: Mapping[str, Decimal]) -> BooksFound:
    """Check everything. ``at_venue``: the venue's own balances, free and locked, by asset."""
    books = await check_books(dsn)
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        faults = [*books.differences, *(row[0] for row in await connection.fetch(_FILL_MISMATCHES))]
    finally:
        await connection.close()
    off = venue_differences(books.held.get(venue, {}), venue, at_venue)
    unexplained = books.totals.get("suspense", {})
    off += [f"{asset}: {plain(amount)} in suspense" for asset, amount in unexplained.items() if amount]
    return BooksFound(books.transactions, books.postings, not faults, not off, (*faults, *off))


def venue_differences(booked: Mapping[str, Decimal], venue: str, at_venue: Mapping[str, Decimal]) -> list[str]:
    """Assets of which the books and the venue's account do not hold the same, to the last digit."""
    return [
        f"{asset}: books {plain(booked.get(asset, ZERO))}, {venue} {plain(at_venue.get(asset, ZERO))}"
        for asset in sorted({*booked, *at_venue})
        if booked.get(asset, ZERO) != at_venue.get(asset, ZERO)
    ]
