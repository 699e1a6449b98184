"""What is demanded of orders whose replies do not tell."""

from collections.abc import Callable

import pytest

from tests.services.order_executor.ambiguity import FAULTS, NEVER_ARRIVE, Tally, check, wanted_hits


def perfect(cases: int) -> Tally:
    """Every hit as it should be."""
    tally = Tally()
    for name in FAULTS:
        hits = wanted_hits(name, cases)
        tally.hits[name] = tally.unknown[name] = hits
        taken = 0 if name in NEVER_ARRIVE else hits
        tally.taken[name] = taken
        tally.states[name, bool(taken), "filled" if taken else "absent"] = hits
    return tally


def refused_by_the_venue(tally: Tally, name: str, count: int) -> None:
    """Some of the orders came too late."""
    tally.taken[name] -= count
    tally.states[name, True, "filled"] -= count
    tally.states[name, False, "absent"] += count


def none_hit(tally: Tally) -> None:
    tally.hits.clear()


def one_known(tally: Tally) -> None:
    tally.unknown["reset"] -= 1


def one_lost_by_us(tally: Tally) -> None:
    tally.states["garbage", True, "absent"] += 1


def one_filled_nowhere(tally: Tally) -> None:
    tally.states["5xx before", False, "filled"] += 1


def one_lost_request_at_the_venue(tally: Tally) -> None:
    tally.taken["lost request"] += 1


def too_many_refused(tally: Tally) -> None:
    refused_by_the_venue(tally, "lost reply", 11)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (none_hit, "0 of 210 hits"),
        (one_known, "209 of 210 outcomes"),
        (one_lost_by_us, "garbage: 1 absent"),
        (one_filled_nowhere, "5xx before: 1 filled"),
        (one_lost_request_at_the_venue, "1 orders are at the venue"),
        (too_many_refused, "199 of 210 orders came"),
    ],
)
def test_check_when_a_tally_is_spoilt_says_what_is_wrong(spoil: Callable[[Tally], None], said: str) -> None:
    tally = perfect(200)
    spoil(tally)
    with pytest.raises(AssertionError, match=said):
        check(tally, 200)


def test_check_when_the_venue_itself_refused_those_to_spare_passes() -> None:
    tally = perfect(200)
    refused_by_the_venue(tally, "lost reply", 10)
    check(tally, 200)


def test_check_when_nothing_was_to_be_hit_fails() -> None:
    with pytest.raises(AssertionError, match="proves nothing"):
        check(Tally(), 0)
