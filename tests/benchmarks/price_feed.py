"""How many ticks per second one core carries through the feed: ``python -m tests.benchmarks.price_feed [--json]``.

In process, no sockets: parse -> guard -> conflate -> frame bytes, flushed every so many ticks; then once more over a
websocket on loopback, venue and feed sharing one event loop.
"""

import argparse
import asyncio
import json
import random
import time
from collections.abc import Callable
from decimal import Decimal

from services.price_feed.adapters.binance.connection import BinanceDialect
from services.price_feed.adapters.binance.parse import parse
from services.price_feed.adapters.port import ConnectionTimes, Listener
from services.price_feed.adapters.websocket_prices import WebsocketPrices
from services.price_feed.freshness import Freshness
from services.price_feed.price_book import PriceBook
from shared.contracts.frames import encode_frame
from shared.contracts.prices import InstrumentListed
from tests.services.price_feed.scripted_venue import ScriptedVenue, clock, eventually, quote

SYMBOLS = tuple(f"A{number}USDT" for number in range(12))
TICKS_PER_FRAME = 10  # what 5,000 ticks/s make of a frame every 2 ms
T = 1_723_161_255_000


def messages(count: int) -> list[bytes]:
    """A seeded random walk per symbol, as bookTicker messages."""
    rng = random.Random(7)
    prices = dict.fromkeys(SYMBOLS, 10_000_00)
    told = []
    for number in range(count):
        symbol = rng.choice(SYMBOLS)
        prices[symbol] = cents = max(1_000, prices[symbol] + rng.randint(-300, 300))
        bid, ask = (f"{value // 100}.{value % 100:02d}000000" for value in (cents, cents + 1))
        told.append(quote(symbol, bid, ask, number + 1).encode())
    return told


def book() -> PriceBook:
    """A book that follows the symbols and knows the time."""
    one = Decimal(1)
    made = PriceBook("paper", "e1", Freshness(3_000_000_000))
    made.list_instruments(
        InstrumentListed(
            symbol=symbol, base=symbol.removesuffix("USDT"), quote="USDT", lot_step=one, min_quantity=one,
            max_quantity=one, tick_size=one, min_notional=one, taker_fee=Decimal(0),
        )
        for symbol in SYMBOLS
    )  # fmt: skip
    made.receive(parse(clock(SYMBOLS[0], T)), time.time_ns())
    return made


def rate(work: Callable[[], object], count: int, rounds: int = 3) -> float:
    """The best of some rounds, in ticks per second."""
    best = float("inf")
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return count / best


def in_process(told: list[bytes]) -> dict[str, float]:
    """Ticks per second of the stages, and of all of them."""

    def whole() -> None:
        prices = book()
        for number, payload in enumerate(told):
            prices.receive(parse(payload), time.time_ns())
            if number % TICKS_PER_FRAME == 0 and (frame := prices.take_frame()) is not None:
                encode_frame(frame)
        assert prices.accepted == len(told), prices.guard.refused

    def believed() -> None:
        prices = book()
        for event in events:
            prices.receive(event, T)

    events = [parse(payload) for payload in told]
    return {
        "parse": rate(lambda: [parse(payload) for payload in told], len(told)),
        "guard_and_conflate": rate(believed, len(told)),
        "parse_to_frame": rate(whole, len(told)),
    }


async def over_websocket(told: list[bytes]) -> float:
    """Ticks per second from a venue's socket to the frames."""
    prices = book()
    listener = Listener(prices.receive, prices.connected)
    async with ScriptedVenue() as venue:
        feed = WebsocketPrices(BinanceDialect(), venue.url, listener, ConnectionTimes())
        feed.follow(SYMBOLS)
        running = asyncio.create_task(feed.run())
        await eventually(lambda: venue.present and len(venue.present[0].streams) == 2 * len(SYMBOLS))
        socket = venue.present[0].socket
        began = time.perf_counter()
        for payload in told:
            await socket.send(payload, text=True)
            if prices.conflation.waiting and (frame := prices.take_frame()) is not None:
                encode_frame(frame)
        await eventually(lambda: prices.accepted == len(told), timeout_s=60)
        seconds = time.perf_counter() - began
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return len(told) / seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=50_000)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    told = messages(chosen.ticks)
    results = {**in_process(told), "over_websocket": asyncio.run(over_websocket(told))}
    if chosen.json:
        print(json.dumps({"price_feed_ticks_per_s": {name: round(value) for name, value in results.items()}}))
        return
    print(f"price_feed, {chosen.ticks} ticks of {len(SYMBOLS)} symbols, one core, ticks/s:")
    for name, value in results.items():
        print(f"  {name:<20} {value:>12,.0f}")


if __name__ == "__main__":
    main()
