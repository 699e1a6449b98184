"""The same for exported events: whatever is changed, taken out, or told twice in two ways is found."""

import copy
import json
import random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.audit.events_file import heads_in, verify_events
from deploy.audit.records import Wrong
from deploy.audit.verification import NOTHING_KNOWN, Findings, KeptHead, Trusted
from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.heads import Signer
from tests.audit.history import make_history, story

pytestmark = pytest.mark.servers

MUTATIONS = 1_500
HEAD = "trimtab.tree_head.signed"

Event = dict[str, Any]


def verify(events: list[Event], trusted: Trusted = NOTHING_KNOWN) -> Findings:
    lines = [json.dumps(event).encode() for event in events]
    return verify_events(lines, list(heads_in(lines)), trusted)


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


async def test_event_when_it_is_of_before_the_log_says_where_to_look(events: list[Event]) -> None:
    at = next(number for number, event in enumerate(events) if event["type"] == "trimtab.transaction.posted")
    new = (
        "leaf_version",
        "leaf_hash",
        "received_at",
        "message_id",
        "correlation_id",
        "digest",
        "request_type",
        "request",
    )
    old = {name: value for name, value in events[at]["data"].items() if name not in new}
    findings = verify([*events[:at], {**events[at], "data": old}, *events[at + 1 :]])
    assert findings.wrong[0].startswith("entry 1: its event is of before the log")
