"""The catalogue makes sense: every subject in one stream, every consumer inside its stream, every durable once."""

import inspect
from collections import Counter

import pytest

from shared.contracts import catalogue, subjects
from shared.contracts.catalogue import CONSUMERS, STREAMS, ConsumerSpec

CORE_ONLY = {"PRICES_ALL", "STRATEGY_COMMANDS", "EVALUATOR_HEARTBEATS", "EVALUATOR_PROGRESS", "LEDGER_COMMANDS"}
CORE_ONLY |= {"HALT_COMMANDS_ALL", "AUDIT_COMMANDS"}
"""Subjects that are not stored: they are worth something only now."""

PATTERNS = {
    name: value
    for name, value in vars(subjects).items()
    if name.isupper() and isinstance(value, str) and name not in CORE_ONLY
}
BUILDERS = {
    name: value("a", "b") if len(inspect.signature(value).parameters) == 2 else value("a")
    for name, value in inspect.getmembers(subjects, inspect.isfunction)
    if name not in {"prices", "halt_commands"}
}


def covers(outer: str, inner: str) -> bool:
    """Whether every subject that matches ``inner`` matches ``outer``."""
    wide, narrow = outer.split("."), inner.split(".")
    for index, token in enumerate(wide):
        if token == ">":
            return len(narrow) > index
        if index >= len(narrow) or narrow[index] == ">":
            return False
        if token not in ("*", narrow[index]):
            return False
    return len(wide) == len(narrow)


def overlaps(one: str, other: str) -> bool:
    """Whether a subject exists that matches both."""
    left, right = one.split("."), other.split(".")
    for a, b in zip(left, right, strict=False):
        if ">" in (a, b):
            return True
        if a != b and "*" not in (a, b):
            return False
    return len(left) == len(right)


def streams_of(subject: str) -> list[str]:
    return [spec.name for spec in STREAMS if any(covers(pattern, subject) for pattern in spec.subjects)]


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS.keys())
def test_pattern_when_stored_belongs_to_exactly_one_stream(pattern):
    assert len(streams_of(pattern)) == 1


@pytest.mark.parametrize("subject", BUILDERS.values(), ids=BUILDERS.keys())
def test_subject_when_built_belongs_to_exactly_one_stream(subject):
    assert len(streams_of(subject)) == 1


@pytest.mark.parametrize(
    "subject",
    [
        subjects.prices("a"),
        subjects.halt_commands("a"),
        subjects.STRATEGY_COMMANDS,
        subjects.AUDIT_COMMANDS,
        subjects.EVALUATOR_HEARTBEATS,
        subjects.EVALUATOR_PROGRESS,
    ],
)
def test_subject_when_core_only_belongs_to_no_stream(subject):
    assert streams_of(subject) == []


def test_streams_when_compared_do_not_overlap():
    patterns = [pattern for spec in STREAMS for pattern in spec.subjects]
    clashes = [
        (one, other) for index, one in enumerate(patterns) for other in patterns[index + 1 :] if overlaps(one, other)
    ]
    assert clashes == []


def test_names_when_counted_are_unique():
    assert [name for name, n in Counter(spec.name for spec in STREAMS).items() if n > 1] == []
    assert [name for name, n in Counter(spec.durable for spec in CONSUMERS).items() if n > 1] == []


def test_consumers_when_listed_are_all_of_the_module():
    defined = {value for value in vars(catalogue).values() if isinstance(value, ConsumerSpec)}
    assert defined == set(CONSUMERS)


@pytest.mark.parametrize("spec", CONSUMERS, ids=lambda spec: spec.durable)
def test_consumer_when_checked_filters_inside_its_stream(spec):
    (stream,) = [stream for stream in STREAMS if stream.name == spec.stream]
    assert spec.filter_subjects
    for subject in spec.filter_subjects:
        assert any(covers(pattern, subject) for pattern in stream.subjects)


@pytest.mark.parametrize("spec", CONSUMERS, ids=lambda spec: spec.durable)
def test_consumer_when_checked_has_sane_limits(spec):
    assert spec.ack_wait_s >= 1
    assert spec.max_deliver >= 3
    assert spec.retry_after_s > 0
    assert spec.max_ack_pending >= 1
    assert not set(". *>") & set(spec.durable)


def test_consumers_when_on_one_stream_do_not_share_a_message_within_a_service():
    for one in CONSUMERS:
        for other in CONSUMERS:
            same_service = one.durable.split("-")[0] == other.durable.split("-")[0]
            if one is not other and one.stream == other.stream and same_service:
                assert not any(overlaps(a, b) for a in one.filter_subjects for b in other.filter_subjects)


@pytest.mark.parametrize("spec", STREAMS, ids=lambda spec: spec.name)
def test_stream_when_it_keeps_history_refuses_rather_than_forgets(spec):
    if spec.last_value_only:
        assert not spec.discard_new, "a last value must always be replaceable"
    elif not spec.max_age_s:
        assert spec.discard_new
        assert spec.deny_delete
    assert spec.max_bytes > 0
    assert spec.duplicate_window_s >= 60
