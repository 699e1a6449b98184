"""A sale of the asset that fees are taken from leaves what the phase may cost."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from shared.core.fee_reserve import keep_fees, worst_fee
from shared.core.legs import PlanningInput
from shared.core.market import Instrument, Quote
from shared.core.planning import Sizing, buy_orders, sell_orders

D = Decimal
AT = datetime(2026, 1, 1, tzinfo=UTC)
LISTED = {
    asset: Instrument(
        "v", f"{asset}USDT", asset, "USDT", D("0.001"), D("0.001"), D(1_000_000), D("0.01"), D(5), D("0.001")
    )
    for asset in ("BNB", "BTC")
}
QUOTES = {"BNB": Quote(D(200), D(200), AT), "BTC": Quote(D(10_000), D(10_000), AT)}


def planning(bnb: str, btc: str, fee_asset: str = "BNB", **targets: str) -> PlanningInput:
    wanted = {asset: D(share) for asset, share in (targets or {"USDT": "100"}).items()}
    held = {"BNB": D(bnb), "BTC": D(btc), "USDT": D(0)}
    return PlanningInput(wanted, held, QUOTES, LISTED, "USDT", D(50), fee_asset=fee_asset)


def quantities(sizing: Sizing) -> dict[str, Decimal]:
    return {draft.asset: draft.quantity for draft in sizing.drafts}


@pytest.mark.parametrize(
    ("worth", "fee", "price", "most"),
    [
        ("1000", "0.001", "200", "0.0051"),  # 1 USDT of fee, 2 % of room
        ("1000", "0", "200", "0"),
        ("1", "0.001", "3", "0.00034"),
        ("1", "0.001", "7", "0.000145714285714286"),  # rounded up
    ],
)
def test_fee_when_taken_from_a_third_asset_is_at_most(worth: str, fee: str, price: str, most: str) -> None:
    assert worst_fee(D(worth), D(fee), D(price)) == D(most)


@pytest.mark.parametrize(
    ("bnb", "btc", "sold"),
    [
        # BTC is sold for 10,000 USDT: a fee of 10 USDT and 2 % are 0.051 BNB.
        ("10", "1", {"BNB": "9.949", "BTC": "1"}),
        # What is left of 0.06 BNB is worth less than the minimum of 5 USDT.
        ("0.06", "1", {"BTC": "1"}),
        ("0.026", "0", {"BNB": "0.026"}),
        ("10", "0", {"BNB": "10"}),
    ],
)
def test_sale_when_fees_are_taken_from_the_same_asset_leaves_them(bnb: str, btc: str, sold: dict[str, str]) -> None:
    given = planning(bnb, btc)
    kept = keep_fees(sell_orders(given), given)
    assert quantities(kept) == {asset: D(quantity) for asset, quantity in sold.items()}
    for draft in kept.drafts:
        assert draft.value == draft.quantity * QUOTES[draft.asset].bid
    assert ("below_minimum:BNB" in kept.dropped) == ("BNB" not in sold)


@pytest.mark.parametrize("fee_asset", ["", "USDT", "KCS"])
def test_sales_when_fees_are_taken_elsewhere_are_as_sized(fee_asset: str) -> None:
    given = planning("10", "1", fee_asset)
    assert keep_fees(sell_orders(given), given) == sell_orders(given)


def test_sales_when_enough_of_the_asset_stays_anyway_are_as_sized() -> None:
    given = planning("10", "1", BNB="10", USDT="90")
    assert quantities(sell_orders(given))["BNB"] < D("9.9")
    assert keep_fees(sell_orders(given), given) == sell_orders(given)


def test_sale_when_another_was_tried_in_vain_keeps_nothing_for_that() -> None:
    given = planning("0.06", "1")
    assert quantities(keep_fees(sell_orders(given), given, frozenset({"BTC"}))) == {"BNB": D("0.06"), "BTC": D(1)}


def test_purchases_when_fees_are_taken_from_what_is_bought_are_as_sized() -> None:
    held = {"BNB": D(1), "BTC": D(0), "USDT": D(1000)}
    given = replace(planning("1", "0", BNB="50", BTC="50"), holdings=held)
    assert {draft.asset for draft in buy_orders(given).drafts} == {"BNB", "BTC"}
    assert keep_fees(buy_orders(given), given) == buy_orders(given)
