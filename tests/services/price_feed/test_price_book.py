"""Events in, frames and snapshots out: conflation, market time, staleness."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from services.price_feed.adapters.back_off import BackOff
from services.price_feed.conflation import Conflation
from services.price_feed.freshness import Freshness
from services.price_feed.market_clock import DAY_MS, MarketClock
from services.price_feed.price_book import PriceBook
from services.price_feed.venue_events import Ignored, QuoteReceived, TimeReceived, Unreadable
from shared.contracts.frames import FrameQuote, decode_frame, encode_frame
from shared.contracts.prices import InstrumentListed, PricesSnapshotted

T = 1_723_161_255_000
SECOND_NS = 1_000_000_000


def listed(symbol: str, *, tradable: bool = True) -> InstrumentListed:
    """An instrument; its filters do not matter to a feed."""
    one = Decimal(1)
    return InstrumentListed(
        symbol=symbol,
        base=symbol.removesuffix("USDT"),
        quote="USDT",
        lot_step=one,
        min_quantity=one,
        max_quantity=one,
        tick_size=one,
        min_notional=one,
        taker_fee=Decimal(0),
        tradable=tradable,
    )


def book_of(*symbols: str) -> PriceBook:
    """A book that follows these symbols and whose venue has told the time T at wall clock 1 s."""
    book = PriceBook("paper", "e1", Freshness(10 * SECOND_NS))
    assert book.list_instruments(listed(symbol) for symbol in symbols) == tuple(sorted(symbols))
    if symbols:
        book.receive(TimeReceived(symbols[0], T), SECOND_NS)
    return book


def test_conflation_when_asset_changes_twice_keeps_the_newest() -> None:
    conflation = Conflation()
    old, new, other = (FrameQuote(a, b, b, 0, 0) for a, b in (("A", "1"), ("A", "2"), ("B", "3")))
    for quote in (old, other, new):
        conflation.put(quote)
    assert conflation.take() == (new, other)
    assert (conflation.take(), conflation.waiting, conflation.replaced) == ((), False, 1)
    assert conflation.newest == {"A": new, "B": other}


def test_take_frame_when_quotes_came_carries_exact_text_and_market_time() -> None:
    book = book_of("BTCUSDT")
    book.receive(QuoteReceived("BTCUSDT", "61737.63000000", "61737.64000000", 1), 2 * SECOND_NS)
    assert book.changed
    frame = book.take_frame()
    assert frame is not None
    assert frame.quotes == (FrameQuote("BTC", "61737.63000000", "61737.64000000", T, 2 * SECOND_NS),)
    assert (frame.venue, frame.epoch, frame.sequence, frame.market_time_ms) == ("paper", "e1", 1, T)
    assert decode_frame(encode_frame(frame)) == frame
    assert not book.changed


def test_take_frame_when_nothing_changed_is_a_heartbeat_with_the_next_number() -> None:
    book = book_of("BTCUSDT")
    numbers = [frame.sequence for frame in (book.take_frame(), book.take_frame()) if frame and not frame.quotes]
    assert numbers == [1, 2]


def test_take_frame_when_only_time_moved_on_is_due() -> None:
    book = book_of("BTCUSDT")
    book.take_frame()
    book.receive(TimeReceived("BTCUSDT", T + 1_000), 2 * SECOND_NS)
    assert book.changed
    assert (frame := book.take_frame()) is not None
    assert frame.market_time_ms == T + 1_000


def test_take_frame_when_venue_has_told_no_time_waits() -> None:
    book = PriceBook("paper", "e1", Freshness(10 * SECOND_NS))
    book.list_instruments([listed("BTCUSDT")])
    book.receive(QuoteReceived("BTCUSDT", "1", "2"), SECOND_NS)
    assert (book.take_frame(), book.snapshot(SECOND_NS), book.changed) == (None, None, False)
    book.receive(TimeReceived("BTCUSDT", T), SECOND_NS)
    frame = book.take_frame()
    assert frame is not None
    assert [quote.at_ms for quote in frame.quotes] == [T]
    assert (snapshot := book.snapshot(SECOND_NS)) is not None
    assert snapshot.quotes[0].at == datetime.fromtimestamp(T / 1000, UTC)


def test_snapshot_when_taken_round_trips_with_counts() -> None:
    book = book_of("BTCUSDT", "ETHUSDT")
    book.receive(QuoteReceived("BTCUSDT", "61737.63000000", "61737.64000000"), SECOND_NS)
    book.receive(QuoteReceived("ETHUSDT", "0", "1"), SECOND_NS)
    book.receive(QuoteReceived("XUSDT", "1", "1"), SECOND_NS)
    book.receive(Unreadable("not_json"), SECOND_NS)
    book.receive(Ignored("depthUpdate"), SECOND_NS)
    book.take_frame()
    snapshot = book.snapshot(SECOND_NS)
    assert snapshot is not None
    assert [(q.asset, q.bid, q.ask) for q in snapshot.quotes] == [("BTC", Decimal("61737.63"), Decimal("61737.64"))]
    assert snapshot.refused == {"zero": 1, "unknown_symbol": 1, "not_json": 1}
    assert (snapshot.sequence, snapshot.stale) == (1, ())
    assert PricesSnapshotted.model_validate_json(snapshot.model_dump_json()) == snapshot


def test_stale_when_prices_move_under_a_standing_clock_names_all_until_it_goes_on() -> None:
    book = book_of("BTCUSDT", "ETHUSDT")
    for at_s in range(1, 60):
        book.receive(QuoteReceived("BTCUSDT", f"1.{at_s}", "2"), at_s * SECOND_NS)
        book.receive(QuoteReceived("ETHUSDT", "1", "2"), at_s * SECOND_NS)
        book.receive(TimeReceived("BTCUSDT", T + min(at_s, 30) * 1_000), at_s * SECOND_NS)
        expected = {} if at_s <= 40 else {"BTC": "clock_stands", "ETH": "clock_stands"}
        assert book.stale(at_s * SECOND_NS) == expected, at_s
    book.receive(TimeReceived("BTCUSDT", T + 60_000), 60 * SECOND_NS)
    book.receive(QuoteReceived("BTCUSDT", "1.9", "2"), 60 * SECOND_NS)
    book.receive(QuoteReceived("ETHUSDT", "1", "2"), 60 * SECOND_NS)
    assert book.stale(60 * SECOND_NS) == {}


def test_stale_when_a_standing_market_is_repeated_names_none() -> None:
    book = book_of("BTCUSDT")
    for at_s in range(1, 100):
        book.receive(TimeReceived("BTCUSDT", T), at_s * SECOND_NS)
        book.receive(QuoteReceived("BTCUSDT", "1", "2"), at_s * SECOND_NS)
        assert book.stale(at_s * SECOND_NS) == {}
    # The market goes on: the venue tells the new time before the new price.
    book.receive(TimeReceived("BTCUSDT", T + 1), 100 * SECOND_NS)
    book.receive(QuoteReceived("BTCUSDT", "1.5", "2.5"), 100 * SECOND_NS)
    assert book.stale(100 * SECOND_NS) == {}


def test_stale_when_wall_clock_was_set_back_names_all() -> None:
    book = book_of("BTCUSDT")
    book.receive(QuoteReceived("BTCUSDT", "1", "2"), SECOND_NS)
    assert book.stale(SECOND_NS - 1) == {"BTC": "too_old"}


def test_stale_when_the_newest_message_was_refused_names_it_until_one_is_believed() -> None:
    book = book_of("BTCUSDT", "ETHUSDT")
    for symbol in ("BTCUSDT", "ETHUSDT"):
        book.receive(QuoteReceived(symbol, "1", "2"), SECOND_NS)
    book.receive(QuoteReceived("BTCUSDT", "0", "2"), SECOND_NS)
    assert book.stale(SECOND_NS + SECOND_NS // 2) == {"BTC": "doubted"}
    book.receive(QuoteReceived("BTCUSDT", "1", "2"), 2 * SECOND_NS)
    assert book.stale(3 * SECOND_NS) == {}


def test_receive_when_one_time_is_wrong_and_far_the_symbols_own_clock_is_not_led_astray() -> None:
    book = book_of("BTCUSDT")
    live_ns = T * 1_000_000
    book.receive(TimeReceived("BTCUSDT", T + 86_400_000), live_ns)
    book.receive(TimeReceived("BTCUSDT", T + 1_000), live_ns + SECOND_NS)
    assert (book.clock.now_ms, book.guard.refused) == (T + 1_000, {"time_jump": 1})


@pytest.mark.parametrize("gone", [[], [listed("BTCUSDT", tradable=False)]], ids=["delisted", "halted"])
def test_stale_when_pair_is_no_longer_traded_names_it_and_keeps_its_quote(gone: list[InstrumentListed]) -> None:
    book = book_of("BTCUSDT", "ETHUSDT")
    for symbol in ("BTCUSDT", "ETHUSDT"):
        book.receive(QuoteReceived(symbol, "1", "2"), SECOND_NS)
    book.take_frame()
    assert book.list_instruments([*gone, listed("ETHUSDT")]) == ("ETHUSDT",)
    book.receive(QuoteReceived("BTCUSDT", "3", "4"), SECOND_NS)
    snapshot = book.snapshot(SECOND_NS)
    assert snapshot is not None
    assert snapshot.stale_because == {"BTC": "not_tradable"}
    assert (snapshot.stale, [quote.asset for quote in snapshot.quotes]) == (("BTC",), ["BTC", "ETH"])
    assert snapshot.refused == {"unknown_symbol": 1}


def test_receive_when_time_goes_back_keeps_market_time() -> None:
    book = book_of("BTCUSDT", "ETHUSDT")
    book.receive(TimeReceived("ETHUSDT", T - 5_000), SECOND_NS)
    book.receive(TimeReceived("BTCUSDT", T - 1), SECOND_NS)
    assert book.clock.now_ms == T
    assert book.guard.refused == {"time_backwards": 1}


def test_receive_when_a_quote_carries_a_wrong_far_time_refuses_quote_and_time() -> None:
    book = book_of("BTCUSDT")
    book.receive(QuoteReceived("BTCUSDT", "1", "2", 1, T + 400 * DAY_MS), SECOND_NS)
    assert (book.clock.now_ms, book.accepted, book.guard.refused) == (T, 0, {"time_jump": 1})


def test_connected_when_numbering_began_again_accepts_and_wants_a_snapshot() -> None:
    book = book_of("BTCUSDT")
    book.receive(QuoteReceived("BTCUSDT", "1", "2", 99), SECOND_NS)
    book.first_quote_due = False
    book.connected()
    book.receive(QuoteReceived("BTCUSDT", "1.5", "2.5", 1), SECOND_NS)
    assert (book.first_quote_due, book.accepted) == (True, 2)


CLOCKS = {
    "daily": ([0, DAY_MS, 2 * DAY_MS], 2 * DAY_MS),
    "monthly": ([0, 31 * DAY_MS], 31 * DAY_MS),
    "back": ([0, DAY_MS, 0], DAY_MS),
    "one far reading": ([0, 400 * DAY_MS, DAY_MS], DAY_MS),
    "two far readings, then the old clock, then another far one": (
        [0, 400 * DAY_MS, 400 * DAY_MS, DAY_MS, 400 * DAY_MS],
        DAY_MS,
    ),
    "three far readings that agree": ([0, 400 * DAY_MS, 401 * DAY_MS, 402 * DAY_MS], 402 * DAY_MS),
    "three far readings that disagree": ([0, 400 * DAY_MS, 800 * DAY_MS, 400 * DAY_MS], 0),
}


LIVE: dict[str, tuple[list[tuple[int, int]], int]] = {
    # readings (ms after T, seconds of our own clock after T), and what the clock shows in the end
    "five seconds ahead": ([(6_000, 1)], 6_000),
    "more ahead": ([(6_001, 1)], 0),
    "a day ahead, again and again": ([(DAY_MS, second) for second in range(1, 10)], 0),
    "a day ahead for ten seconds": ([(DAY_MS, second) for second in range(1, 12)], DAY_MS),
    "as late as our own clock": ([(500_000, 500)], 500_000),
    "after an hour away": ([(3_600_000, 3_600)], 3_600_000),
}


@pytest.mark.parametrize(("readings", "expected"), LIVE.values(), ids=LIVE.keys())
def test_market_clock_when_market_is_live_is_not_led_into_the_future(
    readings: list[tuple[int, int]], expected: int
) -> None:
    clock = MarketClock()
    clock.read(T, T * 1_000_000)
    for reading, second in readings:
        clock.read(T + reading, T * 1_000_000 + second * SECOND_NS)
    assert clock.now_ms == T + expected


@pytest.mark.parametrize(("readings", "expected"), CLOCKS.values(), ids=CLOCKS.keys())
def test_market_clock_when_readings_are_these_shows(readings: list[int], expected: int) -> None:
    clock = MarketClock()
    for reading in readings:
        clock.read(T + reading, 1)
    assert clock.now_ms == T + expected


@pytest.mark.parametrize(
    ("failures", "chance", "expected"),
    [
        (0, 0.0, 0.125),
        (1, 0.0, 0.125),
        (1, 1.0, 0.25),
        (2, 1.0, 0.5),
        (4, 0.5, 1.5),
        (8, 1.0, 30.0),
        (10**6, 0.0, 15.0),
    ],
)
def test_back_off_when_failures_repeat_doubles_to_the_longest(failures: int, chance: float, expected: float) -> None:
    assert BackOff().delay_s(failures, chance) == pytest.approx(expected)


def test_frame_and_snapshot_when_a_direct_pair_is_quoted_tell_it_apart_from_the_assets() -> None:
    book = book_of("ETHUSDT")
    direct = listed("BTCUSDT").model_copy(update={"symbol": "ETHBTC", "base": "ETH", "quote": "BTC"})
    halted = direct.model_copy(update={"symbol": "SOLBTC", "base": "SOL", "tradable": False})
    assert book.list_instruments([listed("ETHUSDT")], [direct, halted]) == ("ETHBTC", "ETHUSDT")
    book.receive(QuoteReceived("ETHBTC", "0.0500", "0.0501", 1), 2 * SECOND_NS)
    book.receive(QuoteReceived("ETHUSDT", "2500", "2501", 1), 2 * SECOND_NS)
    book.receive(QuoteReceived("SOLBTC", "0.002", "0.003", 1), 2 * SECOND_NS)
    frame = book.take_frame()
    assert frame is not None
    assert [quote.asset for quote in frame.quotes] == ["ETH"]
    assert frame.crosses == (FrameQuote("ETH/BTC", "0.0500", "0.0501", T, 2 * SECOND_NS),)
    assert decode_frame(encode_frame(frame)) == frame
    # Delisted as a direct pair, it is still no asset; nobody trades on it.
    book.list_instruments([listed("ETHUSDT")])
    snapshot = book.snapshot(3 * SECOND_NS)
    assert snapshot is not None
    assert [seen.asset for seen in snapshot.quotes] == ["ETH"]
    assert [seen.asset for seen in snapshot.crosses] == ["ETH/BTC"]
    assert snapshot.stale_because["ETH/BTC"] == "not_tradable"
