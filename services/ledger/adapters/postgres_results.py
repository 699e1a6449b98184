"""The projection in PostgreSQL: reads the journal and the marks, reads and writes one schema of results.

Every statement runs in a transaction whose search path is that schema: the service's own (``ledger_results``), or a
second one beside it (a rebuild). The journal and the marks are always those of ``ledger``.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal

from services.ledger.adapters.postgres import Connection
from services.ledger.adapters.postgres_rows import amount_of
from services.ledger.adapters.results_rows import (
    BALANCE_COLUMNS,
    CLOSING_COLUMNS,
    FLOW_COLUMNS,
    LOT_COLUMNS,
    SNAPSHOT_COLUMNS,
    amounts_from,
    amounts_text,
    closing_row,
    flow_row,
    lot_row,
    results_from,
    snapshot_row,
    state_text,
)
from services.ledger.facts import JournalEntry, needs_fee_price
from services.ledger.market import PricesHeard
from services.ledger.projection import Key, Pass, Remembered, facts_of
from services.ledger.results import StrategyResults
from shared.core.double_entry import Posting
from shared.core.errors import Stop
from shared.core.lots import Method

SCHEMA = "ledger_results"

_ENTRY = """
SELECT sequence, transaction_id, kind, venue, strategy_id, market_time, received_at, request FROM ledger.transactions
"""
_ENTRIES_AFTER = f"{_ENTRY} WHERE sequence > $1 AND sequence <= $2 ORDER BY sequence LIMIT $3"
_ENTRIES_OF = f"{_ENTRY} WHERE strategy_id = $1 AND sequence > $2 AND sequence <= $3 ORDER BY sequence LIMIT $4"
_POSTINGS = """
SELECT sequence, source, destination, asset, amount FROM ledger.postings
WHERE sequence = ANY($1) ORDER BY sequence, line
"""
_BALANCES = """
SELECT k.account, k.asset, b.amount FROM unnest($1::text[], $2::text[]) AS k (account, asset)
CROSS JOIN LATERAL (
    SELECT amount FROM balances b WHERE b.account = k.account AND b.asset = k.asset
    ORDER BY b.at DESC, b.sequence DESC LIMIT 1
) b
"""
_PRICES_BEFORE = """
SELECT k.sequence, m.mark_id, CASE WHEN row_number() OVER (PARTITION BY m.mark_id ORDER BY k.sequence) = 1
    THEN m.prices END AS prices
FROM unnest($1::text[], $2::bigint[]) AS k (venue, sequence)
CROSS JOIN LATERAL (
    SELECT mark_id, prices FROM ledger.marks m WHERE m.venue = k.venue AND m.sequence < k.sequence
    ORDER BY m.sequence DESC, m.mark_id DESC LIMIT 1
) m ORDER BY k.sequence
"""
_UPSERT_STRATEGIES = """
INSERT INTO strategies (strategy_id, venue, is_holding, state)
SELECT * FROM unnest($1::text[], $2::text[], $3::boolean[], $4::jsonb[])
ON CONFLICT (strategy_id) DO UPDATE SET is_holding = EXCLUDED.is_holding, state = EXCLUDED.state
"""
_DELETE_LOTS = """
DELETE FROM lots l
USING unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS k (strategy_id, method, asset, number)
WHERE l.strategy_id = k.strategy_id AND l.method = k.method AND l.asset = k.asset AND l.number = k.number
"""
_UPSERT_CLOCKS = """
INSERT INTO clocks (venue, market_time) SELECT * FROM unnest($1::text[], $2::timestamptz[])
ON CONFLICT (venue) DO UPDATE SET market_time = EXCLUDED.market_time
"""
_HOLDING = """
SELECT strategy_id, venue, state FROM strategies
WHERE venue = $1 AND is_holding AND strategy_id > $2 ORDER BY strategy_id LIMIT $3
"""
_STRATEGIES = "SELECT strategy_id, venue, state FROM strategies WHERE strategy_id = ANY($1)"
_LOTS = "SELECT * FROM lots WHERE strategy_id = ANY($1) AND method = ANY($2) ORDER BY number"

_PAGE = 1_000


class ResultsStore:
    """One transaction's view of a schema of results; make it with ``opened``."""

    def __init__(self, connection: Connection, schema: str) -> None:
        self.connection = connection
        self.schema = schema

    @classmethod
    async def opened(cls, connection: Connection, schema: str = SCHEMA) -> "ResultsStore":
        """The store, for the transaction that ``connection`` is in."""
        await connection.execute("SELECT set_config('search_path', $1, true)", schema)
        return cls(connection, schema)

    async def checkpoint(self) -> int:
        """The last entry that is included; locked until the transaction ends, so that one process projects at a time.

        Raises Stop when the schema is damaged.
        """
        sequence = await self.connection.fetchval("SELECT sequence FROM checkpoint FOR UPDATE")
        if sequence is None:
            raise Stop(f"{self.schema}.checkpoint is empty: the schema is damaged; `trimtab ledger rebuild` tells more")
        return int(sequence)

    async def entries(self, after: int, until: int, limit: int) -> list[JournalEntry]:
        """The next entries of the journal, at most ``limit``."""
        return await self._with_postings(await self.connection.fetch(_ENTRIES_AFTER, after, until, limit))

    async def project(self, memory: Remembered, entries: Sequence[JournalEntry]) -> None:
        """Take the next entries in and write what follows from them, with the checkpoint."""
        await self._remember(memory, entries)
        done = Pass(memory)
        done.take_balances(entries)
        end = entries[-1].sequence
        for strategy_id in done.take_facts(facts_of(entries, await self.prices_for(entries))):
            every = await self._entries_of(strategy_id, end)
            done.take_anew(strategy_id, every[0].venue, facts_of(every, await self.prices_for(every)))
        await self._write(done)
        await self.connection.execute("UPDATE checkpoint SET sequence = $1", end)
        memory.sequence = end
        memory.shrink()

    async def prices_for(self, entries: Iterable[JournalEntry]) -> dict[int, Mapping[str, Decimal]]:
        """The newest bids that were recorded before each entry that needs some, by its sequence."""
        wanted = [entry for entry in entries if entry.needs_prices or needs_fee_price(entry)]
        venues, sequences = [entry.venue for entry in wanted], [entry.sequence for entry in wanted]
        rows = await self.connection.fetch(_PRICES_BEFORE, venues, sequences) if wanted else []
        marks = {row["mark_id"]: amounts_from(row["prices"]) for row in rows if row["prices"] is not None}
        return {row["sequence"]: marks[row["mark_id"]] for row in rows}

    async def results(self, strategy_id: str, methods: Sequence[Method] = tuple(Method)) -> StrategyResults | None:
        """A strategy's results with the lots of these methods; None when it has none yet."""
        rows = await self.connection.fetch(_STRATEGIES, [strategy_id])
        found = await self._results_of(rows, methods)
        return found[0] if found else None

    async def snapshot(self, memory: Remembered, venue: str, mark_id: int) -> None:
        """Value every strategy of a venue that holds something at a mark."""
        mark = await self.connection.fetchrow(
            "SELECT market_time, prices FROM ledger.marks WHERE mark_id = $1", mark_id
        )
        if mark is None:
            raise Stop(f"ledger.marks has no mark {mark_id}")
        prices, last = amounts_from(mark["prices"]), ""
        while page := await self.connection.fetch(_HOLDING, venue, last, _PAGE):
            last = page[-1]["strategy_id"]
            known = {row["strategy_id"]: memory.strategies.get(row["strategy_id"]) for row in page}
            unknown = [row for row in page if known[row["strategy_id"]] is None]
            loaded = await self._results_of(unknown, [Method.AVERAGE])
            found = [one for one in (*known.values(), *loaded) if one is not None]
            rows = [snapshot_row(one, mark["market_time"], mark_id, prices) for one in found]
            await self._copy("snapshots", SNAPSHOT_COLUMNS, rows)

    async def _with_postings(self, rows: Sequence[Mapping[str, object]]) -> list[JournalEntry]:
        postings: dict[object, list[Posting]] = {row["sequence"]: [] for row in rows}
        for row in await self.connection.fetch(_POSTINGS, list(postings)):
            made = Posting(row["source"], row["destination"], row["asset"], amount_of(row["amount"]))
            postings[row["sequence"]].append(made)
        return [JournalEntry(**row, postings=tuple(postings[row["sequence"]])) for row in rows]  # type: ignore[arg-type]

    async def _entries_of(self, strategy_id: str, until: int) -> list[JournalEntry]:
        found: list[JournalEntry] = []
        while True:
            after = found[-1].sequence if found else 0
            rows = await self.connection.fetch(_ENTRIES_OF, strategy_id, after, until, _PAGE)
            found += await self._with_postings(rows)
            if len(rows) < _PAGE:
                return found

    async def _remember(self, memory: Remembered, entries: Sequence[JournalEntry]) -> None:
        """Read what the entries touch and memory does not have."""
        wanted = {entry.strategy_id for entry in entries if entry.strategy_id} - memory.strategies.keys()
        if wanted:
            rows = await self.connection.fetch(_STRATEGIES, list(wanted))
            for results in await self._results_of(rows, list(Method)):
                memory.strategies[results.strategy_id] = results
        await self._remember_balances(memory, {key for entry in entries for key in _keys(entry)})
        venues = {entry.venue for entry in entries} - memory.clocks.keys()
        if venues:
            clocks = await self.connection.fetch("SELECT * FROM clocks WHERE venue = ANY($1)", list(venues))
            memory.clocks.update({row["venue"]: row["market_time"] for row in clocks})

    async def _remember_balances(self, memory: Remembered, keys: Collection[Key]) -> None:
        unknown = [key for key in keys if key not in memory.balances]
        if unknown:
            accounts, assets = [account for account, _ in unknown], [asset for _, asset in unknown]
            for row in await self.connection.fetch(_BALANCES, accounts, assets):
                memory.balances[row["account"], row["asset"]] = amount_of(row["amount"])

    async def _results_of(self, rows: Sequence[Mapping[str, str]], methods: Sequence[Method]) -> list[StrategyResults]:
        ids = [row["strategy_id"] for row in rows]
        lots: dict[str, list[Mapping[str, object]]] = {strategy_id: [] for strategy_id in ids}
        if ids:
            for lot in await self.connection.fetch(_LOTS, ids, [str(method) for method in methods]):
                lots[lot["strategy_id"]].append(lot)
        return [results_from(row, lots[row["strategy_id"]], methods) for row in rows]

    async def _write(self, done: Pass) -> None:
        rows = [(one.account, one.asset, one.at, one.sequence, one.amount) for one in done.balances]
        await self._copy("balances", BALANCE_COLUMNS, rows)
        clocks = done.memory.clocks
        await self.connection.execute(_UPSERT_CLOCKS, list(clocks), list(clocks.values()))
        if not done.changed:
            return
        if done.anew:
            for table in ("lots", "closings", "flows"):
                await self.connection.execute(f"DELETE FROM {table} WHERE strategy_id = ANY($1)", list(done.anew))  # noqa: S608
        changed = done.changed.values()
        await self._write_lots(changed)
        closings = [closing_row(one.strategy_id, closing) for one in changed for closing in one.closings]
        await self._copy("closings", CLOSING_COLUMNS, closings)
        flows = [flow_row(one.strategy_id, flow) for one in changed for flow in one.flows]
        await self._copy("flows", FLOW_COLUMNS, flows)
        await self.connection.execute(
            _UPSERT_STRATEGIES,
            list(done.changed),
            [one.venue for one in changed],
            [bool(one.holdings) for one in changed],
            [state_text(one) for one in changed],
        )
        for results in changed:
            results.closings.clear()
            results.flows.clear()

    async def _write_lots(self, changed: Iterable[StrategyResults]) -> None:
        touched, kept = [], []
        for results in changed:
            for (method, asset), book in results.lots.items():
                for number in sorted(book.touched):
                    touched.append((results.strategy_id, str(method), asset, number))
                    if lot := book.lots.get(number):
                        kept.append(lot_row(results.strategy_id, asset, method, lot))
                book.touched.clear()
        if touched:
            await self.connection.execute(_DELETE_LOTS, *map(list, zip(*touched, strict=True)))
            await self._copy("lots", LOT_COLUMNS, kept)

    async def _copy(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        if rows:
            await self.connection.copy_records_to_table(table, schema_name=self.schema, columns=columns, records=rows)


async def record_mark(connection: Connection, venue: str, sequence: int, heard: PricesHeard, *, regular: bool) -> int:
    """Keep prices that hold for the entries after ``sequence``; returns the mark's id."""
    return int(
        await connection.fetchval(
            "INSERT INTO ledger.marks (venue, sequence, regular, market_time, prices) VALUES ($1, $2, $3, $4, $5) "
            "RETURNING mark_id",
            venue,
            sequence,
            regular,
            heard.market_time,
            amounts_text(heard.bids),
        )
    )


def _keys(entry: JournalEntry) -> Iterable[Key]:
    for posting in entry.postings:
        yield posting.source, posting.asset
        yield posting.destination, posting.asset
