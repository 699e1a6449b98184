"""Plans for new money only buy, plans for a withdrawal only sell, and both do what they are for."""

import os
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.core.matching import OrderTerms, PriceBand, Side, filter_failures
from shared.core.money import HUNDRED, ZERO, exact, floor_to_step
from shared.core.one_way import without_untouched
from shared.core.planning import OrderDraft, PlanningInput, Sizing, buy_orders, is_settled, sell_orders
from shared.core.raising import has_raised, raising_orders
from tests.core.test_planning import BIGONE, executed, instrument, planning, portfolio, quoted

D = Decimal
EFFORT = 100 * int(os.environ.get("TRIMTAB_TEST_EFFORT", "5"))
CASH = "USDT"


def values_of(start: PlanningInput) -> dict[str, Decimal]:
    """What is held at bid, cash included."""
    prices = {asset: quote.bid for asset, quote in start.quotes.items()} | {CASH: D(1)}
    return {asset: start.holdings.get(asset, ZERO) * prices[asset] for asset in {*start.holdings, *start.targets_pct}}


@exact
def level(
    values: Mapping[str, Decimal], targets: Mapping[str, Decimal], moved: Callable[[Decimal], Decimal]
) -> Decimal:
    """The level (value per percent) at which ``moved`` is 0, by bisection: it rises with the level."""
    low, high = ZERO, 2 * sum(values.values(), ZERO) / min(share for share in targets.values() if share > 0)
    for _ in range(160):
        middle = (low + high) / 2
        low, high = (middle, high) if moved(middle) < 0 else (low, middle)
    return high


@exact
def aims_of_new_money(start: PlanningInput, asset: str, money: Decimal) -> PlanningInput:
    """A plan that spends ``money`` (worth of ``asset``, held already) where it is needed most."""
    values, targets = values_of(start), start.targets_pct
    values[asset] -= money

    def moved(per_point: Decimal) -> Decimal:
        return sum((max(ZERO, per_point * targets.get(a, ZERO) - v) for a, v in values.items()), ZERO) - money

    per_point = level(values, targets, moved)
    aims = {a: max(v, per_point * targets.get(a, ZERO)) for a, v in values.items()}
    ways = {name: Side.BUY for name in aims if name not in {asset, CASH}}
    return aimed(start, aims, ways)


@exact
def aims_of_withdrawal(start: PlanningInput, asset: str, worth: Decimal, margin: Decimal) -> PlanningInput:
    """A plan that makes ``worth`` of ``asset`` available, and ``margin`` of what must be sold.

    Cash and then assets without a target go first, the others down to one level.
    """
    values, targets = values_of(start), start.targets_pct
    worth += margin * max(ZERO, worth - values[asset])
    whole, lacking = dict(values), worth
    for name in sorted(set(values) - set(targets), key=lambda each: (each != CASH, each)):
        taken = min(values[name], lacking)
        values[name] -= taken
        lacking -= taken

    def kept(per_point: Decimal) -> Decimal:
        return sum((min(v, per_point * targets.get(a, ZERO)) for a, v in values.items()), ZERO)

    aims = values
    if lacking > 0:
        total = sum(values.values(), ZERO)
        per_point = level(values, targets, lambda point: kept(point) - (total - lacking))
        aims = {a: min(v, per_point * targets.get(a, ZERO)) for a, v in values.items()}
    aims[asset] += sum(whole.values(), ZERO) - sum(aims.values(), ZERO)
    ways = {name: Side.SELL for name in aims if name not in {asset, CASH}}
    return aimed(start, aims, ways)


def aimed(start: PlanningInput, aims: Mapping[str, Decimal], ways: Mapping[str, Side]) -> PlanningInput:
    total = sum(aims.values(), ZERO)
    return replace(
        start,
        targets_pct={asset: aim / total * HUNDRED for asset, aim in aims.items() if aim > 0},
        ways=ways,
        prices={asset: quote.bid for asset, quote in start.quotes.items()},
    )


@exact
def carried_out(
    plan: PlanningInput, sells: Callable[[PlanningInput], Sizing], cycles: int = 6
) -> tuple[PlanningInput, list[OrderDraft]]:
    """The plan after cycles of sells and buys that all fill; every order valid and covered."""
    done: list[OrderDraft] = []
    now = plan
    for cycle in range(cycles):
        for size in (sells, buy_orders):
            room = replace(now, slippage_bps=min(now.slippage_bps, D(5) * 2**cycle)) if size is buy_orders else now
            drafts = size(room).drafts
            check(now, drafts)
            now = executed(now, drafts)
            done += drafts
    assert all(quantity >= 0 for quantity in now.holdings.values())
    return now, done


def check(now: PlanningInput, drafts: tuple[OrderDraft, ...]) -> None:
    wide = PriceBand(D(2), D("0.5"), D(2), D("0.5"))
    for draft in drafts:
        terms = OrderTerms(draft.side, quantity=draft.quantity, price=draft.limit_price)
        assert filter_failures(terms, now.instruments[draft.asset], wide, now.quotes[draft.asset].bid) == ()
        assert now.ways.get(draft.asset, draft.side) is draft.side
        assert draft.side is Side.BUY or draft.quantity <= now.holdings[draft.asset]
    spent = sum((draft.quantity * draft.limit_price for draft in drafts if draft.side is Side.BUY), ZERO)
    assert spent <= now.holdings.get(CASH, ZERO)
    assert len({draft.asset for draft in drafts}) == len(drafts)


def has_small_lots(start: PlanningInput) -> bool:
    """Where a lot is worth about as much as the smallest order, what rounding leaves in several assets adds up."""
    lots = [listed.lot_step * start.quotes[asset].ask for asset, listed in start.instruments.items()]
    return max(lots) <= min(listed.min_notional for listed in start.instruments.values()) / 20


def sample(seed: int) -> tuple[PlanningInput, random.Random]:
    """A random portfolio; spreads of at most 10 bps, as the venues we trade at have."""
    start, dice = portfolio(seed), random.Random(seed + 1)
    quotes = {asset: replace(q, ask=min(q.ask, q.bid * D("1.001"))) for asset, q in start.quotes.items()}
    listed = start.instruments
    quotes = {a: replace(q, ask=max(q.bid, floor_to_step(q.ask, listed[a].tick_size))) for a, q in quotes.items()}
    return replace(start, quotes=quotes), dice


@settings(max_examples=EFFORT, deadline=None, database=None)
@given(st.integers(0, 2**64))
def test_invest_when_all_orders_fill_never_sells_and_spends_the_money(seed: int) -> None:
    start, dice = sample(seed)
    money = D(dice.randint(6, 50_000))
    held = {**start.holdings, CASH: start.holdings[CASH] + money}
    plan = aims_of_new_money(replace(start, holdings=held), CASH, money)
    end, done = carried_out(plan, sell_orders)
    assert all(draft.side is Side.BUY for draft in done)
    if has_small_lots(start):
        assert is_settled(end)


@settings(max_examples=EFFORT, deadline=None, database=None)
@given(st.integers(0, 2**64))
def test_invest_when_the_money_came_in_a_coin_sells_only_that(seed: int) -> None:
    start, dice = sample(seed)
    coin = dice.choice(sorted(start.instruments))
    quantity = (D(dice.randint(6, 50_000)) / start.quotes[coin].bid).quantize(D("1e-8"))
    held = {**start.holdings, coin: start.holdings.get(coin, ZERO) + quantity}
    plan = aims_of_new_money(replace(start, holdings=held), coin, quantity * start.quotes[coin].bid)
    end, done = carried_out(plan, sell_orders)
    assert {draft.asset for draft in done if draft.side is Side.SELL} <= {coin}
    assert end.holdings[coin] >= 0
    if has_small_lots(start):
        assert is_settled(end)


@settings(max_examples=EFFORT, deadline=None, database=None)
@given(st.integers(0, 2**64))
def test_withdrawal_when_the_market_stands_still_never_buys_and_raises_what_is_wanted(seed: int) -> None:
    start, dice = sample(seed)
    total = sum(values_of(start).values(), ZERO)
    worth = total * dice.randint(1, 800) / 1000
    margin = 2 * max(listed.taker_fee for listed in start.instruments.values())
    plan = aims_of_withdrawal(start, CASH, worth, max(margin, D("0.002")))
    end, done = carried_out(plan, raising_orders)
    assert all(draft.side is Side.SELL for draft in done)
    if end.holdings[CASH] < worth:
        assert raising_orders(end).drafts == (), "what is left cannot be sold"
        sellable = [sellable_value(end, asset) for asset in end.instruments]
        assert sum(sellable, ZERO) == 0 or not has_small_lots(start)
    elif has_small_lots(start):
        assert has_raised(end)
        # No more than the plan says, but for one smallest order: nobody is sold out for a small withdrawal.
        most = max(listed.min_notional for listed in start.instruments.values())
        aim = plan.targets_pct[CASH] * total / HUNDRED
        assert worth <= end.holdings[CASH] <= aim + D("1.1") * most


@exact
def sellable_value(now: PlanningInput, asset: str) -> Decimal:
    listed, quote = now.instruments[asset], now.quotes[asset]
    quantity = floor_to_step(now.holdings.get(asset, ZERO), listed.lot_step)
    return quantity * quote.bid if quantity * quote.bid * D("0.99") >= listed.min_notional else ZERO


@settings(max_examples=EFFORT, deadline=None, database=None)
@given(st.integers(0, 2**64))
def test_withdrawal_when_of_a_coin_buys_only_that(seed: int) -> None:
    start, dice = sample(seed)
    total = sum(values_of(start).values(), ZERO)
    coin = dice.choice(sorted(start.instruments))
    plan = aims_of_withdrawal(start, coin, total * dice.randint(1, 800) / 1000, D("0.002"))
    _, done = carried_out(plan, raising_orders)
    assert {draft.asset for draft in done if draft.side is Side.BUY} <= {coin}


THIRDS = {"ONE": "40", "BTC": "30", "ETH": "30"}
PRICES = quoted(ONE="0.02", BTC="60000", ETH="1500")


def test_invest_when_one_asset_is_far_above_its_target_is_settled_by_buying_the_others() -> None:
    """480 of ONE, 900 of BTC, 240 of ETH; 300 new: ETH first (to 300), then ONE and ETH in proportion."""
    holdings = {"ONE": "24000", "BTC": "0.015", "ETH": "0.16", "USDT": "300"}
    plan = aims_of_new_money(planning(THIRDS, holdings, PRICES, *BIGONE), CASH, D(300))
    end, done = carried_out(plan, sell_orders)
    bought = {draft.asset: draft.value for draft in done}
    assert set(bought) == {"ONE", "ETH"}
    per_point = D(1020) / 70
    assert abs(bought["ONE"] - (per_point * 40 - 480)) < D("0.5")
    assert abs(bought["ETH"] - (per_point * 30 - 240)) < D(2)  # a lot is 0.15
    assert end.holdings["BTC"] == D("0.015")
    assert end.holdings[CASH] < 1
    assert is_settled(end)
    assert not is_settled(plan)


def test_without_untouched_when_an_asset_stays_makes_the_targets_shares_of_the_rest() -> None:
    holdings = {"ONE": "24000", "BTC": "0.015", "ETH": "0.16", "USDT": "300"}
    plan = aims_of_new_money(planning(THIRDS, holdings, PRICES, *BIGONE), CASH, D(300))
    rest = without_untouched(plan)
    assert set(rest.holdings) == {"ONE", "ETH", "USDT"}
    assert abs(sum(rest.targets_pct.values(), ZERO) - 100) < D("1e-20")
    assert abs(3 * rest.targets_pct["ONE"] - 4 * rest.targets_pct["ETH"]) < D("1e-20")
    assert without_untouched(replace(plan, ways={})).holdings == plan.holdings


def test_withdrawal_when_every_share_is_below_the_minimum_sells_as_few_minimum_legs_as_it_takes() -> None:
    """25 coins of 40 each; 30 are wanted: 1.2 of each would do, but the venue takes no order below 5."""
    names = [f"A{number:02}" for number in range(25)]
    quotes = quoted(**dict.fromkeys(names, "10"))
    listed = [instrument(name) for name in names]
    start = planning(dict.fromkeys(names, "4"), dict.fromkeys(names, "4") | {"USDT": "0"}, quotes, *listed)
    end, done = carried_out(aims_of_withdrawal(start, CASH, D(30), D("0.002")), raising_orders)
    assert len(done) == 6
    assert max(draft.value for draft in done) < D("5.1"), "no order is larger than the minimum (and its slippage)"
    assert D(30) <= end.holdings[CASH] < D(31)
    assert has_raised(end)


def test_withdrawal_when_the_money_is_there_sells_nothing() -> None:
    start = planning(THIRDS, {"ONE": "24000", "BTC": "0.008", "ETH": "0.16", "USDT": "500"}, PRICES, *BIGONE)
    plan = aims_of_withdrawal(start, CASH, D(400), D("0.002"))
    assert raising_orders(plan) == Sizing()
    assert buy_orders(plan).drafts == ()


@pytest.mark.parametrize("fall", ["0.99", "0.9"])
def test_withdrawal_when_the_market_fell_since_the_decision_sells_more_to_pay_it(fall: str) -> None:
    start = planning(THIRDS, {"ONE": "24000", "BTC": "0.008", "ETH": "0.16", "USDT": "0"}, PRICES, *BIGONE)
    plan = aims_of_withdrawal(start, CASH, D(300), D("0.002"))
    fallen = {a: replace(q, bid=q.bid * D(fall), ask=q.bid * D(fall)) for a, q in plan.quotes.items()}
    end, _ = carried_out(replace(plan, quotes=fallen), raising_orders)
    assert end.holdings[CASH] >= 300 * D("0.99")
    assert has_raised(end)


def test_withdrawal_when_an_asset_is_halted_does_not_take_its_part_from_the_others() -> None:
    halted = (BIGONE[0], replace(BIGONE[1], tradable=False), BIGONE[2])
    start = planning(THIRDS, {"ONE": "24000", "BTC": "0.008", "ETH": "0.24", "USDT": "0"}, PRICES, *halted)
    plan = aims_of_withdrawal(start, CASH, D(300), D("0.002"))
    sizing = raising_orders(plan)
    assert "not_tradable:BTC" in sizing.dropped
    assert D(125) < sum(draft.value for draft in sizing.drafts) < D(130)  # 72 of ONE and 54 of ETH, not the 174 of BTC
