"""A data folder keeps the market it was begun with."""

from pathlib import Path

import pytest

from deploy.embedded.market_choice import chosen_market, remember_market
from deploy.embedded.options import DEFAULT_SEED, ExchangeOptions
from shared.core.errors import Refused


def test_market_when_nothing_is_chosen_and_nothing_kept_is_the_usual_seed(tmp_path: Path) -> None:
    chosen = chosen_market(tmp_path / "market.json", ExchangeOptions(rows_per_second=3))
    assert chosen == ExchangeOptions(seed=DEFAULT_SEED, rows_per_second=3)


@pytest.mark.parametrize("asked", [ExchangeOptions(seed=5), ExchangeOptions(prices_file=Path("prices.csv"))])
def test_market_when_chosen_and_nothing_kept_is_taken(tmp_path: Path, asked: ExchangeOptions) -> None:
    assert chosen_market(tmp_path / "market.json", asked) == asked


def test_market_when_a_seed_was_kept_is_it_again(tmp_path: Path) -> None:
    file = tmp_path / "market.json"
    remember_market(file, ExchangeOptions(seed=5))
    for asked in (ExchangeOptions(), ExchangeOptions(seed=5)):
        assert chosen_market(file, asked).seed == 5
    for other in (ExchangeOptions(seed=6), ExchangeOptions(prices_file=Path("prices.csv"))):
        with pytest.raises(Refused, match="another folder with --data"):
            chosen_market(file, other)


def test_market_when_a_price_file_was_kept_is_it_again_until_it_has_gone(tmp_path: Path) -> None:
    file, prices, moved = tmp_path / "market.json", tmp_path / "prices.csv", tmp_path / "moved.csv"
    prices.write_text("time,BTC,ETH\n")
    remember_market(file, ExchangeOptions(prices_file=prices))
    assert chosen_market(file, ExchangeOptions()).prices_file == prices
    with pytest.raises(Refused, match="seed"):
        chosen_market(file, ExchangeOptions(seed=1))
    prices.rename(moved)
    with pytest.raises(Refused, match="has gone"):
        chosen_market(file, ExchangeOptions())
    # The exchange compares the content.
    assert chosen_market(file, ExchangeOptions(prices_file=moved)).prices_file == moved
