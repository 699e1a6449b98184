"""Order styles: how they are written in a file, and what they make of orders."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.core.errors import Refused
from shared.core.legs import PlanningInput
from shared.core.market import Instrument, Quote
from shared.core.matching import Book, Level, Side
from shared.core.order_styles import OrderStyle, Styling, orders_document, parse_orders, styling_warnings
from shared.core.planning import OrderDraft, buy_orders, sell_orders
from shared.core.styled_orders import (
    MAX_RESTS,
    Resting,
    Slicing,
    Vicinity,
    at_own_side,
    may_rest,
    sliced,
    value_to_spend,
    visible_value,
    why_ended,
)

D = Decimal
NOW = datetime(2026, 5, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

STYLES: list[Any] = [
    "limit",
    "market",
    "maker",
    {"style": "limit"},
    {"style": "market"},
    {"style": "maker"},
    {"style": "maker", "patience": "2m"},
    {"style": "twap", "slice": "5000"},
    {"style": "twap", "depth_share": "10", "every": "2m"},
    {"style": "twap", "slice": 5000, "depth_share": "0.5"},
]
WRONG_STYLES: list[Any] = [
    "twap",
    "iceberg",
    ["limit"],
    {"style": "twap"},
    {"style": "twap", "every": "1m"},
    {"style": "twap", "slice": "5000", "every": "1w"},
    {"style": "maker", "slice": "5000"},
    {"style": "limit", "patience": "1m"},
    {"style": "market", "moon": "1"},
]


@pytest.mark.parametrize("orders", STYLES)
def test_orders_when_written_back_are_read_as_the_same(orders: Any) -> None:
    styling = parse_orders(orders)
    assert parse_orders(orders_document(styling)) == styling


@pytest.mark.parametrize(
    "orders",
    [*WRONG_STYLES, {"style": "maker", "patience": "2h"}, {"style": "twap", "slice": "0"},
     {"style": "twap", "depth_share": "101"}, {"style": "maker", "patience": "0m"}],
)  # fmt: skip
def test_orders_when_wrong_are_refused_by_field(orders: Any) -> None:
    with pytest.raises(Refused) as refused:
        parse_orders(orders)
    assert all(problem.field.startswith("orders") for problem in refused.value.problems)


def test_warnings_when_a_style_costs_something_tell_it() -> None:
    assert styling_warnings(parse_orders("limit")) == []
    assert "up to 20m" in styling_warnings(parse_orders({"style": "twap", "slice": "1"}))[0]
    assert "up to 2m" in styling_warnings(parse_orders({"style": "maker", "patience": "2m"}))[0]
    assert "no bound" in styling_warnings(parse_orders("market"))[0]


def test_value_to_spend_when_it_has_many_decimals_is_cut_to_eight() -> None:
    assert value_to_spend(D("0.123456"), D("0.987654")) == D("0.12193181")
    assert value_to_spend(D("3"), D("5.01")) == D("15.03")


BTC = Instrument("paper", "BTCUSDT", "BTC", "USDT", D("0.001"), D("0.001"), D(1000), D("0.01"), D(5), D("0.001"))
QUOTE = Quote(D("99.90"), D("100.10"), NOW)


def test_maker_when_sized_stands_at_the_touch_of_its_own_side() -> None:
    planning = PlanningInput({"BTC": D(50), "USDT": D(50)}, {"BTC": D(2), "USDT": D(100)}, {"BTC": QUOTE},
                             {"BTC": BTC}, "USDT", D(50), {"BTC": D("99.90")})  # fmt: skip
    (sell,) = sell_orders(at_own_side(planning, Side.SELL)).drafts
    assert sell.limit_price == D("100.10")
    poor = replace(planning, holdings={"BTC": D(0), "USDT": D(200)})
    (buy,) = buy_orders(at_own_side(poor, Side.BUY)).drafts
    assert buy.limit_price == D("99.90")
    assert buy.quantity * buy.limit_price <= D(200)


MAKER = Styling(OrderStyle.MAKER, patience=MINUTE)
BID = Resting(Side.BUY, D("99.90"), NOW, epoch=7)
NEAR = Vicinity(NOW + timedelta(seconds=10), NOW + 5 * MINUTE, QUOTE, epoch=7)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"quote": Quote(D("99.91"), D("100.10"), NOW)}, "outbid"),
        ({"quote": Quote(D("99.91"), D("100.10"), NOW), "now": NOW + timedelta(seconds=1)}, ""),  # too soon
        ({"quote": Quote(D("99.80"), D("99.95"), NOW)}, ""),
        ({"quote": None}, "no price"),
        ({"now": NOW + MINUTE}, "patience is over"),
        ({"expires_at": NOW}, "expired"),
        ({"epoch": 8}, "left behind"),
        ({"ending": "halted", "epoch": 8}, "halted"),
    ],
)
def test_resting_order_when_something_changes_ends_for_that_reason(changes: dict[str, Any], why: str) -> None:
    assert why_ended(BID, MAKER, NOW, replace(NEAR, **changes)) == why


def test_resting_sale_when_undercut_ends() -> None:
    ask = Resting(Side.SELL, D("100.10"), NOW, epoch=7)
    assert why_ended(ask, MAKER, NOW, NEAR) == ""
    cheaper = replace(NEAR, quote=Quote(D("99.90"), D("100.09"), NOW))
    assert why_ended(ask, MAKER, NOW, cheaper) == "outbid"


def test_rest_when_patience_or_tries_are_used_up_is_over_for_that_side() -> None:
    assert may_rest(MAKER, Side.BUY, [], NOW)
    assert may_rest(MAKER, Side.BUY, [BID], NOW + MINUTE - timedelta(milliseconds=1))
    assert not may_rest(MAKER, Side.BUY, [BID], NOW + MINUTE)
    assert may_rest(MAKER, Side.SELL, [BID], NOW + MINUTE)
    often = [replace(BID, sent_at=NOW + timedelta(seconds=n)) for n in range(MAX_RESTS)]
    assert not may_rest(MAKER, Side.BUY, often, NOW + timedelta(seconds=30))


LEVELS = (Level(D("100.10"), D(3)), Level(D("100.30"), D(4)), Level(D(101), D(500)))
BOOK = Book(bids=(), asks=LEVELS)
DRAFT = OrderDraft(Side.BUY, "BTC", "BTCUSDT", D(10), D("100.50"), D(1001))


def slicing(done: int = 0, book: Book | None = BOOK) -> Slicing:
    return Slicing(done, None, {"BTC": book})


def test_visible_value_when_the_limit_ends_it_counts_no_further() -> None:
    assert visible_value(BOOK, Side.BUY, D("100.50")) == D("300.30") + D("401.20")


@pytest.mark.parametrize(
    ("styling", "state", "quantity"),
    [
        (Styling(OrderStyle.TWAP, slice_notional=D(2000)), slicing(), "10"),
        (Styling(OrderStyle.TWAP, slice_notional=D(250)), slicing(), "2.497"),  # 250 / 100.10
        (Styling(OrderStyle.TWAP, depth_share_pct=D(10)), slicing(), "0.700"),  # 70.15 / 100.10
        (Styling(OrderStyle.TWAP, slice_notional=D(250), depth_share_pct=D(10)), slicing(), "0.700"),
        (Styling(OrderStyle.TWAP, slice_notional=D(1)), slicing(), "0.5"),  # a twentieth
        (Styling(OrderStyle.TWAP, slice_notional=D(1)), slicing(18), "5"),
        (Styling(OrderStyle.TWAP, slice_notional=D(1)), slicing(19), "10"),
        (Styling(OrderStyle.TWAP, slice_notional=D(1)), slicing(40), "10"),
        (Styling(OrderStyle.TWAP, depth_share_pct=D(10)), slicing(book=None), "0.5"),
        (Styling(OrderStyle.TWAP, slice_notional=D(998)), slicing(), "10"),  # no rest under the minimum
    ],
)
def test_twap_when_an_order_is_too_large_sends_a_part(styling: Styling, state: Slicing, quantity: str) -> None:
    part = sliced(DRAFT, BTC, styling, state)
    assert part.quantity == D(quantity)
    assert part.value == part.quantity * D("100.10")
