"""Which assets strategies trade together, out of their newest plans: what direct pairs are listed for at a start."""

import asyncpg

_TOGETHER = """
SELECT DISTINCT ARRAY(SELECT line ->> 'asset' FROM jsonb_array_elements(p.body -> 'lines') line ORDER BY 1) AS assets
FROM (
    SELECT last_closed_plan_id AS plan_id FROM executor.strategies WHERE venue = $1 AND NOT sealed
    UNION SELECT o.plan_id FROM executor.plans o JOIN executor.strategies s USING (strategy_id)
    WHERE s.venue = $1 AND o.outcome IS NULL
) newest JOIN executor.plans p USING (plan_id)
"""


async def traded_together(pool: "asyncpg.Pool[asyncpg.Record]", venue: str) -> list[tuple[str, ...]]:
    """The assets of the newest plan, and of the open one, of each strategy of the venue that is not sealed."""
    return [tuple(row["assets"]) for row in await pool.fetch(_TOGETHER, venue)]
