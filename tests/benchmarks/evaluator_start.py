"""A cold start of an evaluator over the real streams: seconds, strategies per second, bytes of memory per strategy.

    uv run python -m tests.benchmarks.evaluator_start [--strategies 100000] [--mix]

For a million, which needs about 5 GB of disk: `--strategies 1000000`. Fills STRATEGIES, POSITIONS and PLAN_RESULTS of a
nats-server of its own with one message per strategy each (5 assets of 200, bands of 3 to 8 points, in balance; with
``--mix`` the rules of ``MIX`` in turn), tells a venue's instruments and prices, then starts an evaluator in a process
of its own and waits until every strategy is watched by a certificate. Cold start: from its start until then. The
memory is what the process has grown by over one that has no strategies; so is its processor time, which says more than
the clock where others use the machine.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from services.strategy_evaluator.app import StrategyEvaluatorApp
from services.strategy_evaluator.settings import Settings
from shared.contracts import subjects
from shared.contracts.books import PositionChanged
from shared.contracts.frames import FrameQuote, PriceFrame, encode_frame
from shared.contracts.plans import PlanProgressed
from shared.contracts.prices import InstrumentListed, InstrumentsListed
from shared.contracts.strategies import AutoInvestProgress, PeakRecorded, StrategyChanged
from shared.contracts.wire import Message, Meta, headers_of, payload_of
from shared.core.strategy import StrategyStatus
from shared.messaging.broker import NatsBroker, make_broker
from shared.messaging.provisioning import provision
from tests.servers import EmbeddedNats

ASSETS, WIDTH = 200, 5
NAMES = [f"A{number}" for number in range(ASSETS)]
CONFIRM_EVERY = 500
FRAME_INTERVAL_S = 0.5
LOOK_INTERVAL_S = 0.25
AT = datetime(2026, 1, 1, tzinfo=UTC)
_LEAST = Decimal("0.00000001")


Kind = Callable[[random.Random, str], dict[str, Any]]
"""Makes a strategy's rules; the name is of one of its targets."""


def _points(rng: random.Random) -> str:
    return str(rng.randint(30, 80) / 10)


def plain_threshold(rng: random.Random, _name: str) -> dict[str, Any]:
    """A threshold in points, the same for every asset."""
    return {"rebalance": {"threshold": _points(rng)}}


def _relative(rng: random.Random, _name: str) -> dict[str, Any]:
    return {"rebalance": {"threshold": {"relative": str(rng.randint(20, 40))}}}


def _hybrid(rng: random.Random, name: str) -> dict[str, Any]:
    band = {"factor": str(rng.randint(20, 40)), "floor": "4", "per_asset": {name: "9"}}
    return {"rebalance": {"threshold": band}}


def _with_levels(rng: random.Random, _name: str) -> dict[str, Any]:
    levels = {"take_profit": str(rng.randint(10, 60)), "stop_loss": str(-rng.randint(5, 30))}
    return {"rebalance": {"threshold": _points(rng)}, **levels}


def _trailing(rng: random.Random, _name: str) -> dict[str, Any]:
    profit = {"percent": str(rng.randint(10, 60)), "trailing": "3"}
    return {"rebalance": {"threshold": _points(rng)}, "take_profit": profit,
            "stop_loss": {"percent": str(-rng.randint(8, 30)), "trailing": True}}  # fmt: skip


def _interval(rng: random.Random, _name: str) -> dict[str, Any]:
    return {"rebalance": {"interval": f"{rng.randint(2, 30)}d"}}


def _interval_or_threshold(rng: random.Random, _name: str) -> dict[str, Any]:
    return {"rebalance": {"interval": "7d", "threshold": _points(rng), "min_drift": "1"}}


def _interval_and_threshold(rng: random.Random, _name: str) -> dict[str, Any]:
    return {"rebalance": {"interval": "15d", "threshold": _points(rng), "when": "all"}}


def _guarded(rng: random.Random, _name: str) -> dict[str, Any]:
    return {"rebalance": {"threshold": _points(rng), "cost_guard": "2", "destination": "halfway"}}


def _holding(rng: random.Random, _name: str) -> dict[str, Any]:
    return {"rebalance": {"hold": True}, "take_profit": str(rng.randint(10, 60))}


def _scheduled(rng: random.Random, _name: str) -> dict[str, Any]:
    schedule = {"every": rng.choice(["friday", "monday", "3d"]), "at": "14:00", "zone": "Europe/Berlin"}
    return {"rebalance": {"threshold": _points(rng)}, "auto_invest": {"amount": "50", "schedule": schedule}}


def _drawdown(rng: random.Random, _name: str) -> dict[str, Any]:
    plan = {"amount": "50", "drawdown": {"loss": str(rng.randint(4, 9)), "min_interval": rng.choice(["12h", "7d"])}}
    return {"rebalance": {"threshold": _points(rng)}, "stop_loss": "-20", "auto_invest": plan}


MIX: tuple[Kind, ...] = (
    *(plain_threshold,) * 5, *(_relative,) * 2, *(_hybrid,) * 2, *(_with_levels,) * 2, _trailing, *(_interval,) * 2,
    _interval_or_threshold, _interval_and_threshold, _guarded, _holding, _scheduled, _drawdown,
)  # fmt: skip
"""Of twenty strategies: every kind of rule, the commonest oftener."""


@dataclass(frozen=True)
class Started:
    """What a start took, as the evaluator's own process measured it."""

    loaded_s: float
    looked_s: float
    cpu_s: float
    looks: int
    boxed: int
    rss_bytes: int


def told_of(
    number: int, rng: random.Random, now: datetime = AT, kind: Kind = plain_threshold
) -> Iterator[tuple[str, Message]]:
    """One strategy's last values: subject and message. ``now``: it has been active for a day."""
    strategy_id = f"st{number:020d}"
    names = rng.sample(NAMES, WIDTH)
    weights = [rng.randint(10, 25) for _ in range(WIDTH - 1)]
    targets = [100 - sum(weights), *weights]
    if targets[0] < 1:
        targets = [20] * WIDTH
    since = now - timedelta(days=1)
    document = {
        "name": f"strategy {number}", "venue": "paper", "funding_asset": "USDT", "amount": "1000",
        "targets": {name: str(target) for name, target in zip(names, targets, strict=True)},
        **kind(rng, names[0]),
    }  # fmt: skip
    investing = {"status": "running", "since": since, "settled_until": now, "cycle": 3, "last_made_at": since}
    trails = "trailing" in str(document)
    yield subjects.strategies(strategy_id), StrategyChanged(
        strategy_id=strategy_id, version=4, change="activated", status=StrategyStatus.ACTIVE, document=document,
        created_at=AT, active_since=since,
        auto_invest=AutoInvestProgress(**investing) if "auto_invest" in document else None,
        peak=PeakRecorded(profit_pct=Decimal("2.4"), contributed=Decimal(990)) if trails else None,
    )  # fmt: skip
    yield subjects.positions(strategy_id), PositionChanged(
        strategy_id=strategy_id, venue="paper", version=7, fills_posted=5, contributed=Decimal(1000), fees_paid={},
        holdings={name: 10 * target + Decimal(rng.randint(1, 10**7)).scaleb(-8)
                  for name, target in zip(names, targets, strict=True)},
    )  # fmt: skip
    yield subjects.plan_results(strategy_id), PlanProgressed(
        strategy_id=strategy_id, venue="paper", sequence=2, change="closed", open_plan_id=None, last_closed=None,
        fills_total=5, sealed=False,
    )  # fmt: skip


async def fill(url: str, count: int, kinds: Sequence[Kind]) -> None:
    """Store every strategy's last values, of these kinds in turn, and the venue's instruments."""
    broker = make_broker(url, "bench-fill")
    await broker.start()
    rng, sent, now = random.Random(5), 0, datetime.now(UTC)
    await _store(broker, subjects.instruments("paper"), _instruments(), confirmed=True)
    for number in range(count):
        for subject, message in told_of(number, rng, now, kinds[number % len(kinds)]):
            sent += 1
            await _store(broker, subject, message, confirmed=sent % CONFIRM_EVERY == 0)
    await broker.client.flush()
    for stream in ("STRATEGIES", "POSITIONS", "PLAN_RESULTS"):
        while (await broker.jetstream.stream_info(stream)).state.messages < count:  # noqa: ASYNC110 - another process
            await asyncio.sleep(LOOK_INTERVAL_S)
    await broker.stop()


async def _store(broker: NatsBroker, subject: str, message: Message, *, confirmed: bool) -> None:
    headers = headers_of(message, Meta(f"{subject}.1", "bench", AT, "c", ""))
    if confirmed:
        await broker.jetstream.publish(subject, payload_of(message), headers=headers)
    else:
        await broker.client.publish(subject, payload_of(message), headers=headers)


def _instruments() -> InstrumentsListed:
    listed = [
        InstrumentListed(
            symbol=f"{name}USDT", base=name, quote="USDT", lot_step=_LEAST, min_quantity=_LEAST,
            max_quantity=Decimal(10**9), tick_size=_LEAST, min_notional=Decimal(5), taker_fee=Decimal("0.001"),
        )
        for name in NAMES
    ]  # fmt: skip
    return InstrumentsListed(venue="paper", quote="USDT", instruments=tuple(listed))


async def quote_for_ever(url: str) -> None:
    """Frames with every asset at 1, until cancelled."""
    broker = make_broker(url, "bench-feed")
    await broker.start()
    sequence = 0
    while True:
        sequence += 1
        now_ns = time.time_ns()
        quotes = tuple(FrameQuote(name, "1", "1.0001", now_ns // 1_000_000, now_ns) for name in NAMES)
        frame = PriceFrame("paper", "e1", sequence, now_ns // 1_000_000, quotes)
        await broker.client.publish(subjects.prices("paper"), encode_frame(frame))
        await asyncio.sleep(FRAME_INTERVAL_S)


def start(url: str, count: int, told: Connection) -> None:
    """A process with one evaluator: tells how long it took until every strategy was looked at."""
    began = time.perf_counter()

    async def run() -> Started:
        app = StrategyEvaluatorApp(Settings(nats_url=url))
        await app.start()
        tasks = [asyncio.ensure_future(part) for part in app.background()]
        while len(app.evaluation.portfolios) < count or app.evaluation.owned_count() < count:  # noqa: ASYNC110 - it has no event for that
            await asyncio.sleep(LOOK_INTERVAL_S)
        loaded_s = time.perf_counter() - began
        while not app.evaluation.is_idle() or app.evaluation.unfinished.by_kind(0):  # noqa: ASYNC110 - nor for that
            await asyncio.sleep(LOOK_INTERVAL_S)
        looked_s = time.perf_counter() - began
        cpu_s = time.process_time()
        rss = _rss_bytes()
        for task in tasks:
            task.cancel()
        return Started(loaded_s, looked_s, cpu_s, app.evaluation.looks, app.evaluation.boxed, rss)

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        told.send(runner.run(run()))
    told.close()
    os._exit(0)


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def started(url: str, count: int) -> Started:
    """Start an evaluator apart, with prices flowing."""
    here, there = multiprocessing.get_context("spawn").Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=start, args=(url, count, there))
    feed = asyncio.ensure_future(quote_for_ever(url))
    process.start()
    result: Started = await asyncio.to_thread(here.recv)
    process.join()
    feed.cancel()
    return result


async def measure(count: int, kinds: Sequence[Kind]) -> tuple[Started, Started]:
    """An evaluator without strategies, and one with so many."""
    server = EmbeddedNats()
    try:
        await provision(server.url)
        await fill(server.url, 0, kinds)
        empty = await started(server.url, 0)
        await fill(server.url, count, kinds)
        return empty, await started(server.url, count)
    finally:
        server.stop()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="Cold start of an evaluator over the real streams.")
    parser.add_argument("--strategies", type=int, default=100_000)
    parser.add_argument("--mix", action="store_true", help="strategies of every rule")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    empty, full = asyncio.run(measure(given.strategies, MIX if given.mix else (plain_threshold,)))
    figures = {
        "strategies": given.strategies,
        "mix": given.mix,
        "loaded_s": round(full.loaded_s, 2),
        "cold_start_s": round(full.looked_s, 2),
        "loaded_per_s": round(given.strategies / full.loaded_s),
        "started_per_s": round(given.strategies / full.looked_s),
        "cpu_s": round(full.cpu_s, 2),
        "looks": full.looks,
        "boxed": full.boxed,
        "bytes_per_strategy": round((full.rss_bytes - empty.rss_bytes) / given.strategies),
    }
    print(
        json.dumps(figures)
        if given.json
        else f"{given.strategies:,} strategies: loaded in {full.loaded_s:.1f} s ({figures['loaded_per_s']:,}/s), "
        f"every one watched {full.looked_s:.1f} s after the start ({figures['started_per_s']:,}/s), "
        f"{full.boxed:,} of them without a look yet; {full.cpu_s:.1f} s of processor time, "
        f"{1e6 * (full.cpu_s - empty.cpu_s) / given.strategies:.1f} us each; "
        f"{figures['bytes_per_strategy']:,} bytes each"
    )


if __name__ == "__main__":
    main()
