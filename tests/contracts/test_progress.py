"""Evaluators' progress on the wire."""

import pytest

from shared.contracts.progress import EvaluatorProgress, VenueSeen, decode_progress, encode_progress

FULL = EvaluatorProgress(
    member="e1",
    members=("e1", "e2"),
    venues={"paper": VenueSeen(1_700_000_000_000, 12)},
    unfinished={"plan_open": 2, "looks": 1},
    acted=3,
    unsaid=4,
    leaves=True,
)


@pytest.mark.parametrize("progress", [FULL, EvaluatorProgress("e1", ("e1",))])
def test_progress_when_encoded_comes_back_equal(progress: EvaluatorProgress) -> None:
    assert decode_progress(encode_progress(progress)) == progress


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"m":"e1"}'])
def test_progress_when_broken_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode_progress(data)
