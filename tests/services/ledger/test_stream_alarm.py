"""People hear of a stream that fills up: once at each level of each limit, whoever looks and how often."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_alarms import PostgresAlarms
from services.ledger.stream_alarm import StreamAlarm, alarm_of
from shared.contracts.lifecycle import Severity
from shared.core.errors import RetryLater
from shared.messaging.stream_room import REFUSING, StreamRoom

MIB = 2**20


def room(percent: float, limit_bytes: int = 100 * MIB, stream: str = "LEDGER") -> StreamRoom:
    return StreamRoom(stream, 1000, int(limit_bytes * percent / 100), limit_bytes)


@pytest.mark.parametrize(
    ("percent", "level", "severity"),
    [
        (70, "70", Severity.WARNING),
        (84.9, "70", Severity.WARNING),
        (85, "85", Severity.ALERT),
        (99, "95", Severity.ALERT),
    ],
)
def test_alarm_when_a_stream_fills_up_says_how_far(percent: float, level: str, severity: Severity) -> None:
    alarm = alarm_of(room(percent))
    assert alarm is not None
    assert (alarm[1].inputs["percent"], alarm[1].severity) == (level, severity)
    assert "trimtab streams enlarge LEDGER" in alarm[1].text


def test_alarm_when_there_is_room_is_none() -> None:
    assert alarm_of(room(69.9)) is None


@pytest.mark.servers
async def test_alarms_when_looked_at_again_and_again_are_told_once_a_level(journal: PostgresJournal) -> None:
    told = 0

    def on_told() -> None:
        nonlocal told
        told += 1

    percents = iter([10, 70, 75, 86, 99, 99])
    rooms: dict[str, StreamRoom] = {}
    done = asyncio.Event()
    alarms = PostgresAlarms(journal.pool, lambda: datetime.now(UTC), on_told)

    async def measure(stream: str) -> StreamRoom:
        if stream == "ORDERS":
            raise RetryLater("the server is away")
        if stream == REFUSING[0]:
            percent = next(percents, None)
            if percent is None:
                done.set()
                await asyncio.Event().wait()
            else:
                rooms["LEDGER"] = room(percent)
        return rooms["LEDGER"] if stream == "LEDGER" else room(1, stream=stream)

    alarm = StreamAlarm(measure, alarms.tell, interval_s=0)
    looking = asyncio.create_task(alarm.run())
    async with asyncio.timeout(30):
        await done.wait()
    looking.cancel()
    await alarms.tell(*(alarm_of(room(96, 200 * MIB)) or pytest.fail("no alarm")))  # the limit was raised since
    rows = await journal.pool.fetch(
        "SELECT subject, payload FROM ledger.outbox WHERE subject LIKE 'notif%' ORDER BY id"
    )
    inputs = [json.loads(row["payload"])["inputs"] for row in rows]
    assert {row["subject"] for row in rows} == {"notifications.streams"}
    assert [(one["percent"], int(one["limit_bytes"]) // MIB) for one in inputs] == [
        ("70", 100),
        ("85", 100),
        ("95", 100),
        ("95", 200),
    ]
    assert alarm.figures()["LEDGER"] == 99
    assert "ORDERS" not in alarm.figures()
    assert told >= 4
