"""``decide`` for a strategy on its way out: what is sold, what is waited for, what is let go."""

from dataclasses import replace
from decimal import Decimal

import pytest

from shared.core.decisions import Plan, decide
from shared.core.strategy import StrategyStatus
from tests.core.portfolio_samples import BIGONE, instrument, market, situation

D = Decimal
PRICES = {"ONE": "1", "BTC": "1", "ETH": "1"}

EXITS = [
    ("one halted: the other is sold", {"BTC": "9", "ETH": "9"}, {"halted": {"BTC"}}, "stopped_by_user"),
    ("both halted", {"BTC": "9", "ETH": "9"}, {"halted": {"BTC", "ETH"}}, "not_tradable:BTC"),
    ("one halted and stale", {"BTC": "9", "ETH": "9"}, {"halted": {"BTC"}, "stale": {"BTC"}}, "stopped_by_user"),
    ("one stale: the other is sold", {"BTC": "9", "ETH": "9"}, {"stale": {"BTC"}}, "stopped_by_user"),
    ("one never quoted: the other is sold", {"BTC": "9", "ETH": "9"}, {"unquoted": {"BTC"}}, "stopped_by_user"),
    ("one stale, the other is dust", {"BTC": "9", "ETH": "0.1"}, {"stale": {"BTC"}}, "stale_price:BTC"),
    ("one never quoted, the other is dust", {"BTC": "9", "ETH": "0.1"}, {"unquoted": {"BTC"}}, "missing_price:BTC"),
    ("one halted, the other is dust", {"BTC": "9", "ETH": "0.1"}, {"halted": {"BTC"}}, "not_tradable:BTC"),
    ("dust that is halted keeps nobody", {"BTC": "0.1", "USDT": "9"}, {"halted": {"BTC"}}, "stopped_by_user"),
    ("dust that is stale keeps nobody", {"BTC": "0.1", "USDT": "9"}, {"stale": {"BTC"}}, "stopped_by_user"),
    ("no longer listed: nothing to wait for", {"BTC": "9", "USDT": "9"}, {"unlisted": {"BTC"}}, "stopped_by_user"),
    ("no longer listed and not quoted", {"BTC": "9"}, {"unlisted": {"BTC"}, "unquoted": {"BTC"}}, "stopped_by_user"),
]  # fmt: skip


@pytest.mark.parametrize(("held", "trouble", "code"), [row[1:] for row in EXITS], ids=[row[0] for row in EXITS])
def test_exit_when_something_cannot_be_sold_sells_the_rest_and_waits_for_what_is_worth_it(
    held: dict[str, str], trouble: dict[str, set[str]], code: str
) -> None:
    now = market(PRICES)
    halted = {asset: instrument(asset, tradable=False) for asset in trouble.get("halted", ())}
    listed = {**now.instruments, **halted}
    now = replace(
        now,
        quotes={asset: quote for asset, quote in now.quotes.items() if asset not in trouble.get("unquoted", ())},
        instruments={asset: one for asset, one in listed.items() if asset not in trouble.get("unlisted", ())},
        stale=trouble.get("stale", frozenset()),
    )
    decision = decide(situation(held, status=StrategyStatus.EXITING), now)
    assert decision.code == code
    if isinstance(decision, Plan):
        lines = {line.asset: line.quantity for line in decision.draft.valuation.lines if line.quantity}
        assert lines == {asset: D(quantity) for asset, quantity in held.items()}, "what is left out would count as sold"


def test_exit_when_the_funding_asset_must_be_bought_waits_for_its_price() -> None:
    into_btc = {**BIGONE, "funding_asset": "BTC"}
    exiting = situation({"ETH": "9"}, into_btc, status=StrategyStatus.EXITING)
    assert decide(exiting, replace(market(PRICES), stale={"BTC"})).code == "stale_price:BTC"
