"""Which decisions answer for a moment of market time."""

from datetime import UTC, datetime, timedelta

import pytest

from services.gateway.decision_times import AnswerFor, moment_in
from shared.contracts.evaluations import DecisionRecorded
from shared.core.errors import Refused

START = datetime(2024, 1, 1, tzinfo=UTC)


def decision(code: str, first_h: int, last_h: int | None = None) -> DecisionRecorded:
    """Looks from one hour to another."""
    last_h = first_h if last_h is None else last_h
    return DecisionRecorded(
        strategy_id="s1",
        strategy_version=1,
        evaluator="e1",
        acted=False,
        code=code,
        count=1 if last_h == first_h else 2,
        first_at=START + timedelta(hours=first_h),
        last_at=START + timedelta(hours=last_h),
        inputs={},
    )


RECORDED = (
    decision("initial_purchase", 1),
    decision("plan_open", 1),
    decision("within_band", 1),
    decision("within_band", 3, 9),
    decision("threshold_reached:BTC", 11),
    decision("plan_open", 11),
    decision("cooldown", 11, 12),
    decision("within_band", 20, 30),
)

CASES = [
    ("before everything", 0, []),
    ("at the first", 1, ["within_band", "plan_open", "initial_purchase"]),
    ("between two looks", 2, ["within_band", "plan_open", "initial_purchase"]),
    ("at the first of several", 3, ["within_band"]),
    ("among several", 5, ["within_band"]),
    ("at the last of several", 9, ["within_band"]),
    ("after them", 10, ["within_band"]),
    ("while it traded", 11, ["cooldown", "plan_open", "threshold_reached:BTC"]),
    ("a little later", 12, ["cooldown"]),
    ("later", 19, ["cooldown"]),
    ("after everything", 99, ["within_band"]),
]


@pytest.mark.parametrize(("what", "hour", "codes"), CASES, ids=[case[0] for case in CASES])
def test_answer_when_asked_for_a_time_is_what_held_then(what: str, hour: int, codes: list[str]) -> None:
    answer = AnswerFor(START + timedelta(hours=hour))
    for one in RECORDED:
        answer.take(one)
    assert [one.code for one in answer.answer] == codes


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("2024-01-01", 0),
        ("2024-01-01T05:00", 5),
        ("2024-01-01 05:00:00Z", 5),
        ("2024-01-01T05:00:00+02:00", 3),
    ],
)
def test_moment_when_written_in_iso_is_read_as_utc(text: str, hours: int) -> None:
    assert moment_in(text) == START + timedelta(hours=hours)


@pytest.mark.parametrize("text", ["yesterday", "2024-13-01", "1", "0001-01-01T00:00:00+23:00"])
def test_moment_when_it_is_none_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refusal:
        moment_in(text)
    assert refusal.value.problems[0].field == "at"
