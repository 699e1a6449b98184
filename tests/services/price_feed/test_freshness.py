"""Quiet is not stale, silent is: what each of them looks like to the feed."""

import gzip
from collections.abc import Callable

import pytest

from services.price_feed.adapters.binance.parse import parse
from services.price_feed.freshness import Freshness, Habit
from services.price_feed.price_book import PriceBook
from tests.services.price_feed.test_parse import RECORDED
from tests.services.price_feed.test_price_book import listed

NS = 1_000_000_000
LIMIT_NS = 3 * NS
T_MS = 1_723_161_255_000


class Market:
    """Two busy pairs and a quiet one, a second or less at a time; market time is the wall clock."""

    def __init__(self) -> None:
        self.fresh = Freshness(LIMIT_NS)
        self.ms = T_MS
        self.moves = 0
        self.muted: set[str] = set()
        self.frozen: set[str] = set()
        self.clock_stands = False
        self.clock_ms = T_MS

    @property
    def ns(self) -> int:
        """The wall clock."""
        return self.ms * 1_000_000

    def pass_time(self, seconds: float) -> None:
        """Quotes of BTC and ETH every 200 ms, of ONE once a minute."""
        for _ in range(round(seconds * 5)):
            self.ms += 200
            self.moves += 1
            if not self.clock_stands and self.muted != {"BTC", "ETH", "ONE"}:
                self.clock_ms = self.ms
                self.fresh.clock_moved(self.ns)
            for asset in ("BTC", "ETH", "ONE"):
                if asset not in self.muted and (asset != "ONE" or self.moves % 300 == 1):
                    bid = "100" if asset in self.frozen else f"{100 + self.moves % 7}"
                    self.fresh.quoted(asset, (bid, "110"), self.clock_ms, self.ns)

    def stale(self) -> dict[str, str]:
        """What is stale, of everything."""
        every = {"BTC", "ETH", "ONE"}
        return self.fresh.stale(every, every, self.clock_ms, self.ns)


def _mute(market: Market) -> None:
    market.muted = {"ETH"}


def _mute_all(market: Market) -> None:
    market.muted = {"BTC", "ETH", "ONE"}


def _freeze(market: Market) -> None:
    market.frozen = {"BTC"}


def _stop_the_clock(market: Market) -> None:
    market.clock_stands = True


ALL = ("BTC", "ETH", "ONE")
FAULTS: dict[str, tuple[Callable[[Market], None], dict[str, str]]] = {
    "one busy pair is mute": (_mute, {"ETH": "mute"}),
    "nothing but signs of life": (_mute_all, dict.fromkeys(ALL, "no_prices")),
    "the same price for ever": (_freeze, {"BTC": "repeated"}),
    "the clock stands": (_stop_the_clock, dict.fromkeys(ALL, "clock_stands")),
}


@pytest.mark.parametrize(("fault", "expected"), FAULTS.values(), ids=FAULTS.keys())
def test_stale_when_a_feed_is_muted_or_frozen_says_so_within_five_seconds(
    fault: Callable[[Market], None], expected: dict[str, str]
) -> None:
    market = Market()
    market.pass_time(120)
    assert market.stale() == {}
    fault(market)
    market.pass_time(2.5)
    assert market.stale() == {}
    market.pass_time(1.5)
    assert market.stale() == expected


def test_stale_when_a_pair_is_quiet_on_a_living_connection_is_not() -> None:
    market = Market()
    for _ in range(10):
        market.pass_time(59)
        assert market.stale() == {}


def test_stale_when_a_quiet_pair_was_told_once_is_not_until_its_price_is_too_old() -> None:
    market = Market()
    market.pass_time(1)
    market.muted = {"ONE"}
    market.pass_time(899)
    assert market.stale() == {}
    market.pass_time(2)
    assert market.stale() == {"ONE": "too_old"}


def test_stale_when_a_connection_is_silent_names_its_pairs_until_it_talks_on() -> None:
    market = Market()
    market.pass_time(60)
    market.fresh.connection(["ONE"], is_alive=False)
    assert market.stale() == {"ONE": "no_connection"}
    market.fresh.connection(["ONE"], is_alive=True)
    assert market.stale() == {}


def test_stale_when_a_connection_is_new_names_its_pairs_until_each_is_quoted() -> None:
    market = Market()
    market.pass_time(60)
    market.fresh.connection(ALL, is_alive=False)
    market.muted = {"ONE"}
    market.pass_time(1)
    assert market.stale() == {"ONE": "no_connection"}
    market.fresh.quoted("ONE", ("100", "110"), market.clock_ms, market.ns)
    assert market.stale() == {}


def test_stale_when_a_pair_trades_away_from_its_standing_quote_is_contradicted() -> None:
    market = Market()
    market.pass_time(70)
    market.fresh.traded("ONE", "105", market.clock_ms)
    market.fresh.traded("ONE", "130", market.clock_ms)
    market.pass_time(2.8)
    assert market.stale() == {}
    market.pass_time(0.2)
    assert market.stale() == {"ONE": "contradicted"}
    market.fresh.quoted("ONE", ("129", "131"), market.clock_ms, market.ns)
    assert market.stale() == {}


def test_stale_when_the_last_trade_is_an_old_one_far_from_the_quote_is_not_contradicted() -> None:
    market = Market()
    market.pass_time(70)
    for _ in range(10):
        market.fresh.traded("ONE", "150", market.clock_ms)
        market.pass_time(1)
    assert market.stale() == {}


def test_habit_when_one_pause_is_an_outage_is_not_dulled_by_it() -> None:
    habit = Habit()
    for at_ms in range(1_000, 31_000, 200):
        habit.beat(at_ms)
    habit.beat(631_000)
    assert not habit.is_overdue(634_000, 3_000.0, 0.0)
    assert habit.is_overdue(634_001, 3_000.0, 0.0)


def test_habit_when_pauses_grow_longer_for_good_follows_them() -> None:
    habit = Habit()
    at_ms = 1_000
    for pause_ms in [200] * 50 + [5_000] * 20:
        at_ms += pause_ms
        habit.beat(at_ms)
    assert not habit.is_overdue(at_ms + 5_000, 3_000.0, 0.0)
    assert habit.is_overdue(at_ms + 15_001, 3_000.0, 0.0)


@pytest.mark.parametrize("name", ["btcusdt_20240808_raw.gz", "ethusdt_20240809_raw.gz"])
def test_stale_when_a_real_market_was_recorded_is_next_to_never(name: str) -> None:
    path = RECORDED / "ticks" / name
    if not path.exists():
        pytest.skip(f"recording {name} is not here (set TRIMTAB_TEST_DATA)")
    book = PriceBook("paper", "e1", Freshness(LIMIT_NS))
    book.list_instruments([listed("BTCUSDT"), listed("ETHUSDT")])
    looks = stale = next_ns = 0
    with gzip.open(path, "rb") as lines:
        for line in lines:
            at, payload = line.split(b" ", 1)
            while next_ns < int(at):
                looks += next_ns > 0
                stale += bool(book.stale(next_ns))
                next_ns = max(next_ns, int(at) - NS) + NS // 5
            book.receive(parse(payload), int(at))
    assert looks > 1_500
    assert stale < looks / 100
