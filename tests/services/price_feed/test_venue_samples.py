"""Every venue's messages, one at a time: hand-made ones, the documents' own, and recordings where they are at hand."""

import gzip
import json
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from services.price_feed.adapters.bigone.parse import parse as bigone
from services.price_feed.adapters.bybit.parse import parse as bybit
from services.price_feed.adapters.coinbase.connection import wire_symbol as coinbase_symbol
from services.price_feed.adapters.coinbase.parse import parse as coinbase
from services.price_feed.adapters.kraken.connection import wire_symbol as kraken_symbol
from services.price_feed.adapters.kraken.parse import parse as kraken
from services.price_feed.adapters.kucoin.parse import parse as kucoin
from services.price_feed.adapters.okx.parse import parse as okx
from services.price_feed.adapters.table import VENUE_DIALECTS
from services.price_feed.guards import QuoteGuard
from services.price_feed.venue_events import (
    FromVenue,
    Greeted,
    Ignored,
    QuoteReceived,
    ReplyReceived,
    Several,
    ShutdownAnnounced,
    TimeReceived,
    Unreadable,
)
from tests.services.price_feed.test_parse import RECORDED
from tests.services.price_feed.test_price_book import listed

Parse = Callable[[bytes], FromVenue]
FRAMES = RECORDED / "exchange_frames"
AT_MS = 1_735_689_600_500
AT = "2025-01-01T00:00:00.500000Z"

CASES: dict[str, tuple[Parse, str, FromVenue]] = {
    "kraken: whole numbers and noughts": (
        kraken,
        '{"channel":"ticker","type":"update","data":[{"symbol":"A/USD","bid":100,"ask":100.10,"last":1e-7,'
        f'"timestamp":"{AT}"}}]}}',
        Several((TimeReceived("A/USD", AT_MS, "0.0000001"), QuoteReceived("A/USD", "100", "100.10"))),
    ),
    "kraken: no timestamp": (
        kraken,
        '{"channel":"ticker","type":"update","data":[{"symbol":"A/USD","bid":1.0,"ask":2.0}]}',
        Several((QuoteReceived("A/USD", "1.0", "2.0"),)),
    ),
    "kraken: null": (
        kraken,
        '{"channel":"ticker","type":"update","data":[{"symbol":"A/USD","bid":null,"ask":2.0}]}',
        Several((QuoteReceived("A/USD", None, "2.0"),)),
    ),
    "kraken: infinite": (
        kraken,
        '{"channel":"ticker","type":"update","data":[{"symbol":"A/USD","bid":1e400,"ask":1e400}]}',
        Several((QuoteReceived("A/USD", "1e400", "1e400"),)),
    ),
    "kraken: no data": (kraken, '{"channel":"ticker","type":"update"}', Unreadable("ticker_fields")),
    "kraken: refused": (
        kraken,
        '{"error":"Currency pair not supported F/U","method":"subscribe","req_id":3,"success":false,"symbol":"F/U"}',
        ReplyReceived(3, "Currency pair not supported F/U", "F/U"),
    ),
    "kraken: pong": (kraken, f'{{"method":"pong","req_id":1,"time_out":"{AT}"}}', TimeReceived("", AT_MS)),
    "kraken: heartbeat": (kraken, '{"channel":"heartbeat"}', Ignored("heartbeat")),
    "coinbase: two tickers": (
        coinbase,
        f'{{"channel":"ticker","timestamp":"{AT}","sequence_num":7,"events":[{{"type":"update","tickers":['
        '{"product_id":"A-USD","price":"1.5","best_bid":"1","best_ask":"2"},'
        '{"product_id":"B-USD","price":"3","best_bid":"3","best_ask":"4"}]}]}',
        Several(
            (
                TimeReceived("A-USD", AT_MS, "1.5"),
                QuoteReceived("A-USD", "1", "2"),
                TimeReceived("B-USD", AT_MS, "3"),
                QuoteReceived("B-USD", "3", "4"),
            ),
            7,
        ),
    ),
    "coinbase: no bid": (
        coinbase,
        '{"channel":"ticker","sequence_num":7,"events":[{"tickers":[{"product_id":"A-USD"}]}]}',
        Several((QuoteReceived("A-USD", None, None),), 7),
    ),
    "coinbase: heartbeat": (
        coinbase,
        f'{{"channel":"heartbeats","timestamp":"{AT}","sequence_num":8,"events":[{{"heartbeat_counter":42}}]}}',
        Several((TimeReceived("", AT_MS),), 8),
    ),
    "coinbase: heartbeats subscribed": (
        coinbase,
        '{"channel":"subscriptions","sequence_num":0,"events":[{"subscriptions":{"heartbeats":["heartbeats"]}}]}',
        Several((Ignored("subscriptions"),), 0),
    ),
    "coinbase: error": (coinbase, '{"type":"error","message":"no"}', ReplyReceived(-1, "no")),
    "okx: pong": (okx, "pong", Ignored("pong")),
    "okx: empty side": (
        okx,
        '{"arg":{"channel":"tickers","instId":"A-B"},"data":[{"instId":"A-B","last":"","bidPx":"","askPx":"2",'
        '"ts":"5"}]}',
        Several((TimeReceived("A-B", 5, ""), QuoteReceived("A-B", "", "2", 0, 5))),
    ),
    "okx: no time": (
        okx,
        '{"arg":{"channel":"tickers","instId":"A-B"},"data":[{"instId":"A-B","bidPx":"1","askPx":"2"}]}',
        Unreadable("ticker_fields"),
    ),
    "okx: notice": (okx, '{"event":"notice","code":"64008","msg":"soon","connId":"a"}', ShutdownAnnounced(0)),
    "okx: error": (
        okx,
        '{"id":"3","event":"error","code":"60018","msg":"no","connId":"a"}',
        ReplyReceived(3, "60018: no"),
    ),
    "bybit: empty side": (
        bybit,
        '{"topic":"orderbook.1.A","ts":5,"type":"snapshot","data":{"s":"A","b":[],"a":[["2","1"]],"u":7,"seq":9}}',
        QuoteReceived("A", "", "2", 7, 5),
    ),
    "bybit: a difference": (
        bybit,
        '{"topic":"orderbook.1.A","ts":5,"type":"delta","data":{"s":"A","b":[["1","1"]],"a":[],"u":7,"seq":9}}',
        Unreadable("book_fields"),
    ),
    "bybit: another symbol in the data": (
        bybit,
        '{"topic":"orderbook.1.A","ts":5,"type":"snapshot","data":{"s":"B","b":[["1","1"]],"a":[["2","1"]],"u":7}}',
        Unreadable("book_fields"),
    ),
    "bybit: pong": (
        bybit,
        '{"success":true,"ret_msg":"pong","conn_id":"c","req_id":"2","op":"ping"}',
        Ignored("ping"),
    ),
    "kucoin: welcome": (kucoin, '{"id":"x","type":"welcome"}', Greeted("welcome")),
    "kucoin: error": (kucoin, '{"id":"4","type":"error","code":404,"data":"no"}', ReplyReceived(4, "404: no")),
    "kucoin: no ask": (
        kucoin,
        '{"topic":"/market/ticker:A-B","type":"message","data":{"sequence":"7","bestBid":"1","time":5}}',
        Unreadable("ticker_fields"),
    ),
    "bigone: update": (
        bigone,
        '{"requestId":"1","tickerUpdate":{"ticker":{"market":"A-B","bid":{"price":"1"},"ask":{"price":"2"}}}}',
        QuoteReceived("A-B", "1", "2"),
    ),
    "bigone: empty side": (
        bigone,
        '{"requestId":"1","tickerUpdate":{"ticker":{"market":"A-B","bid":null,"ask":{"price":"2"}}}}',
        QuoteReceived("A-B", "", "2"),
    ),
    "bigone: error": (
        bigone,
        '{"requestId":"1","error":{"code":45000,"message":"GRPC error: xxx"}}',
        ReplyReceived(1, "45000: GRPC error: xxx"),
    ),
}


@pytest.mark.parametrize(("parse", "payload", "expected"), CASES.values(), ids=CASES.keys())
def test_parse_when_message_is_this_returns_event(parse: Parse, payload: str, expected: FromVenue) -> None:
    assert parse(payload.encode()) == expected


def _documented(module: ModuleType) -> Iterator[str]:
    """The samples of a module's docstring: indented, one beginning with each line that begins with a brace."""
    indented = [line for line in (module.__doc__ or "").splitlines() if line.startswith("    ")]
    for sample in re.split(r"\n(?=    \{)", "\n".join(indented)):
        yield " ".join(line.strip() for line in sample.splitlines()).removesuffix(" pong")


@pytest.mark.parametrize("name", sorted(VENUE_DIALECTS))
def test_parse_when_message_is_in_the_docstring_reads_it(name: str) -> None:
    module = import_module(f"services.price_feed.adapters.{name}.parse")
    samples = list(_documented(module))
    assert len(samples) >= 4
    read: list[FromVenue] = []
    for sample in samples:
        json.loads(sample)
        event = module.parse(sample)
        assert not isinstance(event, Unreadable), sample
        read += event.events if isinstance(event, Several) else [event]
    assert any(isinstance(event, QuoteReceived) for event in read)
    assert any(isinstance(event, ReplyReceived) and not event.error for event in read)


def test_wire_symbol_when_orders_and_streams_differ_is_the_streams() -> None:
    pair = listed("XXBTZUSD").model_copy(update={"base": "BTC", "quote": "USD"})
    assert kraken_symbol(pair) == "BTC/USD"
    assert coinbase_symbol(pair) == "BTC-USD"
    assert coinbase_symbol(pair.model_copy(update={"quote": "USDC"})) == "BTC-USD"
    assert coinbase_symbol(pair.model_copy(update={"base": "EURC", "quote": "USDC"})) == "EURC-USDC"


def _here(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"recording {path.name} is not here (set TRIMTAB_TEST_DATA)")
    return path


SAMPLES: dict[str, tuple[Parse, FromVenue]] = {
    "kraken/nautilus/ws_ticker_snapshot.json": (
        kraken,
        Several(
            (
                TimeReceived("BTC/USD", 1_671_960_659_123, "105899.40"),
                QuoteReceived("BTC/USD", "105944.20", "105944.30"),
            )
        ),
    ),
    "kraken/nautilus/ws_subscribe_response.json": (kraken, ReplyReceived(1, "", "BTC/USD")),
    "kraken/nautilus/ws_pong.json": (kraken, TimeReceived("", 1_695_632_700_123)),
    "coinbase/nautilus/ws_ticker.json": (
        coinbase,
        Several(
            (
                TimeReceived("BTC-USD", 1_775_572_203_000, "68900.50"),
                QuoteReceived("BTC-USD", "68900.00", "68901.00"),
            ),
            12,
        ),
    ),
    "coinbase/nautilus/ws_heartbeats.json": (coinbase, Several((TimeReceived("", 1_775_572_210_000),), 0)),
    "okx/nautilus/ws_tickers.json": (
        okx,
        Several(
            (
                TimeReceived("BTC-USDT", 1_597_026_383_085, "9999.99"),
                QuoteReceived("BTC-USDT", "8888.88", "9999.99", 0, 1_597_026_383_085),
            )
        ),
    ),
    "bybit/nautilus/ws_orderbook_snapshot.json": (
        bybit,
        QuoteReceived("BTCUSDT", "27450.00", "27451.00", 123_456_789, 1_709_891_679_000),
    ),
    "bybit/nautilus/ws_subscription_failure.json": (bybit, ReplyReceived(-1, "Invalid topic: invalid.topic.BTCUSDT")),
}


@pytest.mark.parametrize(("path", "expected"), SAMPLES.items(), ids=SAMPLES.keys())
def test_parse_when_message_is_another_librarys_sample_reads_it(path: str, expected: tuple[Parse, FromVenue]) -> None:
    parse, event = expected
    assert parse(_here(FRAMES / path).read_bytes()) == event


RECORDINGS: dict[str, tuple[Parse, str, int]] = {
    "kucoin/cryptofeed_KUCOIN.ws.1.0.gz": (kucoin, "trade.ticker", 800),
    "okx/cryptofeed_OKX.ws.1.0.gz": (okx, "askPx", 20),
}


@pytest.mark.parametrize(("path", "expected"), RECORDINGS.items(), ids=RECORDINGS.keys())
def test_parse_when_messages_are_recorded_believes_every_quote(path: str, expected: tuple[Parse, str, int]) -> None:
    parse, marked, fewest = expected
    guard, quotes, now_ms = QuoteGuard(), 0, 0
    with gzip.open(_here(FRAMES / path), "rt") as lines:
        for line in lines:
            received, colon, payload = line.partition(": ")
            if not colon or "<" in received:
                continue  # what the client sent
            event = parse(payload.strip().encode())
            assert not isinstance(event, Unreadable), payload
            for one in event.events if isinstance(event, Several) else (event,):
                if isinstance(one, QuoteReceived):
                    quotes += 1
                    now_ms = max(now_ms, one.at_ms)
                    guard.follow({*guard.symbols, one.symbol})
                    assert guard.admit(one, now_ms) is None, (one, guard.refused)
                    assert marked in payload
    assert quotes >= fewest
