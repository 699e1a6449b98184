"""A million strategy-ticks of every rule: the index acts as brute force does. `just check-index` has 100 million."""

import random
from itertools import islice

import pytest

from tests.core.index_soak import (
    TAKEN_OVER_EVERY,
    data_folder,
    random_path,
    real_daily_path,
    real_tick_path,
    scissors_path,
    soak,
)

ASSETS = [f"A{n}" for n in range(12)]


@pytest.mark.parametrize(("seed", "jump_share", "ticks"), [(1, 0.0005, 600), (2, 0.002, 300), (3, 0.05, 15)])
def test_index_when_every_rule_follows_random_prices_acts_as_brute_force_does(
    seed: int, jump_share: float, ticks: int
) -> None:
    path = islice(random_path(random.Random(seed), ASSETS, jump_share), ticks)
    done = soak(seed, 1200, ASSETS, path, stale_share=0.002)
    assert done.strategy_ticks == 1200 * ticks
    assert done.acted > 100
    assert done.cycles > 5
    assert done.boxed > 1000 or ticks < TAKEN_OVER_EVERY


def test_index_when_prices_go_straight_to_the_corners_acts_as_brute_force_does() -> None:
    assets = ASSETS[:6]
    done = soak(6, 100, assets, islice(scissors_path(random.Random(6), assets), 1000))
    assert done.acted > 100
    assert done.boxed > 100


def test_index_when_every_rule_follows_real_daily_prices_acts_as_brute_force_does() -> None:
    if not (data_folder() / "daily").is_dir():
        pytest.skip("recorded prices are absent (set TRIMTAB_TEST_DATA)")
    assets, path = real_daily_path(data_folder())
    assert soak(4, 40, assets, islice(path, 800)).acted > 1000


def test_index_when_every_rule_follows_real_ticks_acts_as_brute_force_does() -> None:
    if not (data_folder() / "ticks").is_dir():
        pytest.skip("recorded prices are absent (set TRIMTAB_TEST_DATA)")
    assets, path = real_tick_path(data_folder())
    assert soak(5, 300, assets, islice(path, 1000)).strategy_ticks == 300_000
