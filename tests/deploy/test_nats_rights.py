"""Who may do what on NATS: each user x each subject and JetStream call, tried on a server with the real configuration.

What is allowed is worked out here from what each service does, not from the rights that were generated from it.
"""

import asyncio
import inspect
import json
import re
from collections.abc import AsyncIterator, Iterator

import nats
import pytest
from nats.aio.client import Client

from deploy.documents import documents
from deploy.provision import provision_streams
from shared.contracts import subjects
from shared.contracts.access import AUDITOR, OPERATOR, SERVICES, ServiceAccess, inbox_of, permissions_of
from shared.contracts.catalogue import (
    AUDIT_STREAMS,
    AUDITOR_POSITIONS,
    CONSUMERS,
    NOT_AUDITED,
    STREAMS,
    auditor_consumers,
)
from shared.messaging.broker import make_broker
from shared.messaging.following import Follower
from tests.contracts.test_catalogue import covers
from tests.guarded_nats import PASSWORD, guarded_nats
from tests.servers import EmbeddedNats, run_apart

pytestmark = pytest.mark.servers

CORE = (subjects.PRICES_ALL, subjects.STRATEGY_COMMANDS, subjects.LEDGER_COMMANDS)
CORE += (subjects.EVALUATOR_HEARTBEATS, subjects.EVALUATOR_PROGRESS, subjects.HALT_COMMANDS_ALL)
DURABLES = {spec.name: [one.durable for one in CONSUMERS if one.stream == spec.name] for spec in STREAMS}
STORED = {spec.name: spec.subjects for spec in STREAMS}
USERS = {service.name: service for service in SERVICES}


def concrete(pattern: str) -> str:
    """A subject that matches the pattern."""
    return pattern.replace("*", "one").replace(">", "one.more")


BUILT = [
    value("one", "more") if len(inspect.signature(value).parameters) == 2 else value("one")
    for _, value in inspect.getmembers(subjects, inspect.isfunction)
]
PLAIN = sorted({*BUILT, *map(concrete, CORE), *(concrete(one) for spec in STREAMS for one in spec.subjects)})
STREAM_CALLS = ("INFO", "CREATE", "UPDATE", "DELETE", "PURGE", "MSG.GET", "MSG.DELETE", "SNAPSHOT", "RESTORE")
CONSUMER_CALLS = ("INFO", "DELETE", "MSG.NEXT", "PAUSE", "UNPIN", "CREATE", "DURABLE.CREATE")


def calls_of(stream: str) -> Iterator[str]:
    """Every JetStream call about a stream and its consumers: those of the catalogue, and one made for the moment."""
    yield from (f"$JS.API.STREAM.{call}.{stream}" for call in STREAM_CALLS)
    yield from (f"$JS.API.CONSUMER.{call}.{stream}" for call in ("CREATE", "LIST", "NAMES"))
    yield f"$JS.API.DIRECT.GET.{stream}"
    yield f"$JS.API.DIRECT.GET.{stream}.{concrete(STORED[stream][0])}"
    for consumer in (*DURABLES[stream], *(AUDITOR_POSITIONS if stream in AUDIT_STREAMS else ()), "made"):
        yield from (f"$JS.API.CONSUMER.{call}.{stream}.{consumer}" for call in CONSUMER_CALLS)
        yield f"$JS.ACK.{stream}.{consumer}.1.1.1.1.0"
        yield from (f"$JS.API.CONSUMER.CREATE.{stream}.{consumer}.{one}" for one in (*STORED[stream], "else.where"))


CALLS = ["$JS.API.INFO", "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES", "$JS.API.ACCOUNT.PURGE.TRIMTAB"]
CALLS += ["$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.TRIMTAB.CONNZ", "$KV.any.key", "anything"]
CALLS += [call for spec in STREAMS for call in calls_of(spec.name)]
INBOXES = ["_INBOX.reply", *(f"{inbox_of(name)}.reply" for name in (*USERS, OPERATOR, AUDITOR))]
EVERYTHING = [*PLAIN, *CALLS, *INBOXES]


def may_publish(service: ServiceAccess, subject: str) -> bool:
    """From what the service does."""
    if any(covers(one, subject) for one in (*service.stores, *service.sends, *service.asks)):
        return True
    askers = [other for other in SERVICES if set(other.asks) & {*service.answers, *service.answers_each}]
    if any(subject.startswith(f"{inbox_of(other.name)}.") for other in askers):
        return True
    if any(subject == subjects.dead_letters(spec.stream, spec.durable) for spec in service.works):
        return True
    return subject == "$JS.API.INFO" or may_call(service, subject)


def may_call(service: ServiceAccess, subject: str) -> bool:
    """JetStream: its durable consumers, those it makes for the moment, and reading."""
    for spec in service.works:
        mine = f"{spec.stream}.{spec.durable}"
        if subject in (f"$JS.API.CONSUMER.INFO.{mine}", f"$JS.API.CONSUMER.MSG.NEXT.{mine}"):
            return True
        if subject.startswith(f"$JS.ACK.{mine}."):
            return True
    for follow in service.follows:
        made = f"{follow.stream}.made"
        if subject in (f"$JS.API.CONSUMER.{call}.{made}" for call in ("MSG.NEXT", "DELETE")):
            return True
        if subject in (f"$JS.API.CONSUMER.CREATE.{made}.{follow.subject}", f"$JS.API.STREAM.INFO.{follow.stream}"):
            return True
    if subject in (f"$JS.API.STREAM.MSG.GET.{stream}" for stream in service.looks_up):
        return True
    if subject in (f"$JS.API.STREAM.INFO.{stream}" for stream in service.measures):
        return True
    return any(subject in (f"$JS.API.STREAM.INFO.{one}", f"$JS.API.DIRECT.GET.{one}") for one in service.pages)


def auditor_may_publish(subject: str) -> bool:
    """Reading the audit streams, from anywhere or from its positions."""
    for stream in AUDIT_STREAMS:
        if subject == f"$JS.API.DIRECT.GET.{stream}":
            return True
        for position in AUDITOR_POSITIONS:
            place = f"{stream}.{position}"
            if subject in (f"$JS.API.CONSUMER.INFO.{place}", f"$JS.API.CONSUMER.MSG.NEXT.{place}"):
                return True
            if subject.startswith(f"$JS.ACK.{place}."):
                return True
    return False


class Tried:
    """A connection that keeps what the server has refused it."""

    def __init__(self, client: Client, refused: list[str]) -> None:
        self.client, self._refused = client, refused

    async def refused(self) -> list[str]:
        """What was refused since the last time; the server answers in order, so after a round trip all is known."""
        await self.client.flush()  # its ping may overtake what waits in the client's buffer; the next one does not
        await self.client.flush()
        taken = [*self._refused]
        self._refused.clear()
        return taken


async def connected(server: EmbeddedNats, user: str) -> Tried:
    refused: list[str] = []

    async def keep(error: Exception) -> None:
        found = re.search(r'permissions violation for (publish|subscription) to "(.+?)"', str(error))
        assert found, error
        refused.append(found.group(2))

    client = await nats.connect(server.url, user=user, password=PASSWORD, error_cb=keep, inbox_prefix=inbox_of(user))
    return Tried(client, refused)


@pytest.fixture(scope="module")
def empty_server() -> Iterator[EmbeddedNats]:
    """Without streams: what is allowed does no harm."""
    server = guarded_nats()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedNats]:
    """With the streams and consumers of the catalogue."""
    made = guarded_nats()
    run_apart(provision_streams(made.url, user=OPERATOR, password=PASSWORD))
    yield made
    made.stop()


@pytest.fixture
async def operator(server: EmbeddedNats) -> AsyncIterator[Client]:
    tried = await connected(server, OPERATOR)
    yield tried.client
    await tried.client.close()


@pytest.mark.parametrize("user", [*USERS, AUDITOR])
async def test_user_when_publishing_anything_is_refused_all_but_what_it_does(empty_server: EmbeddedNats, user: str):
    tried = await connected(empty_server, user)
    for subject in EVERYTHING:
        await tried.client.publish(subject, b"")
    refused = await tried.refused()
    await tried.client.close()
    service = USERS.get(user)
    allowed = [
        one for one in EVERYTHING if (may_publish(service, one) if service is not None else auditor_may_publish(one))
    ]
    # The client tells errors in lower case; the subjects stay different from each other in it.
    assert len({one.lower() for one in EVERYTHING}) == len(EVERYTHING)
    assert sorted({one.lower() for one in EVERYTHING} - set(refused)) == sorted(one.lower() for one in allowed)
    assert allowed


@pytest.mark.parametrize("user", [*USERS, AUDITOR])
async def test_user_when_subscribing_to_anything_is_refused_all_but_what_it_hears(
    empty_server: EmbeddedNats, user: str
):
    tried = await connected(empty_server, user)
    patterns = sorted({*PLAIN, *CALLS, *INBOXES, ">", "*", "_INBOX.>", "$JS.>", "$SYS.>", *STORED["ORDERS"]})
    for subject in patterns:
        await tried.client.subscribe(subject)
    refused = set(await tried.refused())
    service = USERS.get(user)
    if service is None:
        heard = ["_INBOX.>", *(one for stream in AUDIT_STREAMS for one in STORED[stream])]
    else:
        heard = [f"{inbox_of(user)}.>", *service.hears]
    allowed = {one.lower() for one in patterns if any(covers(pattern, one) for pattern in heard)}
    assert {one.lower() for one in patterns} - refused == allowed
    # The requests a service answers are heard in the groups of its name only: nobody listens in on them.
    asked = {one for other in SERVICES for one in other.asks}
    for subject in sorted(asked):
        for group in (user, f"{user}.one", "another", "another.one"):
            await tried.client.subscribe(subject, queue=group)
            by_all = service is not None and subject in service.answers and group == user
            by_each = service is not None and subject in service.answers_each and group == f"{user}.one"
            assert (await tried.refused() == []) is (by_all or by_each), (subject, group)
    await tried.client.close()


async def test_auditor_when_reading_has_every_audit_stream_and_its_own_positions(server, operator):
    await operator.jetstream().publish("orders.one.filled", b"{}", headers={"ce-id": "1"})
    auditor = await nats.connect(server.url, user=AUDITOR, password=PASSWORD)
    jetstream = auditor.jetstream()
    assert (await jetstream.get_msg("ORDERS", seq=1, direct=True)).subject == "orders.one.filled"
    for position in AUDITOR_POSITIONS:
        reading = await jetstream.pull_subscribe_bind(position, stream="ORDERS")
        (message,) = await reading.fetch(1, timeout=5)
        assert (message.subject, message.headers["ce-id"]) == ("orders.one.filled", "1")
        await message.ack_sync()
        assert (await operator.jetstream().consumer_info("ORDERS", position)).ack_floor.stream_seq == 1
    await auditor.close()


async def test_auditor_when_naming_somebodys_subject_for_the_reply_reaches_only_its_own_account(server, operator):
    await operator.jetstream().publish("orders.one.changed", b"{}")
    auditor = await nats.connect(server.url, user=AUDITOR, password=PASSWORD)
    before = (await operator.jetstream().stream_info("COMMANDS")).state.last_seq
    into = subjects.transfer_commands("paper")
    await auditor.publish("$JS.API.DIRECT.GET.ORDERS", json.dumps({"seq": 1}).encode(), reply=into)
    await auditor.publish("$JS.API.CONSUMER.MSG.NEXT.ORDERS.auditor-1", b'{"batch": 1, "no_wait": true}', reply=into)
    await auditor.flush()
    # Asked after them on the same connection and answered: the others have been answered as well.
    await auditor.jetstream().get_msg("ORDERS", seq=1, direct=True)
    assert (await operator.jetstream().stream_info("COMMANDS")).state.last_seq == before
    await auditor.close()


async def test_follower_when_it_may_read_a_stream_reads_it_as_its_own_user(server, operator):
    await operator.jetstream().publish("orders.one.changed", b"unreadable")
    ends: list[str] = []
    broker = make_broker(server.url, "gateway", user="gateway", password=PASSWORD, end=lambda _, why: ends.append(why))
    await broker.start()
    follower = Follower(broker, "ORDERS", [subjects.ORDERS_ALL], lambda *_: None, start="all")
    reading = asyncio.create_task(follower.run())
    await asyncio.wait_for(follower.caught_up.wait(), 10)
    reading.cancel()
    await asyncio.wait([reading])
    await broker.stop()
    assert follower.unreadable > 0
    assert ends == []


def test_streams_when_declared_are_either_for_auditors_or_not():
    forgotten = {spec.name for spec in STREAMS} - {*AUDIT_STREAMS, *NOT_AUDITED}
    assert not forgotten, (
        f"say in catalogue.py whether auditors may read {sorted(forgotten)}: AUDIT_STREAMS, NOT_AUDITED"
    )
    assert {*AUDIT_STREAMS} & {*NOT_AUDITED} == set()
    assert {*AUDIT_STREAMS, *NOT_AUDITED} <= {spec.name for spec in STREAMS}
    assert all(bool(auditor_consumers(spec)) is (spec.name in AUDIT_STREAMS) for spec in STREAMS)


@pytest.mark.parametrize("subject", [one for spec in STREAMS for one in spec.subjects if spec.name != "DEAD_LETTERS"])
def test_subject_when_stored_has_a_service_that_may_publish_it(subject: str):
    writers = [one.name for one in SERVICES if any(covers(subject, stored) for stored in one.stores)]
    assert writers, f"no service may publish {subject}: add it to `stores` of the one that does, in access.py"


@pytest.mark.parametrize("spec", CONSUMERS, ids=lambda spec: spec.durable)
def test_consumer_when_declared_belongs_to_one_service(spec):
    workers = [one.name for one in SERVICES if spec in one.works]
    assert len(workers) == 1, f"add {spec.durable} to `works` of the service that handles it, in access.py"


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_service_when_it_makes_consumers_of_a_stream_cannot_write_to_it(service: ServiceAccess):
    # A consumer delivers wherever its maker says: with both, anything could be said in anybody's name.
    writable = {spec.name for spec in STREAMS for one in spec.subjects if any(covers(one, s) for s in service.stores)}
    assert writable & {follow.stream for follow in service.follows} == set()


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_rights_when_generated_name_no_call_that_changes_streams_or_others_consumers(service: ServiceAccess):
    allowed = permissions_of(service).publish
    assert not [
        one for one in allowed if one.startswith("$JS.API.STREAM") and ".INFO." not in one and ".GET." not in one
    ]
    assert not [one for one in allowed if one.startswith(("$JS.API.CONSUMER.DURABLE", "$SYS", ">", "*", "_INBOX.>"))]


@pytest.mark.parametrize("file", documents(), ids=lambda file: file.name)
def test_document_when_generated_again_is_as_checked_in(file):
    assert file.read_text(encoding="utf-8") == documents()[file], "run `just docs`"
