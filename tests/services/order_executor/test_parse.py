"""Replies and events of Binance's dialect, as documented, and as they should never be."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from services.order_executor.adapters.binance.parse import (
    deposits_of,
    instrument_of,
    moment,
    news_of,
    order_of,
    trade_of,
)
from services.order_executor.adapters.binance.user_stream import subscription
from shared.venues.port import BalanceNews, OrderNews

FULL: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "orderId": 28,
    "clientOrderId": "tt6g",
    "transactTime": 1507725176595,
    "price": "4000.00000000",
    "origQty": "10.00000000",
    "executedQty": "9.00000000",
    "cummulativeQuoteQty": "35995.00000000",
    "status": "EXPIRED",
    "fills": [
        {"price": "4000.00", "qty": "4.0", "commission": "4.0", "commissionAsset": "USDT", "tradeId": 56},
        {"price": "3999.00", "qty": "5.0", "commission": "19.995", "commissionAsset": "USDT", "tradeId": 57},
    ],
}


def test_order_when_full_reply_has_its_trades() -> None:
    order = order_of(FULL)
    assert (order.client_order_id, order.venue_order_id) == ("tt6g", "28")
    assert not order.report.is_open
    assert order.report.executed_quantity == 9
    assert [trade.trade_id for trade in order.trades] == ["BTCUSDT:56", "BTCUSDT:57"]
    assert order.trades[1].quote_quantity == Decimal("19995.00")
    assert order.trades[0].at == datetime(2017, 10, 11, 12, 32, 56, 595000, UTC)


def test_order_when_quote_amounts_do_not_add_up_leaves_the_trades_to_be_fetched() -> None:
    assert order_of({**FULL, "cummulativeQuoteQty": "35995.00000001"}).trades == ()


@pytest.mark.parametrize(
    "change",
    [
        {"status": "SOMETHING"},
        {"executedQty": "-1"},
        {"executedQty": "NaN"},
        {"executedQty": 1.5},
        {"executedQty": "11"},
        {"executedQty": None},
        {"transactTime": "soon"},
        {"fills": [{"price": "1"}]},
    ],
)
def test_order_when_reply_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        order_of({**FULL, **change})
    for name in ("symbol", "orderId", "clientOrderId", "status", "executedQty"):
        with pytest.raises(ValueError, match=name):
            order_of({key: value for key, value in FULL.items() if key != name})
    replies: list[object] = [None, [], "text", 5]
    for reply in replies:
        with pytest.raises(ValueError, match="object"):
            order_of(reply)


def test_trade_when_from_history_uses_the_venues_own_quote_amount() -> None:
    row = {
        "symbol": "BNBBTC",
        "id": 28457,
        "orderId": 100234,
        "price": "4.00000100",
        "qty": "12.00000000",
        "quoteQty": "48.000012",
        "commission": "10.10000000",
        "commissionAsset": "BNB",
        "time": 1499865549590,
    }
    trade = trade_of(row)
    assert (trade.trade_id, trade.venue_order_id, trade.fee_asset) == ("BNBBTC:28457", "100234", "BNB")
    assert trade.quote_quantity == Decimal("48.000012")


REPORT: dict[str, Any] = {
    "e": "executionReport",
    "s": "ETHBTC",
    "c": "tt6g",
    "C": "",
    "x": "TRADE",
    "X": "PARTIALLY_FILLED",
    "i": 4293153,
    "l": "1.0",
    "z": "1.0",
    "L": "0.1",
    "Y": "0.1",
    "n": "0.001",
    "N": "ETH",
    "T": 1499405658657,
    "t": 77,
}


def test_news_when_order_trades_or_ends_or_money_arrives() -> None:
    traded = news_of(REPORT)
    assert isinstance(traded, OrderNews)
    assert traded.order.client_order_id == "tt6g"
    assert traded.order.report.is_open
    assert [trade.trade_id for trade in traded.order.trades] == ["ETHBTC:77"]
    ended = news_of({**REPORT, "x": "CANCELED", "X": "CANCELED", "c": "cancellation", "C": "tt6g", "N": None})
    assert isinstance(ended, OrderNews)
    assert ended.order.client_order_id == "tt6g"
    assert ended.order.trades == ()
    assert news_of({"e": "balanceUpdate", "a": "BTC", "d": "1", "T": 1}) == BalanceNews("BTC")
    assert news_of({"e": "outboundAccountPosition"}) is None


def test_deposits_when_not_credited_yet_are_left_out() -> None:
    row = {"id": "a", "coin": "BTC", "amount": "0.5", "status": 1, "insertTime": 1566791463000}
    rows = [row, {**row, "id": "b", "status": 0}, {**row, "id": "c", "status": 6}, {**row, "id": "d", "status": 7}]
    assert [deposit.deposit_id for deposit in deposits_of(rows)] == ["a", "c"]


def test_instrument_when_filters_have_zeros_is_exact_and_without_them_refused() -> None:
    filters: list[dict[str, Any]] = [
        {"filterType": "LOT_SIZE", "minQty": "0.00010000", "maxQty": "9000.00000000", "stepSize": "0.00010000"},
        {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "0", "tickSize": "0.01000000"},
        {"filterType": "NOTIONAL", "minNotional": "5.00000000"},
    ]
    info = {"symbol": "ETHUSDT", "status": "TRADING", "baseAsset": "ETH", "quoteAsset": "USDT", "filters": filters}
    listed = instrument_of("paper", info, Decimal("0.001"))
    assert (listed.lot_step, listed.tick_size, listed.min_notional) == (Decimal("0.0001"), Decimal("0.01"), Decimal(5))
    assert listed.tradable
    assert not instrument_of("paper", {**info, "status": "BREAK"}, Decimal(0)).tradable
    with pytest.raises(ValueError, match="LOT_SIZE"):
        instrument_of("paper", {**info, "filters": filters[1:]}, Decimal(0))
    with pytest.raises(ValueError, match="positive"):
        instrument_of("paper", {**info, "filters": [{**filters[0], "stepSize": "0"}, *filters[1:]]}, Decimal(0))


def test_moment_when_not_milliseconds_is_refused() -> None:
    for wrong in (None, True, "x", -1, 10**18, 1.5):
        with pytest.raises(ValueError, match=r".+"):
            moment(wrong)


def test_subscription_when_signed_matches_a_known_signature() -> None:
    """HMAC-SHA256("secret", "apiKey=key&timestamp=1700000000000"), computed with openssl."""
    request = subscription("key", "secret", 1_700_000_000_000)
    assert request["method"] == "userDataStream.subscribe.signature"
    params = request["params"]
    assert isinstance(params, dict)
    assert params["signature"] == "d3f14de848b7ef46613b47bb4469308f73c43159fa92c62862a1bf5846ac0e30"
