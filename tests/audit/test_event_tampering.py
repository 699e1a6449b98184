"""The same for exported events: whatever is changed, taken out, or told twice in two ways is found."""

import copy
import json
import random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.audit.events_file import entries_in, heads_in, older_in, verify_events
from deploy.audit.records import Wrong
from deploy.audit.verification import NOTHING_KNOWN, Findings, KeptHead, Trusted
from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.heads import Signer
from tests.audit.history import make_history, story
from tests.repository.checks import ROOT
from tests.services.ledger.messages import request_of

pytestmark = pytest.mark.servers

MUTATIONS = 1_500
HEAD = "trimtab.tree_head.signed"

Event = dict[str, Any]


def verify(events: list[Event], trusted: Trusted = NOTHING_KNOWN) -> Findings:
    lines = [json.dumps(event).encode() for event in events]
    return verify_events(lines, list(heads_in(lines)), trusted, older=older_in(lines))


@pytest.fixture
async def events(journal: PostgresJournal) -> list[Event]:
    await make_history(journal, Signer(Ed25519PrivateKey.generate()), story())
    rows = await journal.pool.fetch("SELECT headers ->> 'ce-type' AS type, payload FROM ledger.outbox ORDER BY id")
    return [{"specversion": "1.0", "type": row["type"], "data": json.loads(row["payload"])} for row in rows]


def changed(value: Any, dice: random.Random) -> Any:
    """Another value: somewhere inside, if there is an inside."""
    if isinstance(value, dict) and value:
        name = dice.choice(sorted(value))
        if dice.random() < 0.15:
            return {key: kept for key, kept in value.items() if key != name}
        return {**value, name: changed(value[name], dice)}
    if isinstance(value, list) and value:
        at = dice.randrange(len(value))
        return [*value[:at], *([changed(value[at], dice)] if dice.random() < 0.8 else []), *value[at + 1 :]]
    if isinstance(value, str) and value and dice.random() < 0.7:
        at = dice.randrange(len(value))
        return value[:at] + chr(ord("0") + (ord(value[at]) + 1) % 10) + value[at + 1 :]
    return dice.choice([None, 0, "", "x", [], {}, 7, -1])


async def test_events_when_changed_or_taken_out_are_all_found(events: list[Event]) -> None:
    right = verify(events)
    assert right.wrong == ()
    assert right.covered == right.entries
    newest = right.heads[-1]
    kept = Trusted(newest.origin, frozenset({newest.key_id}), (KeptHead(newest.number, newest.size, newest.root),))
    told = [at for at, event in enumerate(events) if event["type"] in ("trimtab.transaction.posted", HEAD)]
    dice, missed = random.Random(99), []
    for number in range(MUTATIONS):
        mutated = list(events)
        at = dice.choice(told)
        how = dice.choice(("change", "change", "change", "remove", "second"))
        other = {**events[at], "data": changed(copy.deepcopy(events[at]["data"]), dice)}
        if other["data"] == events[at]["data"]:
            continue
        if how == "change":
            mutated[at] = other
        elif how == "remove":
            del mutated[at]
        else:
            mutated.insert(dice.randrange(len(mutated) + 1), other)
        try:
            found = bool(verify(mutated, kept).wrong)
        except Wrong:
            found = True
        if not found:
            missed.append(f"{number}: {how} {events[at]['data']} {other['data']}")
    assert missed == []


async def test_events_when_repeated_and_shuffled_are_the_same(events: list[Event]) -> None:
    right, dice = verify(events), random.Random(3)
    for _ in range(20):
        told = events * dice.randrange(1, 4)
        dice.shuffle(told)
        assert verify(told) == right


V2_FIELDS = (
    "leaf_version",
    "leaf_hash",
    "received_at",
    "message_id",
    "correlation_id",
    "digest",
    "request_type",
    "request",
)


def told_first(event: Event) -> Event:
    """The event as version 1 had it."""
    return {**event, "data": {name: value for name, value in event["data"].items() if name not in V2_FIELDS}}


def entries_of(events: list[Event]) -> list[int]:
    return [number for number, event in enumerate(events) if event["type"] == "trimtab.transaction.posted"]


async def test_event_when_it_was_only_told_before_the_log_says_where_to_look(events: list[Event]) -> None:
    for at in entries_of(events):
        findings = verify([*events[:at], told_first(events[at]), *events[at + 1 :]])
        assert findings.wrong[0].startswith(f"entry {events[at]['data']['sequence']}: its event is of before the log")


async def test_events_when_old_ones_were_told_again_are_right_in_any_order(events: list[Event]) -> None:
    right, dice = verify(events), random.Random(5)
    for _ in range(10):
        old = [told_first(events[at]) for at in entries_of(events) if dice.random() < 0.5]
        told = [*old, *events]
        if dice.random() < 0.5:
            dice.shuffle(told)
        assert verify(told) == right


@pytest.mark.parametrize("first", [True, False])
async def test_event_when_it_says_something_else_than_before_the_log_is_named(events: list[Event], first: bool) -> None:
    at = entries_of(events)[2]
    old = told_first(copy.deepcopy(events[at]))
    old["data"]["postings"][0]["amount"] = "123"
    found = verify([old, *events] if first else [*events, old])
    assert found.first_wrong_entry == events[at]["data"]["sequence"]
    assert "says something else" in found.wrong[0]


async def test_event_when_only_its_version_was_taken_out_is_no_old_one(events: list[Event]) -> None:
    at = entries_of(events)[1]
    data = {name: value for name, value in events[at]["data"].items() if name != "leaf_version"}
    with pytest.raises(Wrong, match="of no version"):
        verify([*events, {**events[at], "data": data}])


async def test_stored_samples_when_told_again_are_audited_by_their_stream() -> None:
    """The samples of both versions, as a stream of an upgraded installation holds them."""
    first, second = (
        json.loads((ROOT / f"tests/contracts/samples/trimtab.transaction.posted{version}.json").read_text())["data"]
        for version in (".v1", ".v2")
    )
    assert first.keys() == set(second) - set(V2_FIELDS)
    old = {"type": "trimtab.transaction.posted", "data": {k: v for k, v in second.items() if k not in V2_FIELDS}}
    whole = {"type": "trimtab.transaction.posted", "data": second}
    lines = [json.dumps(one).encode() for one in ({"type": whole["type"], "data": first}, old, whole)]
    older = older_in(lines)
    assert set(older) == {1, 2}
    (entry,) = entries_in(lines, older)
    assert entry.hash == entry.logged
    assert (entry.sequence, entry.fields["transaction_id"]) == (2, second["transaction_id"])


async def test_stream_when_an_older_ledger_began_it_is_audited_whole(journal: PostgresJournal) -> None:
    """The first entries as the version before the log left them: no leaves, no heads, events of version 1."""
    signer, (first, *later) = Signer(Ed25519PrivateKey.generate()), story()
    await journal.post([request_of(body) for body in first])
    old = await journal.pool.fetch("SELECT id, payload FROM ledger.outbox WHERE subject LIKE 'ledger.%'")
    for row in old:
        body = {name: value for name, value in json.loads(row["payload"]).items() if name not in V2_FIELDS}
        await journal.pool.execute(
            "UPDATE ledger.outbox SET payload = $2 WHERE id = $1", row["id"], json.dumps(body).encode()
        )
    await journal.pool.execute(
        "ALTER TABLE ledger.log_nodes DISABLE TRIGGER USER; DELETE FROM ledger.log_nodes; "
        "UPDATE ledger.journal_head SET tree_size = 0, tree_peaks = ''"
    )
    await make_history(journal, signer, later)

    rows = await journal.pool.fetch("SELECT headers ->> 'ce-type' AS type, payload FROM ledger.outbox ORDER BY id")
    events = [{"specversion": "1.0", "type": row["type"], "data": json.loads(row["payload"])} for row in rows]
    assert len(entries_of(events)) == await journal.pool.fetchval("SELECT count(*) FROM ledger.transactions") + len(old)
    found = verify(events)
    assert (found.wrong, found.covered) == ((), found.entries)
    assert found.entries > len(old) > 0
