"""When the market may move on: what the driver of a lockstep replay concludes from the evaluators' reports."""

from dataclasses import replace

import pytest

from deploy.demo.evaluators import GONE_AFTER_S, Evaluators, Row
from shared.contracts.progress import EvaluatorProgress, VenueSeen, encode_progress

ROW = Row("paper", 5_000, 3)
DONE = EvaluatorProgress("e1", ("e1",), {"paper": VenueSeen(5_000, 3)})
BOTH = ("e1", "e2")


class Heard:
    """Evaluators with a clock of the test's own."""

    def __init__(self, *reports: EvaluatorProgress) -> None:
        self.now_s = 100.0
        self.evaluators = Evaluators(lambda: self.now_s)
        self.hear(*reports)

    def hear(self, *reports: EvaluatorProgress) -> None:
        for report in reports:
            self.evaluators.take(encode_progress(report))

    @property
    def missing(self) -> str:
        return self.evaluators.missing(ROW)


CASES = [
    ("nobody speaks", (), "no evaluator has been heard"),
    ("done", (DONE,), ""),
    ("a later row", (replace(DONE, venues={"paper": VenueSeen(6_000, 4)}),), ""),
    ("an earlier row", (replace(DONE, venues={"paper": VenueSeen(4_999, 3)}),), "has not seen the row"),
    ("no such venue", (replace(DONE, venues={}),), "has not seen the row"),
    ("an asset without a price", (replace(DONE, venues={"paper": VenueSeen(5_000, 2)}),), "2 of 3"),
    ("a plan under way", (replace(DONE, unfinished={"threshold_reached:BTC": 1}),), "1 x threshold_reached:BTC"),
    ("decisions pile up", (replace(DONE, unsaid=2_001),), "2001 decisions"),
    ("one is unheard", (replace(DONE, members=BOTH),), "knows of the evaluators e1, e2"),
    ("one is unknown to the other", (DONE, replace(DONE, member="e2", members=BOTH)), "e1 knows of the evaluators e1;"),
    ("both done", (replace(DONE, members=BOTH), replace(DONE, member="e2", members=BOTH)), ""),
    (
        "one of two waits",
        (replace(DONE, members=BOTH), replace(DONE, member="e2", members=BOTH, unfinished={"looks": 7})),
        "e2 waits for the end of: 7 x looks",
    ),
    ("one has left", (replace(DONE, member="e2"), replace(DONE, member="e2", leaves=True), DONE), ""),
]


@pytest.mark.parametrize(("what", "reports", "missing"), CASES, ids=[case[0] for case in CASES])
def test_row_when_reported_is_done_only_if_nothing_is_missing(
    what: str, reports: tuple[EvaluatorProgress, ...], missing: str
) -> None:
    found = Heard(*reports).missing
    assert missing in found
    assert bool(found) == bool(missing)


def test_row_when_an_evaluator_died_waits_until_the_others_have_taken_over() -> None:
    heard = Heard(replace(DONE, members=BOTH), replace(DONE, member="e2", members=BOTH, unfinished={"plan_open": 1}))
    assert "e2 waits" in heard.missing
    heard.now_s += GONE_AFTER_S + 0.1
    heard.hear(replace(DONE, members=BOTH))
    assert "knows of the evaluators e1, e2" in heard.missing
    heard.hear(DONE)
    assert heard.missing == ""


def test_acted_when_an_evaluator_is_gone_keeps_its_count() -> None:
    heard = Heard(replace(DONE, acted=2), replace(DONE, member="e2", acted=3))
    heard.now_s += GONE_AFTER_S + 0.1
    assert heard.missing == "no evaluator has been heard"
    assert heard.evaluators.acted == 5
