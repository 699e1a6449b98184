"""What the messaging tests share: polling, sample messages, a broker that records the ends it asked for."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal

import nats

from shared.contracts.catalogue import ConsumerSpec, StreamSpec
from shared.contracts.orders import DepositObserved
from shared.contracts.wire import Meta
from shared.messaging.broker import NatsBroker, make_broker
from shared.messaging.provisioning import consumer_config, stream_config

AT = datetime(2026, 1, 1, tzinfo=UTC)
MIB = 1024 * 1024


def deposit(number: int, venue: str = "paper") -> DepositObserved:
    return DepositObserved(deposit_id=f"d{number}", venue=venue, asset="USDT", amount=Decimal(number), market_time=AT)


def meta_of(message_id: str) -> Meta:
    return Meta(message_id, "tests", AT, "story", "")


def stream(name: str, subject: str, **options: object) -> StreamSpec:
    return StreamSpec(name, (subject,), 64 * MIB, **options)  # type: ignore[arg-type]


DEAD = stream("DEAD_LETTERS", "dead-letters.>")


async def until(condition: Callable[[], bool], *, within_s: float = 60.0, what: str = "condition") -> float:
    """Wait for a condition; returns the seconds it took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > within_s:
            raise AssertionError(f"{what} not met in {within_s} s")
        await asyncio.sleep(0.01)
    return time.monotonic() - began


async def until_true(ask: Callable[[], Awaitable[bool]], *, within_s: float = 60.0, what: str = "condition") -> float:
    began = time.monotonic()
    while not await ask():
        if time.monotonic() - began > within_s:
            raise AssertionError(f"{what} not met in {within_s} s")
        await asyncio.sleep(0.02)
    return time.monotonic() - began


async def declare(url: str, streams: list[StreamSpec], consumers: list[ConsumerSpec]) -> None:
    client = await nats.connect(url)
    jetstream = client.jetstream()
    for spec in streams:
        await jetstream.add_stream(stream_config(spec))
    for consumer in consumers:
        await jetstream.add_consumer(consumer.stream, config=consumer_config(consumer))
    await client.close()


class Ends(list[tuple[int, str]]):
    """The ends a broker asked for, instead of ending the test run."""

    def __call__(self, exit_code: int, reason: str) -> None:
        self.append((exit_code, reason))

    def codes(self) -> list[int]:
        return [code for code, _ in self]


def recording_broker(url: str) -> tuple[NatsBroker, Ends]:
    ends = Ends()
    return make_broker(url, "tests", end=ends), ends
