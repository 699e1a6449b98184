"""Binance's market stream messages, one by one and as recorded from the venue."""

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.price_feed.adapters.binance.parse import parse
from services.price_feed.guards import QuoteGuard
from services.price_feed.venue_events import (
    FromVenue,
    Ignored,
    QuoteReceived,
    ReplyReceived,
    ShutdownAnnounced,
    TimeReceived,
    Unreadable,
)

SAMPLES = Path(__file__).parent / "samples"
RECORDED = Path(os.environ.get("TRIMTAB_TEST_DATA", Path(__file__).parents[4] / "shared" / "data"))

BOOK = '{"u":400900217,"s":"BTCUSDT","b":"61737.63000000","B":"31.21","a":"61737.64000000","A":"40.66"}'
MINI = '{"e":"24hrMiniTicker","E":1723161255208,"s":"BTCUSDT","c":"61737.63","o":"1","h":"1","l":"1","v":"1","q":"1"}'
TRADE = '{"e":"trade","E":1723161255208,"s":"ETHUSDT","t":9,"p":"2683.80000000","q":"0.1","T":1723161255207,"m":true}'

CASES: dict[str, tuple[str, FromVenue]] = {
    "book ticker": (BOOK, QuoteReceived("BTCUSDT", "61737.63000000", "61737.64000000", 400900217)),
    "book ticker in an envelope": (
        f'{{"stream":"btcusdt@bookTicker","data":{BOOK}}}',
        QuoteReceived("BTCUSDT", "61737.63000000", "61737.64000000", 400900217),
    ),
    "book ticker with event time": (
        '{"u":1,"s":"ETHUSDT","b":"4507.24","a":"4507.25","T":1646199228121,"E":1646199228123}',
        QuoteReceived("ETHUSDT", "4507.24", "4507.25", 1, 1646199228123),
    ),
    "prices are numbers": ('{"u":1,"s":"ETHUSDT","b":4507.24,"a":1}', QuoteReceived("ETHUSDT", 4507.24, 1, 1)),
    "mini ticker": (MINI, TimeReceived("BTCUSDT", 1723161255208, "61737.63")),
    "trade": (TRADE, TimeReceived("ETHUSDT", 1723161255208, "2683.80000000")),
    "depth update": ('{"e":"depthUpdate","E":1723161255208,"s":"BTCUSDT","b":[],"a":[]}', Ignored("depthUpdate")),
    "server shutdown": ('{"e":"serverShutdown","E":1770123456789}', ShutdownAnnounced(1770123456789)),
    "server shutdown in an envelope": (
        '{"stream":"x","data":{"e":"serverShutdown","E":1770123456789}}',
        ShutdownAnnounced(1770123456789),
    ),
    "granted": ('{"result":null,"id":3}', ReplyReceived(3)),
    "refused": ('{"error":{"code":2,"msg":"Invalid request"},"id":3}', ReplyReceived(3, "2: Invalid request")),
    "refused, flat": ('{"code":0,"msg":"Unknown property","id":3}', ReplyReceived(3, "0: Unknown property")),
    "refused, no id": ('{"error":{"code":3,"msg":"Invalid JSON"}}', ReplyReceived(-1, "3: Invalid JSON")),
    "refused, text": ('{"error":"no","id":"a"}', ReplyReceived(-1, ": no")),
    "not json": ("<html>", Unreadable("not_json")),
    "nothing": ("", Unreadable("not_json")),
    "a number": ("7", Unreadable("not_an_object")),
    "a list": ("[]", Unreadable("not_an_object")),
    "a list in an envelope": ('{"stream":"x","data":[]}', Unreadable("not_an_object")),
    "an empty object": ("{}", Ignored("unnamed")),
    "symbol is a number": ('{"u":1,"s":7,"b":"1","a":"1"}', Unreadable("book_ticker_fields")),
    "no symbol": ('{"u":1,"b":"1","a":"1"}', Unreadable("book_ticker_fields")),
    "update id is text": ('{"u":"1","s":"A","b":"1","a":"1"}', Unreadable("book_ticker_fields")),
    "time is text": ('{"e":"trade","E":"now","s":"A","p":"1"}', Unreadable("event_time")),
    "time is negative": ('{"e":"trade","E":-1,"s":"A","p":"1"}', Unreadable("event_time")),
    "time is beyond any calendar": ('{"e":"trade","E":99999999999999999,"s":"A","p":"1"}', Unreadable("event_time")),
    "time is true": ('{"e":"trade","E":true,"s":"A","p":"1"}', Unreadable("event_time")),
    "event type is a list": ('{"e":[],"E":1,"s":"A"}', Ignored("unnamed")),
}


@pytest.mark.parametrize(("payload", "expected"), CASES.values(), ids=CASES.keys())
def test_parse_when_message_is_this_returns_event(payload: str, expected: FromVenue) -> None:
    assert parse(payload) == expected
    assert parse(payload.encode()) == expected


@pytest.mark.parametrize("cut", range(len(MINI)))
def test_parse_when_message_is_cut_short_returns_unreadable(cut: int) -> None:
    assert isinstance(parse(MINI[:cut]), Unreadable)


def _lines(path: Path) -> Iterator[bytes]:
    """Messages of a recording: each line is a receive time, a space, the message."""
    with gzip.open(path, "rb") as lines:
        for line in lines:
            yield line.split(b" ", 1)[1]


def test_parse_when_messages_are_the_samples_believes_every_quote() -> None:
    guard = QuoteGuard()
    guard.follow({"BTCUSDT", "ETHUSDT"})
    kinds: Counter[str] = Counter()
    for line in (SAMPLES / "binance_stream.jsonl").read_bytes().splitlines():
        event = parse(line)
        kinds[type(event).__name__] += 1
        if isinstance(event, QuoteReceived):
            assert guard.admit(event) is None
    assert kinds == {"QuoteReceived": 6, "TimeReceived": 4, "Ignored": 1, "ReplyReceived": 1}


@pytest.mark.parametrize("name", ["btcusdt_20240808_raw.gz", "ethusdt_20240809_raw.gz"])
def test_parse_when_messages_are_recorded_keeps_text_and_believes_every_quote(name: str) -> None:
    path = RECORDED / "ticks" / name
    if not path.exists():
        pytest.skip(f"recording {name} is not here (set TRIMTAB_TEST_DATA)")
    guard = QuoteGuard()
    guard.follow({"BTCUSDT", "ETHUSDT"})
    quotes = 0
    for payload in _lines(path):
        event = parse(payload)
        assert not isinstance(event, Unreadable), payload
        if isinstance(event, QuoteReceived):
            quotes += 1
            if quotes % 100 == 1:
                data = json.loads(payload)["data"]
                assert (event.bid, event.ask, event.order) == (data["b"], data["a"], data["u"])
            guard.admit(event)
    assert quotes > 1_000
    assert guard.refused == {}


def test_parse_when_messages_are_another_librarys_samples_reads_them() -> None:
    folder = RECORDED / "exchange_frames" / "binance" / "nautilus" / "ws_messages"
    if not folder.exists():
        pytest.skip("samples are not here (set TRIMTAB_TEST_DATA)")
    event = parse((folder / "ws_spot_ticker_book.json").read_bytes())
    assert event == QuoteReceived("ETHUSDT", "4507.24000000", "4507.25000000", 12711621188, 1646199228123)
    assert parse((folder / "ws_spot_trade.json").read_bytes()) == TimeReceived(
        "ETHUSDT", 1639351062244, "4149.74000000"
    )
