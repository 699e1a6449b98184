"""What every venue's adapter must do, over real HTTP with the real ccxt: each test runs once for every venue.

Binance is the simulated exchange; the others are their documented replies on loopback (``tests/venues/faces``).
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from services.order_executor.adapters.ccxt_venue import CcxtVenue
from shared.core.errors import RetryLater
from shared.core.market import Instrument
from shared.core.matching import Side
from shared.core.money import ceil_to_step, floor_to_step
from shared.core.order_styles import OrderKind
from shared.venues.capabilities import FeeAsset
from shared.venues.dialects import capabilities_of
from shared.venues.identity import id_at_venue
from shared.venues.port import NotSent, OrderRefused, OrderRequest, OutcomeUnknown, Search, VenueOrder
from tests.services.order_executor.rig import eventually
from tests.venues.subjects import Subject, access_to

FIRST = "tt0123456789abcdefghjkmnpqrs"  # as shared.core.identity makes them
FAULTS = ("lost_request", "5xx_before", "lost_reply", "5xx_after", "garbage", "reset")
ARRIVES = frozenset(FAULTS[2:])


def send() -> str | None:
    """A guard that lets everything through."""
    return None


async def listed(venue: CcxtVenue) -> dict[str, Instrument]:
    return {found.base: found for found in await venue.fetch_instruments()}


async def order_for(
    subject: Subject, venue: CcxtVenue, name: str, value: str = "100", *, side: Side = Side.BUY
) -> OrderRequest:
    """An order for about so much of the quote currency, whose limit reaches through the book."""
    instrument = (await listed(venue))["BTC"]
    bid, ask = await subject.touch("BTC")
    limit = ceil_to_step(ask * Decimal("1.005"), instrument.tick_size)
    if side is Side.SELL:
        limit = floor_to_step(bid * Decimal("0.995"), instrument.tick_size)
    quantity = floor_to_step(Decimal(value) / ask, instrument.lot_step)
    return OrderRequest(name, subject.symbol("BTC"), side, quantity, limit)


async def search_for(subject: Subject, name: str) -> Search:
    return Search(name, "", subject.symbol("BTC"), await subject.now() - timedelta(minutes=1))


async def settled(subject: Subject, venue: CcxtVenue, name: str) -> VenueOrder:
    """The order once the venue shows it ended."""

    async def ended() -> VenueOrder | None:
        found = await venue.find_order(await search_for(subject, name))
        return None if found is None or found.report.is_open else found

    order: VenueOrder = await eventually(ended)
    return order


def wire_id(venue: CcxtVenue, name: str) -> str:
    return id_at_venue(venue.capabilities.client_ids, name)


INSTRUMENTS = {  # of BTC: lot step, smallest quantity, tick, smallest value, as the venue's documents have them
    "bigone": ("0.000001", "0.000001", "0.1", "10"),
    "bybit": ("0.000001", "0.0001", "0.1", "5"),
    "coinbase": ("0.00000001", "0.00000001", "0.01", "1"),
    "kraken": ("0.00000001", "0.0001", "0.1", "0.5"),
    "kucoin": ("0.00000001", "0.00001", "0.1", "0.1"),
    "okx": ("0.00000001", "0.00001", "0.1", "0"),
}


async def test_instruments_when_read_are_exact(subject: Subject, venue: CcxtVenue) -> None:
    found = await listed(venue)
    btc = found["BTC"]
    assert btc.symbol == subject.symbol("BTC")
    assert (btc.venue, btc.quote, btc.tradable, btc.taker_fee) == ("paper", subject.quote, True, Decimal("0.001"))
    assert list(found) == sorted(found)
    if subject.name in INSTRUMENTS:
        steps = (btc.lot_step, btc.min_quantity, btc.tick_size, btc.min_notional)
        assert steps == tuple(Decimal(text) for text in INSTRUMENTS[subject.name])
    assert btc.lot_step > 0
    assert btc.tick_size > 0


async def test_instruments_when_read_in_any_quote_are_those_of_other_quotes_too(
    subject: Subject, venue: CcxtVenue
) -> None:
    usual = await venue.fetch_instruments()
    assert {found.quote for found in usual} == {subject.quote}
    venue._access = replace(venue._access, quote="BTC")
    assert set(usual) <= set(await venue.fetch_instruments(in_any_quote=True))
    assert all(found.quote == "BTC" for found in await venue.fetch_instruments())


async def test_order_when_guard_refuses_is_never_sent(subject: Subject, venue: CcxtVenue) -> None:
    request = await order_for(subject, venue, FIRST)
    with pytest.raises(NotSent, match="too late"):
        await venue.place_order(request, lambda: "too late")
    assert subject.orders_sent == []


WIRE = {  # side of a buy, and what else the request says
    "bigone": ("BID", {"type": "LIMIT", "immediate_or_cancel": True}),
    "binance": ("BUY", {"type": "LIMIT", "timeInForce": "IOC"}),
    "bybit": ("Buy", {"category": "spot", "orderType": "Limit", "timeInForce": "IOC", "isLeverage": 0}),
    "coinbase": ("BUY", {"kind": "sor_limit_ioc"}),
    "kraken": ("buy", {"ordertype": "limit", "timeinforce": "IOC", "oflags": "fciq"}),
    "kucoin": ("buy", {"type": "limit", "timeInForce": "IOC"}),
    "okx": ("buy", {"tdMode": "cash", "ordType": "ioc"}),
}


async def test_order_when_sent_says_our_id_and_exact_amounts_on_the_wire(subject: Subject, venue: CcxtVenue) -> None:
    request = replace(await order_for(subject, venue, FIRST), quantity=Decimal("0.00100"))
    await venue.place_order(request, send)
    (sent,) = subject.orders_sent
    side, other = WIRE[subject.name]
    assert (sent.client_id, sent.symbol, sent.side) == (wire_id(venue, FIRST), request.symbol, side)
    limit = f"{request.limit_price.normalize():f}"
    assert (sent.quantity, sent.price) == ("0.001", limit), "exact text: never a float, never an exponent"
    assert sent.other == other
    assert len(sent.client_id) <= venue.capabilities.client_ids.max_length


async def test_order_when_placed_is_found_again_with_the_same_fills(subject: Subject, venue: CcxtVenue) -> None:
    request = await order_for(subject, venue, FIRST)
    order = await venue.place_order(request, send)
    assert (order.client_order_id, order.symbol) == (FIRST, request.symbol)
    assert order.report.executed_quantity == request.quantity
    assert not order.report.is_open
    assert sum(trade.quantity for trade in order.trades) == request.quantity
    found = await settled(subject, venue, FIRST)
    assert found.client_order_id == FIRST
    assert {trade.trade_id: trade for trade in found.trades} == {trade.trade_id: trade for trade in order.trades}
    assert await venue.find_order(await search_for(subject, "ttother")) is None


async def test_order_when_of_a_kind_the_venue_is_not_sent_is_refused_here(subject: Subject, venue: CcxtVenue) -> None:
    request = await order_for(subject, venue, FIRST)
    for kind in set(OrderKind) - venue.capabilities.order_kinds:
        with pytest.raises(OrderRefused, match=kind.value):
            await venue.place_order(replace(request, kind=kind), send)
    assert OrderKind.IOC in venue.capabilities.order_kinds
    assert await venue.find_order(await search_for(subject, FIRST)) is None


async def test_instruments_when_the_fee_of_a_buy_comes_on_top_say_so(subject: Subject, venue: CcxtVenue) -> None:
    on_top = {instrument.buy_fee_in_quote for instrument in await venue.fetch_instruments()}
    assert on_top == {subject.fee_asset is FeeAsset.QUOTE}


async def test_balances_when_an_order_traded_are_what_its_fills_say(subject: Subject, venue: CcxtVenue) -> None:
    expected = {subject.quote: Decimal(10_000)}
    for name, side in (("ttbuy", Side.BUY), ("ttsell", Side.SELL)):
        value = "100" if side is Side.BUY else "60"
        order = await venue.place_order(await order_for(subject, venue, name, value, side=side), send)
        sign = 1 if side is Side.BUY else -1
        received = "BTC" if side is Side.BUY else subject.quote
        for trade in order.trades:
            assert trade.fee > 0
            assert trade.fee_asset == (subject.quote if subject.fee_asset is FeeAsset.QUOTE else received)
            for asset, change in (
                ("BTC", sign * trade.quantity),
                (subject.quote, -sign * trade.quote_quantity),
                (trade.fee_asset, -trade.fee),
            ):
                expected[asset] = expected.get(asset, Decimal(0)) + change
    assert dict((await venue.fetch_balances()).total) == expected


async def test_deposits_when_money_arrived_are_told_where_they_can_be(subject: Subject, venue: CcxtVenue) -> None:
    await subject.deposit("second", "BTC", "0.25")
    found = [(deposit.asset, deposit.amount) for deposit in await venue.fetch_deposits()]
    assert sorted(found) == ([("BTC", Decimal("0.25")), (subject.quote, Decimal(10_000))] if found else [])
    assert bool(found) == venue.capabilities.reads_deposits


async def test_order_when_it_cannot_be_paid_is_refused_and_not_there(subject: Subject, venue: CcxtVenue) -> None:
    with pytest.raises(OrderRefused) as refused:
        await venue.place_order(await order_for(subject, venue, FIRST, "20000"), send)
    assert not refused.value.stop
    assert refused.value.retry_after_s == 0
    assert await venue.find_order(await search_for(subject, FIRST)) is None


@pytest.mark.parametrize("fault", FAULTS)
async def test_order_when_reply_is_ambiguous_is_unknown_and_sent_once(subject: Subject, fault: str) -> None:
    await subject.deposit("first", subject.quote, "10000")
    venue = subject.venue(timeout_ms=300)
    try:
        request = await order_for(subject, venue, FIRST)
        subject.faults.append(fault)
        with pytest.raises(OutcomeUnknown):
            await venue.place_order(request, send)
        assert len(subject.orders_sent) == 1
        if fault in ARRIVES:
            found = await settled(subject, venue, FIRST)
            assert sum(trade.quantity for trade in found.trades) == request.quantity
        else:
            assert await venue.find_order(await search_for(subject, FIRST)) is None
        assert await subject.taken() == [wire_id(venue, FIRST)] * (fault in ARRIVES)
    finally:
        await venue.close()


async def test_trades_when_they_fill_pages_are_all_read_oldest_first(
    subject: Subject, venue: CcxtVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where the page's size is the client's choice, a small one; the faces of the others have small pages.
    module = f"services.order_executor.adapters.{subject.name}.dialect"
    if subject.name in {"binance", "kucoin", "okx"}:
        monkeypatch.setattr(f"{module}._PAGE", 3)
    since = await subject.now() - timedelta(minutes=1)
    request = await order_for(subject, venue, FIRST, "50")
    for number in range(5):
        await venue.place_order(replace(request, client_order_id=f"ttpage{number}"), send)
    found = await venue.fetch_trades(request.symbol, since)
    assert sum(trade.quantity for trade in found) == 5 * request.quantity
    assert len({trade.trade_id for trade in found}) == len(found) >= 5
    assert [trade.at for trade in found] == sorted(trade.at for trade in found)
    other = (await listed(venue))["ETH"].symbol
    assert await venue.fetch_trades(other, since) == ()
    last = await venue.find_order(await search_for(subject, "ttpage0"))
    assert last is not None
    assert sum(trade.quantity for trade in last.trades) == request.quantity


async def test_order_when_only_its_trades_show_is_found_by_them(
    subject: Subject, venue: CcxtVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = await order_for(subject, venue, FIRST)
    await venue.place_order(request, send)
    other = await venue.place_order(await order_for(subject, venue, "ttother", "30"), send)

    async def nothing(*_: object) -> None:
        return None

    monkeypatch.setattr(venue._dialect, "by_client_id", nothing)
    search = await search_for(subject, FIRST)
    known = Search(search.client_order_id, "", search.symbol, search.since, frozenset({other.venue_order_id}))
    found = await venue.find_order(known)
    assert found is not None
    assert found.client_order_id == FIRST
    assert sum(trade.quantity for trade in found.trades) == request.quantity


async def test_open_orders_when_one_rests_show_it_until_it_is_cancelled(subject: Subject, venue: CcxtVenue) -> None:
    assert await venue.fetch_open_orders() == ()
    bid, _ = await subject.touch("BTC")
    price = floor_to_step(bid / 2, (await listed(venue))["BTC"].tick_size)
    await subject.rest(wire_id(venue, FIRST), "BTC", "0.001", f"{price:f}")
    (resting,) = await venue.fetch_open_orders()
    assert (resting.symbol, resting.client_order_id) == (subject.symbol("BTC"), wire_id(venue, FIRST))
    found = await venue.find_order(await search_for(subject, FIRST))
    assert found is not None
    assert found.report.is_open
    await subject.rest("byhand", "BTC", "0.001", f"{price:f}")
    await venue.cancel_order(resting.symbol, FIRST, resting.venue_order_id)
    (by_hand,) = await venue.fetch_open_orders()
    assert by_hand.client_order_id == "byhand", "nothing else is cancelled"
    await venue.cancel_order(resting.symbol, FIRST, resting.venue_order_id)
    assert await venue.fetch_open_orders() == (by_hand,), "one that has ended is left as it is"
    await subject.rest(wire_id(venue, "ttsecond"), "BTC", "0.001", f"{price:f}")
    await venue.cancel_order(resting.symbol, "ttsecond")
    assert await venue.fetch_open_orders() == (by_hand,)
    await venue.cancel_order(resting.symbol, "ttsecond")
    assert await venue.fetch_open_orders() == (by_hand,)
    ended = await settled(subject, venue, FIRST)
    assert (ended.report.executed_quantity, ended.trades) == (Decimal(0), ())


async def test_reads_when_the_venue_is_gone_ask_to_retry(subject: Subject) -> None:
    gone = CcxtVenue(access_to(subject.name, "http://127.0.0.1:1", subject.quote, 300), capabilities_of(subject.name))
    reads: tuple[Callable[[], object], ...] = (gone.fetch_balances, gone.fetch_instruments, gone.fetch_open_orders)
    for read in reads:
        with pytest.raises(RetryLater):
            await read()  # type: ignore[misc]
    request = OrderRequest(FIRST, subject.symbol("BTC"), Side.BUY, Decimal("0.001"), Decimal(60_000))
    with pytest.raises(NotSent, match="clock"):
        await gone.place_order(request, send)
    await gone.close()
