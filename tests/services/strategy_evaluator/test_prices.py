"""Frames, snapshots, gaps, epochs, staleness."""

from services.strategy_evaluator.prices import Patience, VenuePrices
from shared.core.market import Quote
from tests.services.strategy_evaluator.messages import AT_MS, NS, D, frame, instruments, snapshot

NOW = 1_700_000_000 * NS


def _prices() -> VenuePrices:
    prices = VenuePrices("paper", Patience(silence_s=3, lag_s=10))
    prices.take_instruments(instruments())
    return prices


def _bid(prices: VenuePrices, asset: str) -> object:
    return prices.quotes[asset].bid


def test_market_when_nothing_was_heard_is_none() -> None:
    prices = VenuePrices("paper", Patience())
    assert prices.market(NOW) is None
    prices.take_instruments(instruments())
    assert prices.market(NOW) is None


def test_frame_when_taken_gives_exact_quotes_and_market_time() -> None:
    prices = _prices()
    news = prices.take_frame(frame(1, {"BTC": "1.000000000000000001"}, NOW), NOW)
    market = prices.market(NOW)
    assert [quote.asset for quote in news.quotes] == ["BTC"]
    assert market is not None
    assert isinstance(market.quotes["BTC"], Quote)
    assert market.quotes["BTC"].bid == D("1.000000000000000001")
    assert market.now.timestamp() * 1000 == AT_MS + 1000


def test_frame_when_repeated_or_older_changes_nothing() -> None:
    prices = _prices()
    prices.take_frame(frame(5, {"BTC": "2"}, NOW), NOW)
    assert prices.take_frame(frame(5, {"BTC": "3"}, NOW), NOW).quotes == ()
    assert prices.take_frame(frame(4, {"BTC": "3"}, NOW), NOW).quotes == ()
    assert _bid(prices, "BTC") == 2


def test_frame_when_one_is_lost_is_healed_by_the_next_snapshot() -> None:
    prices = _prices()
    prices.take_frame(frame(1, {"BTC": "1", "ETH": "1"}, NOW), NOW)
    # frame 2 with ETH at 2 is lost
    prices.take_frame(frame(3, {"BTC": "3"}, NOW + 3), NOW)
    assert prices.gaps == 1
    news = prices.take_snapshot(snapshot(3, {"BTC": "3", "ETH": "2"}, NOW + 2), NOW)
    assert {quote.asset for quote in news.quotes} == {"BTC", "ETH"}
    assert _bid(prices, "ETH") == 2


def test_snapshot_when_a_frame_was_newer_does_not_bring_the_old_price_back() -> None:
    prices = _prices()
    prices.take_frame(frame(9, {"BTC": "9"}, NOW + 9), NOW)
    news = prices.take_snapshot(snapshot(8, {"BTC": "8", "ETH": "8"}, NOW + 8), NOW)
    assert [quote.asset for quote in news.quotes] == ["ETH"]
    assert _bid(prices, "BTC") == 9


def test_epoch_when_new_makes_old_quotes_stale_until_quoted() -> None:
    prices = _prices()
    prices.take_frame(frame(9, {"BTC": "9", "ETH": "9"}, NOW), NOW)
    news = prices.take_frame(frame(1, {"BTC": "10"}, NOW + 1, epoch="e2"), NOW)
    assert prices.stale == {"ETH"}
    assert news.freshened == ("BTC",)
    news = prices.take_snapshot(snapshot(1, {"BTC": "10", "ETH": "11"}, NOW + 1, epoch="e2"), NOW)
    assert news.freshened == ("ETH",)
    assert prices.stale == set()


def test_snapshot_when_of_another_epoch_than_living_frames_is_ignored() -> None:
    prices = _prices()
    prices.take_frame(frame(9, {"BTC": "9"}, NOW), NOW)
    assert prices.take_snapshot(snapshot(50, {"BTC": "1"}, NOW, epoch="e0"), NOW).quotes == ()
    later = NOW + 4 * NS
    assert prices.take_snapshot(snapshot(50, {"BTC": "1"}, NOW + 7, epoch="e0"), later).quotes != ()


def test_staleness_when_the_snapshot_tells_follows_until_the_next_quote() -> None:
    prices = _prices()
    prices.take_frame(frame(1, {"BTC": "1", "ETH": "1"}, NOW), NOW)
    prices.take_snapshot(snapshot(1, {"BTC": "1", "ETH": "1"}, NOW, stale=("ETH",)), NOW)
    assert prices.stale == {"ETH"}
    assert prices.take_frame(frame(2, {"ETH": "1"}, NOW + 1), NOW).freshened == ("ETH",)
    prices.take_snapshot(snapshot(1, {"BTC": "1", "ETH": "1"}, NOW, stale=("ETH",)), NOW)
    assert prices.stale == set()


def test_prices_when_no_frame_comes_for_too_long_are_all_stale() -> None:
    prices = _prices()
    prices.take_frame(frame(1, {"BTC": "1", "ETH": "1"}, NOW), NOW)
    later = NOW + 3 * NS + 1
    market = prices.market(later)
    assert market is not None
    assert set(market.stale) == {"BTC", "ETH"}
    assert prices.take_frame(frame(2, {}, NOW), later).revived
    assert prices.usable(later)


def test_prices_when_frames_are_a_backlog_are_all_stale() -> None:
    prices = _prices()
    prices.take_frame(frame(1, {"BTC": "1"}, NOW), NOW)
    now = NOW + 20 * NS
    prices.take_frame(frame(2, {"BTC": "2"}, NOW + NS), now)
    assert not prices.usable(now)
    prices.take_frame(frame(3, {}, 0), now)
    assert not prices.usable(now)
    assert prices.take_frame(frame(4, {"BTC": "2"}, now), now).revived


def test_quote_when_not_a_positive_number_is_refused_and_counted() -> None:
    prices = _prices()
    news = prices.take_frame(frame(1, {"BTC": "0", "ETH": "-1", "ONE": "inf", "X": "nan", "Y": "1"}, NOW), NOW)
    assert [quote.asset for quote in news.quotes] == ["Y"]
    assert prices.refused == 4


def test_instruments_when_repeated_are_no_change() -> None:
    prices = VenuePrices("paper", Patience())
    assert prices.take_instruments(instruments())
    assert not prices.take_instruments(instruments())
    assert prices.take_instruments(instruments(tradable=False))
    listed = instruments()
    unreconciled = [row.model_copy(update={"unreconciled": row.base == "BTC"}) for row in listed.instruments]
    assert prices.take_instruments(listed.model_copy(update={"instruments": tuple(unreconciled)}))
    assert {asset for asset, found in prices.instruments.items() if found.tradable} == {"ONE", "ETH"}


def test_frame_when_it_repeats_prices_at_the_same_market_time_says_so() -> None:
    prices = _prices()
    same = {"market_time_ms": AT_MS}
    assert not prices.take_frame(frame(1, {"BTC": "2", "ETH": "3"}, NOW, **same), NOW).repeated
    assert prices.take_frame(frame(2, {"BTC": "2"}, NOW + 1, **same), NOW).repeated
    assert prices.take_frame(frame(3, {}, NOW + 1, **same), NOW).repeated
    assert not prices.take_frame(frame(4, {"BTC": "2", "ETH": "3.1"}, NOW + 2, **same), NOW).repeated
    assert not prices.take_frame(frame(5, {"BTC": "2"}, NOW + 3, market_time_ms=AT_MS + 1), NOW).repeated
