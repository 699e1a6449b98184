"""Reading as an auditor: everything in order, from wherever one likes, and on from a kept position."""

from contextlib import aclosing
from datetime import UTC, datetime

import nats
import pytest

from deploy.command_line.audit_streams import Wanted, places_of
from deploy.provision import provision_streams
from shared.contracts.wire import headers_of, payload_of
from shared.core.errors import Refused, RetryLater
from shared.messaging.auditing import Audited, Place, auditor_at, follow_all, follow_position, read_all
from tests.guarded_nats import PASSWORD, guarded_nats
from tests.messaging.support import deposit, meta_of
from tests.servers import run_apart

pytestmark = pytest.mark.servers

STREAMS = ["DEPOSITS", "LEDGER", "TRANSFERS"]


@pytest.fixture(scope="module")
def server():
    """With 700 messages in two streams: more than a batch of each."""
    made = guarded_nats()

    async def fill():
        await provision_streams(made.url, user="trimtab", password=PASSWORD)
        client = await nats.connect(made.url, user="trimtab", password=PASSWORD)
        for number in range(700):
            message = deposit(number)
            subject = f"{'deposits' if number % 2 else 'ledger'}.v{number % 3}"
            headers = headers_of(message, meta_of(f"m{number}"))
            await client.jetstream().publish(subject, payload_of(message), headers=headers)
        await client.close()

    run_apart(fill())
    yield made
    made.stop()


@pytest.fixture
async def auditor(server):
    async with auditor_at(server.url, "auditor", PASSWORD) as client:
        yield client


def ids(events: list[Audited]) -> list[int]:
    return [int(event.headers["ce-id"][1:]) for event in events]


async def first(events, count: int, *, acknowledged: int = 0) -> list[Audited]:
    """The first so many; the first ``acknowledged`` of them are dealt with."""
    found = []
    async with aclosing(events) as source:
        async for event in source:
            found.append(event)
            if len(found) <= acknowledged:
                await event.acknowledge()
            if len(found) == count:
                break
    return found


async def test_everything_when_read_is_merged_in_the_order_of_storing(auditor):
    events = [event async for event in read_all(auditor, [Place(stream) for stream in STREAMS])]
    assert ids(events) == list(range(700))
    assert [event.stored_at for event in events] == sorted(event.stored_at for event in events)
    assert {event.stream for event in events} == {"DEPOSITS", "LEDGER"}
    told = events[1].cloud_event()
    assert (told["id"], told["type"], told["natssubject"]) == ("m1", "trimtab.deposit.observed", "deposits.v1")
    assert (told["data"]["deposit_id"], told["stream"], told["sequence"]) == ("d1", "DEPOSITS", 1)


async def test_stream_when_read_from_a_time_or_a_sequence_begins_there(auditor):
    everything = [event async for event in read_all(auditor, [Place("LEDGER")])]
    middle = everything[200]
    since = [event async for event in read_all(auditor, [Place("LEDGER", since=middle.stored_at)])]
    assert ids(since) == ids(everything[200:])
    after = [event async for event in read_all(auditor, [Place("LEDGER", after=340)])]
    assert ids(after) == ids(everything[340:])
    assert [event async for event in read_all(auditor, [Place("LEDGER", after=9999)])] == []


async def test_follower_when_something_new_comes_tells_it(auditor, server):
    places = places_of(["TRANSFERS"], "now")
    client = await nats.connect(server.url, user="trimtab", password=PASSWORD)
    following = follow_all(auditor, places)
    assert places[0].since is not None
    await client.jetstream().publish("transfers.one", b"no json", headers={"ce-id": "m9"})
    (event,) = await first(following, 1)
    assert event.cloud_event()["data"] == "no json"
    await client.close()


async def test_position_when_left_goes_on_after_what_was_dealt_with(auditor):
    shown = await first(follow_position(auditor, ["DEPOSITS"], "auditor-3"), 4, acknowledged=3)
    again = await first(follow_position(auditor, ["DEPOSITS"], "auditor-3"), 3, acknowledged=3)
    assert ids(shown) == [1, 3, 5, 7]
    assert ids(again) == [7, 9, 11]
    assert (shown[0].stream, shown[0].sequence, shown[0].subject) == ("DEPOSITS", 1, "deposits.v1")


async def test_reader_when_it_may_not_read_says_so(server):
    with pytest.raises(RetryLater, match="lets auditor not in"):
        async with auditor_at(server.url, "auditor", "wrong"):
            pass
    async with auditor_at(server.url, "auditor", PASSWORD) as client:
        with pytest.raises(RetryLater, match="WALLETS"):
            assert [event async for event in read_all(client, [Place("WALLETS")])]


@pytest.mark.parametrize(
    ("wanted", "is_wanted"),
    [
        (Wanted(), True),
        (Wanted(subjects=("orders.*.filled",)), True),
        (Wanted(subjects=("orders.>",)), True),
        (Wanted(subjects=(">",)), True),
        (Wanted(subjects=("orders.*",)), False),
        (Wanted(subjects=("orders.one.filled.>",)), False),
        (Wanted(types=("trimtab.order.filled",)), True),
        (Wanted(types=("trimtab.order.changed",)), False),
        (Wanted(strategy_id="one"), True),
        (Wanted(strategy_id="two"), True),
        (Wanted(strategy_id="three"), False),
    ],
)
def test_filter_when_asked_about_an_event_knows(wanted: Wanted, is_wanted: bool):
    headers = {"ce-type": "trimtab.order.filled", "ce-subject": "two"}
    event = Audited("ORDERS", 1, "orders.one.filled", datetime.now(UTC), headers, b'{"strategy_id": "one"}')
    assert wanted(event) is is_wanted


def test_beginning_when_asked_for_is_understood_or_refused():
    assert places_of(["LEDGER"], "all") == [Place("LEDGER")]
    assert places_of(["LEDGER"], "17") == [Place("LEDGER", after=16)]
    at = datetime(2026, 1, 2, 3, tzinfo=UTC)
    assert places_of(["LEDGER", "ORDERS"], "2026-01-02T03:00:00Z") == [
        Place("LEDGER", since=at),
        Place("ORDERS", since=at),
    ]
    for wrong in ("soon", "2026-01-02T03:00:00", ""):
        with pytest.raises(Refused, match="since"):
            places_of(["LEDGER"], wrong)
    with pytest.raises(Refused, match="since"):
        places_of(["LEDGER", "ORDERS"], "17")
