"""A death whose point does not come up again: it is waited for, and never passed over in silence."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos.deaths.check_deaths import TRIES, Report, _tries, why_not
from tests.chaos.deaths.fail_points import FailPoint
from tests.chaos.deaths.sweep import Death, Reference

POINT = FailPoint("services/order_executor/runner.py", "PlanRunners._send", 1, "await", "before", "commit")
PAUSE = FailPoint("services/order_executor/lease.py", "Lease.run", 1, "await", "before", "asyncio.sleep(1)")


def _reference(key: str, *passed: int) -> Reference:
    stage: Any = SimpleNamespace(key=key, name=key)
    return Reference(stage, {}, dict.fromkeys(passed, 1))


class _Passing:
    """A player in whose plays the point comes up at the ``n``-th."""

    def __init__(self, nth: int) -> None:
        self.nth = nth
        self.played: list[tuple[str, int]] = []

    async def die(self, death: Death) -> bool:
        self.played.append((death.reference.stage.key, death.attempt))
        return len(self.played) == self.nth


def _report() -> Report:
    return Report("order_executor", (POINT, PAUSE), planned=1)


@pytest.mark.parametrize(("nth", "tries"), [(1, 1), (2, 2), (TRIES, TRIES), (TRIES + 1, TRIES)])
async def test_death_when_its_point_comes_up_late_is_died_then_or_never(nth: int, tries: int) -> None:
    first, second, third = _reference("a", 0), _reference("b", 0), _reference("c", 1)
    player: Any = _Passing(nth)
    assert await _tries(player, Death(0, first), [first, second, third]) == (tries, nth <= TRIES)
    assert player.played == [("ab"[attempt % 2], attempt) for attempt in range(min(nth, TRIES))]


async def test_death_when_more_stages_pass_its_point_than_there_are_tries_is_tried_in_each() -> None:
    stages = [_reference(str(number), 0) for number in range(TRIES + 3)]
    player: Any = _Passing(0)
    assert await _tries(player, Death(0, stages[0]), stages) == (TRIES + 3, False)
    assert [key for key, _ in player.played] == [reference.stage.key for reference in stages]


def test_report_when_a_death_was_never_died_is_not_clean_and_names_its_point() -> None:
    report = _report()
    report.add(Death(0, _reference("a", 0), like=(0,)), 7, has_died=False)
    assert not report.is_clean
    assert not report.covered
    assert f"MISSED, not passed again in 7 tries: {POINT}" in str(report)
    assert "died at in 0 of 1 deaths" in str(report)


def test_report_when_a_point_that_need_not_be_passed_never_came_up_names_it_with_reason_and_count() -> None:
    report = _report()
    report.add(Death(1, _reference("a", 1), like=(1,)), 6, has_died=False)
    assert report.is_clean
    assert f"by chance, again in none of 6 tries: {PAUSE} ({why_not(PAUSE)})" in str(report)


def test_report_when_a_death_took_several_tries_says_how_many() -> None:
    report = _report()
    report.add(Death(0, _reference("a", 0), like=(0,)), 3, has_died=True)
    assert report.is_clean
    assert report.covered == {0}
    assert f"died at in the 3. try: {POINT}" in str(report)
