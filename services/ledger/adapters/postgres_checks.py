"""Checks the books from outside: everything is computed again from the postings, nothing is believed.

Reads one snapshot of the database, read-only, and shares no code with the writer.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

import asyncpg

_COUNTS = """
SELECT (SELECT count(*) FROM ledger.transactions) AS transactions, (SELECT count(*) FROM ledger.postings) AS postings
"""

# Every withdrawal with what was asked for (amount or percent), what was held of its asset and the value of all that was
# held before it, what was paid and the worth of that: from the postings and the prices it came with.
_WITHDRAWALS = """
        WITH RECURSIVE withdrawals AS MATERIALIZED (
            SELECT t.sequence, t.transaction_id, r.asset, r.amount, r.percent, before.held, before.value, before.price,
                   paid.amount AS paid, paid.amount * before.price AS worth
            FROM ledger.transactions t
            CROSS JOIN LATERAL (
                SELECT t.request ->> 'asset' AS asset, (t.request ->> 'amount')::numeric AS amount,
                       (t.request ->> 'percent')::numeric AS percent, 'strategy:' || t.strategy_id AS account
            ) r
            CROSS JOIN LATERAL (
                SELECT sum(amount * price) AS value, sum(amount) FILTER (WHERE h.asset = r.asset) AS held,
                       max(price) FILTER (WHERE h.asset = r.asset) AS price
                FROM (SELECT p.asset, sum(CASE p.source WHEN r.account THEN -p.amount ELSE p.amount END) AS amount
                      FROM ledger.transactions u JOIN ledger.postings p USING (sequence)
                      WHERE u.strategy_id = t.strategy_id AND u.sequence < t.sequence
                        AND r.account IN (p.source, p.destination)
                      GROUP BY p.asset HAVING sum(CASE p.source WHEN r.account THEN -p.amount ELSE p.amount END) <> 0) h
                CROSS JOIN LATERAL (
                    SELECT CASE h.asset WHEN t.request ->> 'quote' THEN 1
                           ELSE (t.request -> 'prices' ->> h.asset)::numeric END AS price
                ) priced
            ) before
            CROSS JOIN LATERAL (
                SELECT sum(p.amount) FILTER (WHERE p.asset = r.asset AND p.source = r.account
                                             AND p.destination = 'wallet:' || t.venue) AS amount
                FROM ledger.postings p WHERE p.sequence = t.sequence
            ) paid
            WHERE t.kind = 'withdraw'
        )"""

# Every difference as one line of text; no rows means that the books are right. "{withdrawals}" begins with those.
_DIFFERENCES = {
    "journal": """
        SELECT format('the journal has gaps: %s..%s are %s entries', min(sequence), max(sequence), count(*))
        FROM ledger.transactions HAVING count(*) > 0 AND (min(sequence) <> 1 OR max(sequence) <> count(*))
        UNION ALL
        SELECT format('the journal ends at %s, its head says %s', coalesce(max(t.sequence), 0), max(h.sequence))
        FROM ledger.journal_head h LEFT JOIN ledger.transactions t ON true
        HAVING coalesce(max(t.sequence), 0) IS DISTINCT FROM max(h.sequence)
    """,
    "postings": """
        SELECT format('transaction %s (%s) has no postings', sequence, transaction_id) FROM ledger.transactions t
        WHERE NOT EXISTS (SELECT FROM ledger.postings p WHERE p.sequence = t.sequence)
        UNION ALL
        SELECT format('posting %s.%s has no transaction', sequence, line) FROM ledger.postings p
        WHERE NOT EXISTS (SELECT FROM ledger.transactions t WHERE t.sequence = p.sequence)
        UNION ALL
        SELECT format('posting %s.%s moves %s %s from %s to %s', sequence, line, amount, asset, source, destination)
        FROM ledger.postings WHERE source = destination OR NOT (amount > 0 AND amount < 'Infinity')
    """,
    "balances": """
        WITH moves AS (
            SELECT source AS account, asset, -amount AS amount FROM ledger.postings
            UNION ALL SELECT destination, asset, amount FROM ledger.postings
        ), computed AS (SELECT account, asset, sum(amount) AS amount FROM moves GROUP BY account, asset)
        SELECT format('%s: postings give %s %s, balance says %s', account, coalesce(c.amount, 0), asset,
                      coalesce(b.amount, 0))
        FROM computed c FULL JOIN ledger.balances b USING (account, asset)
        WHERE coalesce(c.amount, 0) <> coalesce(b.amount, 0)
        UNION ALL
        SELECT format('%s holds %s %s: below zero', account, amount, asset) FROM computed
        WHERE amount < 0 AND account NOT LIKE 'venue:%' AND account NOT LIKE 'suspense:%'
        UNION ALL
        SELECT format('%s: balances sum to %s, not 0', asset, sum(amount)) FROM ledger.balances
        GROUP BY asset HAVING sum(amount) <> 0
    """,
    "strategies": """{withdrawals}, events AS (
            SELECT t.strategy_id, t.sequence, t.kind, w.value, w.worth,
                   CASE t.kind WHEN 'fund' THEN (t.request ->> 'value_usdt')::numeric ELSE 0 END AS put_in,
                   row_number() OVER (PARTITION BY t.strategy_id ORDER BY t.sequence) AS number
            FROM ledger.transactions t LEFT JOIN withdrawals w USING (sequence)
            WHERE t.strategy_id <> '' AND t.kind IN ('fund', 'withdraw', 'release')
        ), contributions AS (
            SELECT strategy_id, number, put_in AS contributed FROM events WHERE number = 1
            UNION ALL
            SELECT e.strategy_id, e.number, CASE e.kind
                       WHEN 'fund' THEN c.contributed + e.put_in
                       WHEN 'release' THEN 0
                       ELSE 0.000000000000000001
                            * (div(c.contributed * (e.value - e.worth) * 1e18, nullif(e.value, 0))
                               + (mod(c.contributed * (e.value - e.worth) * 1e18, nullif(e.value, 0)) > 0)::integer)
                   END
            FROM contributions c JOIN events e ON e.strategy_id = c.strategy_id AND e.number = c.number + 1
        ), money AS (
            SELECT e.strategy_id, sum(e.put_in) AS contributed_in, coalesce(sum(trunc(e.worth, 18)), 0) AS withdrawn,
                   (array_agg(c.contributed ORDER BY number DESC))[1] AS contributed
            FROM events e JOIN contributions c USING (strategy_id, number) GROUP BY e.strategy_id
        ), computed AS (
            SELECT strategy_id, min(venue) AS venue, count(*) AS version,
                   count(*) FILTER (WHERE kind = 'fill') AS fills_posted
            FROM ledger.transactions WHERE strategy_id <> '' GROUP BY strategy_id
        ), figures AS (
            SELECT strategy_id,
                   format('%s version %s fills %s contributed %s of %s withdrawn %s', c.venue, c.version,
                          c.fills_posted, trim_scale(coalesce(m.contributed, 0)),
                          trim_scale(coalesce(m.contributed_in, 0)), trim_scale(coalesce(m.withdrawn, 0))) AS computed,
                   format('%s version %s fills %s contributed %s of %s withdrawn %s', s.venue, s.version,
                          s.fills_posted, trim_scale(s.contributed), trim_scale(s.contributed_in),
                          trim_scale(s.withdrawn)) AS told
            FROM computed c LEFT JOIN money m USING (strategy_id) FULL JOIN ledger.strategies s USING (strategy_id)
        )
        SELECT format('strategy %s: the journal gives %s; the table says %s', strategy_id, computed, told)
        FROM figures WHERE computed <> told
    """,
    "withdrawals": """{withdrawals}
        SELECT format('withdrawal %s paid %s %s, not %s', transaction_id, trim_scale(paid), asset,
                      trim_scale(least(held, wanted)))
        FROM (SELECT *, coalesce(amount, 0.000000000000000001 * div(value * percent * 1e18, 100 * price)) AS wanted
              FROM withdrawals) w
        WHERE paid IS DISTINCT FROM least(held, wanted)
    """,
    "fees": """
        WITH posted AS (
            SELECT 'strategy:' || t.strategy_id AS source, p.asset, sum(p.amount) AS amount
            FROM ledger.postings p JOIN ledger.transactions t USING (sequence)
            WHERE p.destination LIKE 'fees:%' GROUP BY t.strategy_id, p.asset
        ), told AS (
            SELECT 'strategy:' || strategy_id AS source, f.key AS asset, f.value::numeric AS amount
            FROM ledger.strategies CROSS JOIN jsonb_each_text(fees) f
        )
        SELECT format('%s: postings give fees of %s %s, table says %s', source, coalesce(p.amount, 0), asset,
                      coalesce(t.amount, 0))
        FROM posted p FULL JOIN told t USING (source, asset) WHERE coalesce(p.amount, 0) <> coalesce(t.amount, 0)
    """,
    "transfers": """
        SELECT format('transfer %s is %s, but its entry is missing or another one', transfer_id, state)
        FROM ledger.transfers f LEFT JOIN ledger.transactions t ON t.transaction_id = 'transfer:' || f.transfer_id
        WHERE f.sequence IS DISTINCT FROM t.sequence
           OR (t.sequence IS NOT NULL) <> (state = 'posted' AND amounts <> '{}')
    """,
    "outbox": """
        SELECT format('transaction %s was not announced', sequence) FROM ledger.transactions t
        WHERE NOT EXISTS (SELECT FROM ledger.outbox o WHERE o.message_id = 'transaction.' || t.sequence)
    """,
}  # fmt: skip

_TOTALS = """
WITH moves AS (
    SELECT source AS account, asset, -amount AS amount FROM ledger.postings
    UNION ALL SELECT destination, asset, amount FROM ledger.postings
)
SELECT split_part(account, ':', 1) AS class, asset, sum(amount) AS amount FROM moves GROUP BY 1, 2 ORDER BY 1, 2
"""

# Which venue a strategy's account belongs to is told by the entries that touch it: postings carry no venue themselves.
_HELD = """
WITH moves AS (
    SELECT t.venue, p.source AS account, p.asset, -p.amount AS amount
    FROM ledger.postings p JOIN ledger.transactions t USING (sequence)
    UNION ALL
    SELECT t.venue, p.destination, p.asset, p.amount FROM ledger.postings p JOIN ledger.transactions t USING (sequence)
)
SELECT venue, asset, sum(amount) AS amount FROM moves
WHERE split_part(account, ':', 1) IN ('wallet', 'strategy', 'dust', 'suspense')
GROUP BY venue, asset ORDER BY venue, asset
"""

_LATENCY = """
SELECT count(*) AS fills,
       percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY took_ms) AS ms
FROM (SELECT (extract(epoch FROM posted_at - received_at) * 1000)::float8 AS took_ms
      FROM ledger.transactions WHERE kind = 'fill') fills
"""


@dataclass(frozen=True, slots=True)
class BooksCheck:
    """What the checker found.

    ``totals``: by account class ("wallet", "strategy", "dust", "venue", "fees", "suspense") and asset, from the
    postings. ``held``: by venue and asset, what wallets, strategies, dust and suspense hold together: the venue's
    account must show the same (free + locked). ``differences``: every fault as one line, at most 100 of a kind.
    ``fill_to_posted_ms``: "p50" and "p99" of posted_at - received_at over all fills; empty without fills.
    """

    transactions: int
    postings: int
    totals: Mapping[str, Mapping[str, Decimal]]
    held: Mapping[str, Mapping[str, Decimal]]
    differences: tuple[str, ...]
    fill_to_posted_ms: Mapping[str, float] = field(default_factory=dict)

    @property
    def balanced(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


async def check_books(dsn: str) -> BooksCheck:
    """Check the books in the database at ``dsn``. Raises what asyncpg raises when it cannot be read."""
    connection = await asyncpg.connect(dsn, timeout=10.0)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            counts = await connection.fetchrow(_COUNTS)
            differences: list[str] = []
            for query in _DIFFERENCES.values():
                rows = await connection.fetch(f"{query.replace('{withdrawals}', _WITHDRAWALS)} LIMIT 100")
                differences.extend(row[0] for row in rows)
            totals = await connection.fetch(_TOTALS)
            held = await connection.fetch(_HELD)
            latency = await connection.fetchrow(_LATENCY)
    finally:
        await connection.close()
    return BooksCheck(
        transactions=counts["transactions"],
        postings=counts["postings"],
        totals=_grouped((row["class"], row["asset"], row["amount"]) for row in totals),
        held=_grouped((row["venue"], row["asset"], row["amount"]) for row in held if row["amount"]),
        differences=tuple(differences),
        fill_to_posted_ms=dict(zip(("p50", "p99"), latency["ms"], strict=True)) if latency["fills"] else {},
    )


def _grouped(rows: Iterable[tuple[str, str, Decimal]]) -> dict[str, dict[str, Decimal]]:
    groups: dict[str, dict[str, Decimal]] = {}
    for group, asset, amount in rows:
        groups.setdefault(group, {})[asset] = amount
    return groups
