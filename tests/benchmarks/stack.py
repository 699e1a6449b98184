"""The whole stack under load: ticks per second through feed and evaluator, and the latencies from tick to posted fill.

`python -m tests.benchmarks.stack [--json] [--seconds N]`. Starts the embedded stack once per load (1,000 and 5,000
ticks/s offered by a synthetic market of 12 assets), with strategies whose narrow bands make them trade often. The
reference in the same run is the load itself: offered against seen. Latencies: tick received by the feed -> plan
decided;
plan decided -> last fill received; fill received -> posted. Frame lag: tick received by the feed -> frame in a
subscriber's hands.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from deploy.demo.session import Ending
from deploy.embedded.nats_server import USER as NATS_USER
from deploy.embedded.options import ExchangeOptions
from shared.contracts import subjects
from shared.contracts.frames import decode_frame
from shared.messaging.broker import make_broker
from shared.messaging.following import listen
from tests.end_to_end.running_stack import RunningStack, running_stack

ASSETS = ("BTC", "ETH", "SOL", "ONE", "BNB", "XRP", "ADA", "DOGE", "AVAX", "LINK")
SYMBOLS = 12
LOADS = (1_000, 5_000)


def documents() -> list[dict[str, Any]]:
    """Ten three-asset strategies with bands from 1 to 2 points."""
    return [
        {
            "name": f"bench {number}",
            "venue": "paper",
            "funding_asset": "USDT",
            "amount": "3000",
            "targets": {ASSETS[number]: "40", ASSETS[(number + 3) % 10]: "30", ASSETS[(number + 7) % 10]: "30"},
            "rebalance": {"threshold": str(1 + number / 10)},
        }
        for number in range(10)
    ]


async def measure(load: int, seconds: float, folder: Path) -> dict[str, Any]:
    """One load: what was offered, what came through, and how late."""
    market = ExchangeOptions(seed=11, rows_per_second=load / SYMBOLS, row_step_s=60, start_paused=True)
    async with running_stack(folder, market, documents()) as running:
        seen = await _watch(running, seconds)
        report = await running.report()
    return {
        "offered_ticks_per_s": load,
        **seen,
        "plans": report["plans"],
        "fills": report["fills"],
        "latency_ms": report["latency_ms"],
        "balanced": report["ledger"]["balanced"] and report["ledger"]["equals_venue"],
    }


async def _watch(running: RunningStack, seconds: float) -> dict[str, Any]:
    lags_ms: list[float] = []
    quotes = 0

    def on_frame(data: bytes) -> None:
        nonlocal quotes
        now_ns = time.time_ns()
        frame = decode_frame(data)
        quotes += len(frame.quotes)
        lags_ms.extend((now_ns - quote.received_ns) / 1e6 for quote in frame.quotes)

    stack = running.stack
    broker = make_broker(
        f"nats://127.0.0.1:{stack.ports.nats}", "bench", user=NATS_USER, password=stack.secrets.nats_password
    )
    await broker.start()
    listener = listen(broker, subjects.prices("paper"), on_frame)
    await listener.start()
    before, began = (await running.exchange.market()).ticks, time.monotonic()
    await running.session.run(Ending(exit_after_s=seconds), asyncio.Event())
    took_s = time.monotonic() - began
    ticks = (await running.exchange.market()).ticks - before
    await listener.stop()
    await broker.stop()
    lags_ms.sort()
    return {
        "venue_ticks_per_s": round(ticks / took_s),
        "quotes_in_frames_per_s": round(quotes / took_s),
        "frame_lag_ms": {
            "p50": round(statistics.median(lags_ms), 2),
            "p99": round(lags_ms[int(len(lags_ms) * 0.99)], 2),
        },
    }


def main() -> None:
    """Measure every load and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    results = []
    for load in LOADS:
        with tempfile.TemporaryDirectory() as folder:
            results.append(asyncio.run(measure(load, arguments.seconds, Path(folder))))
    if arguments.json:
        print(json.dumps({"stack": results}))
        return
    for result in results:
        latency = result["latency_ms"]
        print(
            f"offered {result['offered_ticks_per_s']} ticks/s: venue sent {result['venue_ticks_per_s']}, "
            f"frames carried {result['quotes_in_frames_per_s']} "
            f"(ratio {result['quotes_in_frames_per_s'] / max(1, result['venue_ticks_per_s']):.2f}), "
            f"frame lag p50 {result['frame_lag_ms']['p50']} p99 {result['frame_lag_ms']['p99']} ms"
        )
        print(
            f"  {result['plans']} plans, {result['fills']} fills, balanced and equal to the venue: {result['balanced']}"
        )
        for name, figures in latency.items():
            print(f"  {name}: p50 {figures['p50']} ms, p99 {figures['p99']} ms")


if __name__ == "__main__":
    main()
