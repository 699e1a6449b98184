"""What a preview says, computed from a market made up here."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from services.strategy_registry.market import Market, market_of
from services.strategy_registry.preview import CheckedPreview, checked_preview
from shared.core.errors import Refused, RetryLater
from shared.core.money import plain
from shared.core.strategy import parse_strategy
from tests.services.strategy_registry.world import document, instruments, prices

MARKET: Market = market_of(instruments(), prices())
RICH = {"USDT": Decimal(10**6), "BTC": Decimal(100)}


def preview(wallet: Mapping[str, Decimal] = RICH, **changes: Any) -> CheckedPreview:
    return checked_preview(parse_strategy(document(**changes)), MARKET, wallet, Decimal(50))


def test_preview_when_funded_in_quote_buys_every_target() -> None:
    found = preview()
    assert [(one.side, one.asset) for one in found.orders] == [("buy", "BTC"), ("buy", "ETH"), ("buy", "SOL")]
    assert found.value == Decimal(1200)
    spent = sum(one.value for one in found.orders)
    assert Decimal(1190) < spent < Decimal(1200)
    assert found.estimated_fees == pytest.approx(spent / 1000, abs=Decimal("0.0001"))
    assert found.warnings == ()


def test_preview_when_funded_in_a_coin_sells_it_first() -> None:
    found = preview(funding_asset="BTC", amount="0.1")
    assert found.value == Decimal(5000)
    assert [(one.side, one.asset) for one in found.orders] == [("sell", "BTC"), ("buy", "ETH"), ("buy", "SOL")]
    sold = found.orders[0]
    assert sold.quantity == pytest.approx(Decimal("0.06"), rel=Decimal("0.01"))
    assert found.minimum_amount < Decimal("0.1")


def test_preview_when_funded_in_a_coin_that_is_no_target_sells_all_of_it() -> None:
    found = preview(funding_asset="BNB", amount="2")
    assert found.orders[0].side == "sell"
    assert found.orders[0].quantity == Decimal(2)


def test_preview_when_wallet_is_short_warns() -> None:
    assert "holds 100 USDT, less than 1200 USDT" in preview({"USDT": Decimal(100)}).warnings[0]


def test_preview_when_threshold_is_above_a_weight_warns() -> None:
    assert "of SOL" in preview(rebalance={"threshold": "30"}).warnings[1]


def test_minimum_when_amount_is_just_there_is_accepted_and_below_it_refused() -> None:
    minimum = preview().minimum_amount
    assert preview(amount=str(minimum)).minimum_amount == minimum
    with pytest.raises(Refused) as refused:
        preview(amount=str(minimum - Decimal("0.01")))
    (problem,) = refused.value.problems
    assert problem.field == "amount"
    assert f"at least {plain(minimum)} USDT at this threshold" in problem.allowed
    assert "a threshold of at least" in problem.allowed


def test_threshold_when_as_the_refusal_suggests_is_accepted() -> None:
    with pytest.raises(Refused) as refused:
        preview(amount="60", rebalance={"threshold": "5"})
    enough = refused.value.problems[0].allowed.split("a threshold of at least ")[1].split(" ")[0]
    assert preview(amount="60", rebalance={"threshold": enough}).value == Decimal(60)


@pytest.mark.parametrize(
    ("asset", "amount", "accepted"),
    [("USDT", "199999.99", True), ("USDT", "200000", False), ("BTC", "3.99999", True), ("BTC", "4", False)],
)
def test_value_when_at_the_limit_is_refused(asset: str, amount: str, accepted: bool) -> None:
    if accepted:
        assert preview(funding_asset=asset, amount=amount).value < 200_000
        return
    with pytest.raises(Refused, match="less than 200000 USDT in value"):
        preview(funding_asset=asset, amount=amount)


def test_value_when_the_amount_is_absurd_is_refused_not_an_error() -> None:
    with pytest.raises(Refused, match="too much"):
        preview(funding_asset="BTC", amount="9" * 37)


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"targets": {"BTC": "50", "NOPE": "50"}}, "targets.NOPE", "is not traded"),
        ({"targets": {"BTC": "50", "HALT": "50"}}, "targets.HALT", "cannot be traded"),
        ({"funding_asset": "EUR"}, "funding_asset", "is not traded"),
    ],
)
def test_asset_when_not_tradable_is_refused(changes: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        preview(**changes)
    assert [problem.field for problem in refused.value.problems] == [field]
    assert "BTC" in refused.value.problems[0].allowed


@pytest.mark.parametrize(("asset", "state"), [("STALE", "stale"), ("QUIET", "not known yet")])
def test_price_when_missing_or_stale_is_retried_later(asset: str, state: str) -> None:
    with pytest.raises(RetryLater, match=f"price of {asset} at paper is {state}"):
        preview(targets={"BTC": "50", asset: "50"})


def test_cash_weight_when_given_is_not_bought() -> None:
    found = preview(targets={"BTC": "50", "USDT": "50"}, rebalance={"interval": "7d"})
    assert [one.asset for one in found.orders] == ["BTC"]
    assert found.orders[0].value == pytest.approx(Decimal(600), rel=Decimal("0.01"))


@pytest.mark.parametrize(
    ("rule", "minimum"),
    [
        # the smallest leg is 5 USDT and 5 % for safety; targets 40, 30, 30
        ({"threshold": "5"}, "105"),
        ({"threshold": {"points": "5", "per_asset": {"BTC": "2"}}}, "262.5"),
        ({"threshold": {"relative": "10"}}, "175"),  # 3 points of 30
        ({"threshold": {"factor": "10", "floor": "3.5"}}, "150"),
        ({"threshold": "5", "destination": "halfway"}, "210"),
        ({"threshold": "5", "destination": "band_edge"}, "17.5"),  # only the first purchase counts
        ({"interval": "7d", "threshold": "5", "when": "all"}, "105"),
        ({"interval": "7d", "min_drift": "1"}, "17.5"),
        ({"hold": True}, "17.5"),
    ],
)
def test_minimum_when_the_rule_is_of_any_kind_is_its_smallest_order(rule: dict[str, Any], minimum: str) -> None:
    assert preview(rebalance=rule).minimum_amount == Decimal(minimum)
    with pytest.raises(Refused):
        preview(rebalance=rule, amount=str(Decimal(minimum) - Decimal("0.01")))


@pytest.mark.parametrize("destination", ["target", "halfway"])
def test_threshold_when_as_the_refusal_suggests_works_for_the_destination(destination: str) -> None:
    with pytest.raises(Refused) as refused:
        preview(amount="60", rebalance={"threshold": "5", "destination": destination})
    enough = refused.value.problems[0].allowed.split("a threshold of at least ")[1].split(" ")[0]
    assert preview(amount="60", rebalance={"threshold": enough, "destination": destination}).value == Decimal(60)


def test_start_when_in_the_quote_currency_is_refused() -> None:
    targets = {"BTC": "50", "USDT": "50"}
    with pytest.raises(Refused, match="has no price of its own"):
        preview(targets=targets, start={"asset": "USDT", "at_or_below": "1"})
    assert preview(targets=targets, start={"asset": "BTC", "at_or_below": "1"}).warnings == ()


def test_warnings_when_a_relative_band_is_the_whole_target_name_every_asset() -> None:
    assert len(preview(rebalance={"threshold": {"relative": "100"}}).warnings) == 3


@pytest.mark.parametrize(
    ("auto_invest", "least"),
    [
        ({"amount": "5.25"}, None),
        ({"amount": "5.24"}, "5.25 USDT"),
        ({"amount": "0.000105", "asset": "BTC"}, None),
        ({"amount": "0.0001049", "asset": "BTC"}, "5.25 USDT"),
    ],
)
def test_cycle_when_less_than_the_smallest_order_warns(auto_invest: dict[str, str], least: str | None) -> None:
    warnings = preview(auto_invest={**auto_invest, "schedule": "friday"}).warnings
    assert [f"below {least} in value its money waits" in text for text in warnings] == ([] if least is None else [True])


@pytest.mark.parametrize(
    ("auto_invest", "field"),
    [
        ({"amount": "1", "asset": "NOPE"}, "auto_invest.asset"),
        ({"amount": "1", "asset": "HALT"}, "auto_invest.asset"),
        ({"amount": "4", "asset": "BTC"}, "auto_invest.amount"),
    ],
)
def test_cycle_when_never_possible_is_refused(auto_invest: dict[str, str], field: str) -> None:
    with pytest.raises(Refused) as refused:
        preview(auto_invest={**auto_invest, "schedule": "friday"})
    assert [problem.field for problem in refused.value.problems] == [field]


def test_cycle_when_its_asset_has_no_price_now_is_retried_later() -> None:
    with pytest.raises(RetryLater, match="price of STALE"):
        preview(auto_invest={"amount": "50", "asset": "STALE", "schedule": "friday"})
