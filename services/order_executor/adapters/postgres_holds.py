"""Holds in the executor's schema: no plans while money is taken out, then only plans that know of it.

A hold is a step down a one-way street: unknown -> requested -> in force -> ended. Each end is remembered for ever, so
neither a repeat nor a command that comes late can take a step back, whenever it comes.
"""

from dataclasses import replace
from typing import Any

import asyncpg

from services.order_executor.adapters.postgres_strategies import create_and_lock, tell_progress
from shared.contracts.plans import FreeStrategy, HoldStrategy
from shared.core.errors import Refused


class HoldStore:
    """Every method is one transaction, under the strategy's lock, with the event that tells of it."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def hold(self, command: HoldStrategy, message_id: str) -> None:
        """Take no plan from now on; told at once when none is open, else with the end of the open one.

        A hold that takes the place of another ends that one. Raises Refused without an id.
        """
        strategy_id, hold_id = command.strategy_id, command.hold_id
        if not hold_id:
            raise Refused.one("hold_id", hold_id, "an id", "names no hold")
        async with self._pool.acquire() as connection, connection.transaction():
            strategy = await create_and_lock(connection, strategy_id, command.venue)
            if strategy.hold_requested == hold_id or await _has_ended(connection, strategy_id, hold_id):
                return
            if strategy.hold_requested:
                await _end(connection, strategy_id, strategy.hold_requested)
            if await _open_plan_id(connection, strategy_id) is None:
                held = replace(strategy, hold_requested=hold_id, held_for=hold_id)
                await tell_progress(connection, held, "held", None, message_id)
            else:
                await connection.execute(
                    "UPDATE executor.strategies SET hold_requested = $2, held_for = '' WHERE strategy_id = $1",
                    strategy_id,
                    hold_id,
                )

    async def free(self, command: FreeStrategy, message_id: str) -> None:
        """End the hold if it is this one, for good, and take only plans made from ``position_version`` or a newer one.

        Also a hold that has not come yet: it will then not hold. A repeat that changes nothing tells nothing.
        Raises Refused without an id or for a version below 0.
        """
        strategy_id, hold_id = command.strategy_id, command.hold_id
        if not hold_id:
            raise Refused.one("hold_id", hold_id, "an id", "names no hold")
        if command.position_version < 0:
            raise Refused.one("position_version", command.position_version, "0 or more", "is no version")
        async with self._pool.acquire() as connection, connection.transaction():
            strategy = await create_and_lock(connection, strategy_id, command.venue)
            has_ended_now = await _end(connection, strategy_id, hold_id)
            required = max(strategy.position_required, command.position_version)
            if not has_ended_now and required == strategy.position_required:
                return
            freed = replace(strategy, position_required=required)
            if strategy.hold_requested == hold_id:
                freed = replace(freed, hold_requested="", held_for="")
            await tell_progress(connection, freed, "freed", await _open_plan_id(connection, strategy_id), message_id)


async def _has_ended(connection: Any, strategy_id: str, hold_id: str) -> bool:
    found = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM executor.ended_holds WHERE strategy_id = $1 AND hold_id = $2)", strategy_id, hold_id
    )
    return bool(found)


async def _end(connection: Any, strategy_id: str, hold_id: str) -> bool:
    """Remember that a hold has ended; False when that was known."""
    ended = await connection.fetchval(
        "INSERT INTO executor.ended_holds (strategy_id, hold_id) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true",
        strategy_id,
        hold_id,
    )
    return bool(ended)


async def _open_plan_id(connection: Any, strategy_id: str) -> str | None:
    found: str | None = await connection.fetchval(
        "SELECT plan_id FROM executor.plans WHERE strategy_id = $1 AND outcome IS NULL", strategy_id
    )
    return found
