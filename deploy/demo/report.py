"""The report of a demo: what happened, and whether the books hold, checked from outside the services."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich.markup import escape

from deploy.demo.lockstep import RowsPassed
from deploy.demo.postgres_books import BooksFound, check_run
from deploy.demo.postgres_report import Activity, read_activity
from deploy.demo.postgres_trades import read_trades
from deploy.demo.scenario import VENUE
from deploy.demo.session import DemoSession
from deploy.demo.venue_account import read_account
from deploy.embedded.nats_server import USER as NATS_USER
from deploy.embedded.stack import Stack
from shared.contracts import subjects
from shared.contracts.evaluations import DecisionRecorded
from shared.contracts.wire import Message, Meta
from shared.core.drift import shown
from shared.core.money import plain
from shared.core.reasons import ON_THE_WAY, Reason, reason_of
from shared.messaging.broker import make_broker
from shared.messaging.following import Follower

_REBALANCED = {"completed", "partial", "expired"}
_STREAM_READ_WITHIN_S = 120.0
_BY_SPEED = ON_THE_WAY | {Reason.STALE_PRICE}


@dataclass(frozen=True, slots=True)
class Report:
    """The content of the report, ready for JSON."""

    content: dict[str, Any]

    def as_json(self) -> str:
        """Indented JSON text."""
        return json.dumps(self.content, indent=2, default=str) + "\n"

    @property
    def is_sound(self) -> bool:
        """Whether the books balance, equal the venue, and no order's fate is unclear."""
        books = self.content["ledger"]
        return bool(books["balanced"] and books["equals_venue"] and self.content["orders"]["unknown"] == 0)


async def make_report(stack: Stack, session: DemoSession, began: float, rows: RowsPassed | None = None) -> Report:
    """Gather everything; the market must stand still and everything be settled. ``rows``: passed in lockstep."""
    activity = await read_activity(stack.postgres_dsn)
    at_venue = await read_account(stack.ports.exchange_url, stack.secrets.venue_api_key, stack.secrets.venue_api_secret)
    books = await check_run(stack.postgres_dsn, VENUE, at_venue)
    decisions = await read_decisions(stack)
    content = _content(stack, session, activity, books, decisions, round(time.monotonic() - began, 2))
    if rows is not None:
        content["lockstep"] = asdict(rows)
        trades = await read_trades(stack.postgres_dsn)
        content["strategies"] = [one | {"plans": trades.get(one["id"], [])} for one in content["strategies"]]
    return Report(content)


async def read_decisions(stack: Stack) -> Counter[str]:
    """Decisions by reason, summed over the whole EVALUATIONS stream.

    In lockstep each counts once per strategy and market time, and those that only say that something is on its way do
    not: how often they are seen is a matter of who was faster.
    """
    counts: Counter[str] = Counter()
    counted: set[tuple[str, datetime, str]] = set()

    def count(_: str, message: Message, __: Meta) -> None:
        if not isinstance(message, DecisionRecorded):
            return
        reason, times = reason_of(message.code)[0], message.count
        if stack.options.lockstep:
            key = (message.strategy_id, message.last_at, message.code)
            times = int(reason not in _BY_SPEED and key not in counted)
            counted.add(key)
        if times:
            counts[reason.value] += times

    broker = make_broker(
        f"nats://127.0.0.1:{stack.ports.nats}", "report", user=NATS_USER, password=stack.secrets.nats_password
    )
    await broker.start()
    follower = Follower(broker, "EVALUATIONS", [subjects.EVALUATIONS_ALL], count, start="all")
    reading = asyncio.create_task(follower.run())
    try:
        await asyncio.wait_for(follower.caught_up.wait(), _STREAM_READ_WITHIN_S)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await broker.stop()
    return counts


def _content(
    stack: Stack,
    session: DemoSession,
    activity: Activity,
    books: BooksFound,
    decisions: Counter[str],
    wall_s: float,
) -> dict[str, Any]:
    market = session.seen.market
    orders = activity.orders
    memory = stack.rss_mib()
    return {
        "prices": {
            "source": market.source if market else "",
            "ticks": market.ticks if market else 0,
            "first": market.first_time if market else "",
            "last": market.market_time if market else "",
        },
        "strategies": [_strategy(one, activity) for one in session.seen.strategies],
        "not_started": session.seen.waiting,
        "decisions": dict(sorted(decisions.items())),
        "plans": activity.plans,
        "orders": {
            "sent": sum(count for state, count in orders.items() if state not in {"intended", "withheld", "absent"}),
            "filled": orders.get("filled", 0),
            "partially_filled": orders.get("partially_filled", 0),
            "unfilled": orders.get("unfilled", 0),
            "rejected": orders.get("rejected", 0),
            "unknown": orders.get("unknown", 0),
            "unknown_resolved": activity.unknown_resolved,
        },
        "fills": activity.fills,
        "ledger": {
            "transactions": books.transactions,
            "postings": books.postings,
            "balanced": books.balanced,
            "equals_venue": books.equals_venue,
            "differences": list(books.differences),
        },
        "latency_ms": {
            "tick_to_plan": asdict(activity.tick_to_plan),
            "plan_to_filled": asdict(activity.plan_to_filled),
            "fill_to_posted": asdict(activity.fill_to_posted),
        },
        "services": {
            name: {"restarts": restarts, "rss_mib": memory.get(name, 0)} for name, restarts in stack.restarts.items()
        },
        "wall_s": wall_s,
    }


def _strategy(strategy: dict[str, Any], activity: Activity) -> dict[str, Any]:
    mine = [one for one in activity.closed if one.strategy_id == strategy["id"] and one.kind == "rebalance"]
    off_target = [one for one in mine if one.outcome in _REBALANCED - {"completed"}]
    return {
        "id": strategy["id"],
        "name": strategy["name"],
        "status": strategy["status"],
        "value": strategy["value"],
        "contributed": strategy["contributed"],
        "profit_pct": strategy["profit_pct"],
        "weights": {
            one["asset"]: {"target": one["target_pct"], "actual": one["actual_pct"]} for one in strategy["assets"]
        },
        "rebalances": sum(one.plans for one in mine if one.outcome in _REBALANCED),
        "rebalances_off_target": sum(one.plans for one in off_target),
        "off_target_reasons": sorted({detail for one in off_target for detail in one.details}),
        "worst_drift_after_rebalance": plain(
            shown(max((Decimal(one.worst_drift) for one in mine), default=Decimal(0)))
        ),
    }


def summary_of(report: Report) -> str:
    """A few lines for people (rich markup), which fit 80 columns."""
    content = report.content
    prices, books, orders = content["prices"], content["ledger"], content["orders"]
    first, last = (str(prices[name])[:16].replace("T", " ") for name in ("first", "last"))
    lines = [
        f"[bold]{escape(prices['source'])}[/bold]",
        f"  {first} to {last} market time, {prices['ticks']:,} ticks, {content['wall_s']:.0f} s",
        *_strategy_lines(content["strategies"]),
        *(f"  not started, assets never listed: {escape(one)}" for one in content["not_started"]),
        f"  {_counted(content['plans'], 'plan')}, {_counted(orders['sent'], 'order')} "
        f"({orders['filled']} filled, {orders['unknown']} unknown), {_counted(content['fills'], 'fill')}",
    ]
    if passed := content.get("lockstep"):
        quiet, quiet_s = passed["rows"] - passed["traded"], passed["seconds"] - passed["seconds_trading"]
        lines.append(
            f"  in lockstep: {passed['traded']:,} rows with trades in {passed['seconds_trading']:.1f} s, "
            f"{quiet:,} without in {quiet_s:.1f} s"
        )
    good = books["balanced"] and books["equals_venue"]
    verdict = "[green]balanced, equal to the venue[/green]" if good else "[red]NOT RIGHT[/red]"
    lines.append(f"  books: {books['transactions']:,} transactions, {books['postings']:,} postings: {verdict}")
    return "\n".join([*lines, *(f"    [red]{escape(difference)}[/red]" for difference in books["differences"])])


def _strategy_lines(strategies: Sequence[dict[str, Any]]) -> list[str]:
    width = max((len(one["name"]) for one in strategies), default=0)
    values = [f"{Decimal(one['value'] or 0):,.2f}" for one in strategies]
    lines = []
    for one, value in zip(strategies, values, strict=True):
        profit = Decimal(one["profit_pct"] or 0)
        colour = "green" if profit >= 0 else "red"
        lines.append(
            f"  {escape(one['name'].ljust(width))}  {one['status']}  {value:>{max(map(len, values))}} USDT  "
            f"[{colour}]{profit:+7.2f} %[/{colour}]  {_counted(one['rebalances'], 'rebalance')}"
        )
    if any(one["rebalances"] for one in strategies):
        furthest = max(Decimal(one["worst_drift_after_rebalance"]) for one in strategies)
        lines.append(f"  after a rebalance no weight was further than {furthest:.3f} points from its target")
    return lines


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
