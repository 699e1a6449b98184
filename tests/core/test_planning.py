"""Sizing: from weights to orders that are valid at the venue, exact, and never more than there is."""

import os
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.core.errors import Refused
from shared.core.legs import smallest_order
from shared.core.market import Instrument, Quote
from shared.core.matching import OrderTerms, PriceBand, Side, filter_failures
from shared.core.minimums import minimum_amount, smallest_cycle, smallest_threshold
from shared.core.money import HUNDRED, MONEY_CONTEXT, ZERO, exact, floor_to_step
from shared.core.planning import (
    OrderDraft,
    PlanningInput,
    buy_orders,
    drift_after,
    is_settled,
    sell_orders,
    value_after_fees,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)
D = Decimal


def instrument(
    base: str, lot: str = "0.0001", tick: str = "0.01", minimum: str = "5", fee: str = "0.001"
) -> Instrument:
    return Instrument("paper", f"{base}USDT", base, "USDT", D(lot), D(lot), D(10_000_000), D(tick), D(minimum), D(fee))


def quoted(**prices: str) -> dict[str, Quote]:
    return {asset: Quote(D(price), D(price), AT) for asset, price in prices.items()}


def planning(
    targets: Mapping[str, str], holdings: Mapping[str, str], quotes: Mapping[str, Quote], *instruments: Instrument
) -> PlanningInput:
    return PlanningInput(
        targets_pct={asset: D(weight) for asset, weight in targets.items()},
        holdings={asset: D(quantity) for asset, quantity in holdings.items()},
        quotes=quotes,
        instruments={listed.base: listed for listed in instruments},
        quote="USDT",
        slippage_bps=D(50),
    )


@exact
def executed(given_input: PlanningInput, drafts: tuple[OrderDraft, ...]) -> PlanningInput:
    """The input after complete fills at the quoted prices, fee from what is received."""
    held = dict(given_input.holdings)
    for draft in drafts:
        listed, quote = given_input.instruments[draft.asset], given_input.quotes[draft.asset]
        price = quote.ask if draft.side is Side.BUY else quote.bid
        sign = 1 if draft.side is Side.BUY else -1
        keep = 1 - listed.taker_fee
        received = draft.quantity * keep if sign > 0 else draft.quantity
        held[draft.asset] = held.get(draft.asset, ZERO) + sign * received
        money = draft.quantity * price
        held["USDT"] = held.get("USDT", ZERO) - sign * (money if sign > 0 else money * keep)
    names = {side: frozenset(draft.asset for draft in drafts if draft.side is side) for side in Side}
    return replace(
        given_input,
        holdings=held,
        sold=given_input.sold | names[Side.SELL],
        bought=given_input.bought | names[Side.BUY],
    )


@exact
def run_cycles(start: PlanningInput, cycles: int = 4) -> tuple[PlanningInput, list[OrderDraft]]:
    done: list[OrderDraft] = []
    now = start
    for _ in range(cycles):
        for size in (sell_orders, buy_orders):
            drafts = size(now).drafts
            check_drafts(now, drafts)
            now = executed(now, drafts)
            done += drafts
    return now, done


def check_drafts(given_input: PlanningInput, drafts: tuple[OrderDraft, ...]) -> None:
    """Every draft passes the venue's filters, on the right side, within the balances."""
    wide = PriceBand(D(2), D("0.5"), D(2), D("0.5"))
    spent = ZERO
    total = value_after_fees(given_input)
    for draft in drafts:
        listed, quote = given_input.instruments[draft.asset], given_input.quotes[draft.asset]
        terms = OrderTerms(draft.side, quantity=draft.quantity, price=draft.limit_price)
        assert filter_failures(terms, listed, wide, quote.bid) == ()
        weight = given_input.holdings.get(draft.asset, ZERO) * quote.bid / total * HUNDRED
        target = given_input.targets_pct.get(draft.asset, ZERO)
        if draft.side is Side.SELL:
            assert draft.quantity <= given_input.holdings[draft.asset]
            assert weight > target, "only over-weight assets are sold"
            assert quote.bid * D("0.995") <= draft.limit_price <= quote.bid
        else:
            spent += draft.quantity * draft.limit_price
            assert weight < target, "only under-weight assets are bought"
            assert quote.ask <= draft.limit_price <= quote.ask * D("1.005")
    assert spent <= given_input.holdings.get("USDT", ZERO)
    assert len({draft.asset for draft in drafts}) == len(drafts)


BIGONE = (instrument("ONE", lot="0.01", tick="0.00001"), instrument("BTC", lot="0.00001"), instrument("ETH"))


def test_orders_when_bigone_example_sells_and_buys_exactly_the_difference() -> None:
    """1,200 USDT at 40 % ONE, 30 % BTC, 30 % ETH; BTC rises to 40 %, ETH falls to 20 %: BTC is sold, ETH bought."""
    targets = {"ONE": "40", "BTC": "30", "ETH": "30"}
    holdings = {"ONE": "24000", "BTC": "0.008", "ETH": "0.16"}  # 480, 360 and 360 at 0.02, 45000 and 2250
    quotes = quoted(ONE="0.02", BTC="60000", ETH="1500")  # now 480, 480 and 240
    start = planning(targets, holdings, quotes, *BIGONE)
    sells = sell_orders(start)
    after = value_after_fees(start)
    # Fees of 0.1 % on about 120 sold and 120 bought.
    assert D(1200) - D("0.25") < after < D(1200) - D("0.23")
    over = MONEY_CONTEXT.divide(D(480) - MONEY_CONTEXT.multiply(after, D("0.3")), D(60000))
    assert [(draft.asset, draft.quantity) for draft in sells.drafts] == [("BTC", floor_to_step(over, D("0.00001")))]
    assert sells.dropped == ("below_minimum:ONE",)  # over-weight by its share of the fees: 0.1 USDT
    middle = executed(start, sells.drafts)
    buys = buy_orders(middle)
    assert [(draft.asset, draft.side) for draft in buys.drafts] == [("ETH", Side.BUY)]
    end = executed(middle, buys.drafts)
    lots = {"ONE": D("0.01") * D("0.02"), "BTC": D("0.6"), "ETH": D("0.15")}
    total = sum((end.holdings[asset] * quote.bid for asset, quote in quotes.items()), end.holdings["USDT"])
    # The slippage bound (0.5 %) and one lot are held back from the purchase.
    assert abs(end.holdings["ETH"] * 1500 - total * D("0.3")) <= lots["ETH"] + lots["BTC"] + D("0.6")
    assert abs(end.holdings["BTC"] * 60000 - total * D("0.3")) <= lots["BTC"]
    assert end.holdings["ONE"] == 24000
    assert is_settled(end)
    assert not sell_orders(end).drafts
    assert not buy_orders(end).drafts


def test_orders_when_first_purchase_spends_everything_on_target() -> None:
    quotes = quoted(ONE="0.02", BTC="50000", ETH="2500")
    start = planning({"ONE": "40", "BTC": "30", "ETH": "30"}, {"USDT": "1200"}, quotes, *BIGONE)
    assert sell_orders(start).drafts == ()
    end, done = run_cycles(start)
    assert {draft.asset for draft in done} == {"ONE", "BTC", "ETH"}
    assert is_settled(end)
    assert end.holdings["USDT"] < 6
    assert drift_after(end.holdings, end.targets_pct, {a: q.bid for a, q in quotes.items()}, "USDT") < D("0.5")


def test_orders_when_exit_sells_everything_whole_and_keeps_dust() -> None:
    quotes = quoted(ONE="0.02", BTC="50000", ETH="2500")
    start = planning({"USDT": "100"}, {"ONE": "24000.005", "BTC": "0.00721", "ETH": "0.0012"}, quotes, *BIGONE)
    sells = sell_orders(start)
    assert {draft.asset: draft.quantity for draft in sells.drafts} == {"ONE": D(24000), "BTC": D("0.00721")}
    assert sells.dropped == ("below_minimum:ETH",)
    end = executed(start, sells.drafts)
    assert buy_orders(end).drafts == ()
    assert is_settled(end)


def test_orders_when_cash_is_a_target_keeps_it() -> None:
    quotes = quoted(BTC="50000")
    start = planning({"BTC": "60", "USDT": "40"}, {"USDT": "1000"}, quotes, instrument("BTC", lot="0.00001"))
    end, _ = run_cycles(start)
    assert D(400) <= end.holdings["USDT"] + D("0.7")
    assert end.holdings["USDT"] < D(406)


def test_orders_when_asset_is_halted_leaves_it_and_its_money_alone() -> None:
    quotes = quoted(BTC="50000", ETH="2500")
    halted = replace(instrument("ETH"), tradable=False)
    listed = instrument("BTC", lot="0.00001")
    start = planning({"BTC": "50", "ETH": "50"}, {"USDT": "1000"}, quotes, listed, halted)
    buys = buy_orders(start)
    assert [draft.asset for draft in buys.drafts] == ["BTC"]
    assert buys.dropped == ("not_tradable:ETH",)
    assert buys.drafts[0].value < 501


def test_orders_when_small_over_weights_fund_a_large_under_weight_sells_minimum_legs() -> None:
    names = [f"A{number}" for number in range(9)]
    quotes = quoted(B="10", **dict.fromkeys(names, "10"))
    listed = [instrument(name, lot="0.0001") for name in ["B", *names]]
    targets = {"B": "10", **dict.fromkeys(names, "10")}
    # Each A is 3 over its 100, B is 27 under: no sell alone reaches the minimum of 5.
    holdings = {"B": "7.3", **dict.fromkeys(names, "10.3")}
    end, done = run_cycles(planning(targets, holdings, quotes, *listed))
    assert {draft.asset for draft in done if draft.side is Side.BUY} == {"B"}
    assert is_settled(end)


def test_orders_when_a_held_asset_has_no_price_are_refused() -> None:
    start = planning({"BTC": "100"}, {"XYZ": "1"}, quoted(BTC="1"), instrument("BTC"))
    with pytest.raises(Refused, match="XYZ"):
        sell_orders(start)


def test_sizing_prices_when_given_fix_the_target_quantities() -> None:
    quotes = quoted(BTC="55000", ETH="2500")
    listed = (instrument("BTC", lot="0.00001"), instrument("ETH"))
    start = planning({"BTC": "50", "ETH": "50"}, {"BTC": "0.02", "ETH": "0.4"}, quotes, *listed)
    pinned = replace(start, prices={"BTC": D(50000), "ETH": D(2500)})
    assert sell_orders(start).drafts
    assert sell_orders(pinned).drafts == ()  # on target at the prices of the plan
    assert is_settled(pinned)


@pytest.mark.parametrize(
    ("widths", "amount", "named"),
    [
        ({"ONE": "5", "BTC": "5"}, "105", "5 percentage points"),
        ({"ONE": "8", "BTC": "3"}, "175", "3 percentage points of BTC"),
        ({"ONE": "2.5", "BTC": "2.5"}, "210", "2.5 percentage points"),
        ({"ONE": "0", "BTC": "0"}, "13.13", "first purchase of BTC"),  # to the edge of the band: it waits until it can
        (
            {"ONE": "70", "BTC": "45"},
            "13.13",
            "first purchase of BTC",
        ),  # wider than the targets: no correction so small
    ],
)
def test_minimum_amount_when_widths_are_by_asset_is_of_the_narrowest(
    widths: dict[str, str], amount: str, named: str
) -> None:
    listed = {asset: instrument(asset) for asset in ("ONE", "BTC")}
    quotes = {asset: Quote(D(1), D(1), AT) for asset in listed}
    points = {asset: D(width) for asset, width in widths.items()}
    found = minimum_amount({"ONE": D(60), "BTC": D(40)}, points, listed, quotes, "USDT")
    assert found.amount == D(amount)
    assert named in found.explanation


def test_smallest_cycle_when_of_several_targets_is_the_smallest_leg_of_them() -> None:
    quotes = {asset: Quote(price, price, AT) for asset, price in {"ONE": D("0.01"), "BTC": D(50_000)}.items()}
    listed = {
        "ONE": replace(instrument("ONE"), min_notional=D(6)),
        "BTC": replace(instrument("BTC"), min_quantity=D("0.001")),
    }
    assert smallest_cycle({"ONE": D(60), "BTC": D(40)}, listed, quotes, "USDT") == D("6.30")
    assert smallest_cycle({"USDT": D(60), "BTC": D(40)}, listed, quotes, "USDT") == D("52.5")
    with pytest.raises(Refused):
        smallest_cycle({"ONE": D(60), "XYZ": D(40)}, listed, quotes, "USDT")


def test_minimum_amount_when_threshold_is_the_narrowest_names_it() -> None:
    quotes = quoted(ONE="0.02", BTC="50000", ETH="2500")
    listed = {item.base: item for item in BIGONE}
    targets = {"ONE": D(40), "BTC": D(30), "ETH": D(30)}
    found = minimum_amount(targets, D(5), listed, quotes, "USDT")
    assert found.amount == D(105)
    assert "5 percentage points" in found.explanation
    assert minimum_amount(targets, None, listed, quotes, "USDT").amount == D("17.5")
    assert smallest_threshold(D(1200), targets, listed, quotes, "USDT") == D("0.44")
    with pytest.raises(Refused, match="XYZ"):
        minimum_amount({"XYZ": D(100)}, None, listed, quotes, "USDT")


def test_orders_when_sales_brought_more_than_planned_use_what_small_legs_add_up_to() -> None:
    """Nine assets were sold at a better price: each is 3 under its target, together more cash than an order takes."""
    names = [f"A{number}" for number in range(9)]
    quotes = quoted(**dict.fromkeys([*names, "B"], "10"))
    listed = [instrument(name, lot="0.0001") for name in [*names, "B"]]
    targets = dict.fromkeys([*names, "B"], "10")
    holdings = {**dict.fromkeys(names, "9.7"), "B": "10", "USDT": "27"}
    start = replace(planning(targets, holdings, quotes, *listed), sold=frozenset(names))
    assert not is_settled(start)
    end, done = run_cycles(start)
    assert {draft.side for draft in done} == {Side.BUY}
    assert all(draft.value < D("5.01") for draft in done), "the smallest orders there are"
    assert end.holdings["USDT"] < 7
    assert is_settled(end)


def test_orders_when_purchases_cost_more_than_planned_use_what_small_legs_add_up_to() -> None:
    """Nine assets were bought, each is 3 over its target: none of them is sold back but for the tenth, 27 under."""
    names = [f"A{number}" for number in range(9)]
    quotes = quoted(**dict.fromkeys([*names, "B"], "10"))
    listed = [instrument(name, lot="0.0001") for name in [*names, "B"]]
    targets = dict.fromkeys([*names, "B"], "10")
    holdings = {**dict.fromkeys(names, "10.3"), "B": "7.3"}
    start = replace(planning(targets, holdings, quotes, *listed), bought=frozenset(names))
    assert not is_settled(start)
    end, done = run_cycles(start)
    assert {draft.asset for draft in done if draft.side is Side.BUY} == {"B"}
    assert is_settled(end)
    alone = replace(start, holdings={**start.holdings, "B": D("10.3")})
    assert run_cycles(alone)[1] == [], "without a purchase that lacks the money nothing is sold back"
    assert is_settled(alone)


def test_orders_when_over_weights_bring_less_than_an_order_by_the_fee_sell_a_little_more() -> None:
    """A minimum leg of 5 brings 4.97 after a fee of 0.6 %, and the purchase that needs it takes 5."""
    names = ["A", "B", "C"]
    quotes = quoted(**dict.fromkeys(names, "10"))
    listed = [instrument(name, lot="0.0001", fee="0.006") for name in names]
    holdings = {"A": "10.3", "B": "10.3", "C": "9.4"}
    end, done = run_cycles(planning({"A": "33.3", "B": "33.3", "C": "33.4"}, holdings, quotes, *listed))
    assert [(draft.side, draft.asset) for draft in done] == [(Side.SELL, "A"), (Side.BUY, "C")]
    assert is_settled(end)


def test_orders_when_the_market_has_left_the_plans_prices_are_sized_by_what_the_money_affords() -> None:
    """A, sold, has fallen by 20 % and B, bought, has risen by 25 %: one cycle is enough, all pay for it alike."""
    quotes = quoted(A="80", B="125", C="100")
    listed = [instrument(name, lot="0.000001") for name in ("A", "B", "C")]
    targets = {"A": "40", "B": "40", "C": "20"}
    start = planning(targets, {"A": "60", "B": "20", "C": "20"}, quotes, *listed)
    pinned = replace(start, prices=dict.fromkeys(targets, D(100)))
    end, done = run_cycles(pinned, cycles=1)
    assert {(draft.asset, draft.side) for draft in done} == {("A", Side.SELL), ("B", Side.BUY), ("C", Side.SELL)}
    drift = drift_after(end.holdings, end.targets_pct, pinned.prices, "USDT")
    assert drift < D("0.3"), "what the limit of the purchase holds back"
    assert abs(end.holdings["A"] - end.holdings["C"] * 2) < D("0.00001")


def test_smallest_order_when_the_market_fell_since_the_plan_is_more_of_the_asset() -> None:
    """5 USDT at 42,000 (less 0.5 % and rounded by a lot) is worth 7.2 and a lot at the plan's 60,000."""
    start = planning({"BTC": "50", "USDT": "50"}, {"BTC": "0.01", "USDT": "600"}, quoted(BTC="42000"), *BIGONE)
    bitcoin = BIGONE[1]
    value = smallest_order(start, bitcoin, D(60000))
    assert abs(value - (D(5) / D("0.995") / 42000 + D("0.00001")) * 60000) < D("1e-9")
    assert value > smallest_order(replace(start, quotes=quoted(BTC="60000")), bitcoin, D(60000))


def portfolio(seed: int) -> PlanningInput:
    """A random market and portfolio, all from one seed: drawing a hundred values each would be too slow."""
    dice = random.Random(seed)
    count = dice.randint(1, 10)
    names = [f"C{number}" for number in range(count)]
    cuts = sorted(dice.sample(range(1, 10_000), count - 1))
    weights = [D(high - low) / 100 for low, high in zip([0, *cuts], [*cuts, 10_000], strict=True)]
    total = D(dice.choice([dice.randint(50, 2_000), dice.randint(50, 200_000)]))
    quotes, listed, holdings = {}, {}, {}
    shares = [dice.choice([0, dice.randint(0, 100)]) for _ in range(count)] + [dice.randint(1, 100)]
    common = D(dice.choice(["1", "5", "10"]))
    for name, share in zip(names, shares, strict=False):
        tick = D(1).scaleb(dice.randint(-8, 0))
        bid = tick * dice.randint(1_000, 10_000_000)
        ask = bid + tick * dice.randint(0, 3)
        lot = D(1).scaleb(min(dice.randint(-8, 2), (D(1) / bid).adjusted() - dice.randint(0, 3)))
        minimum = common if dice.random() < 0.8 else D(dice.choice(["1", "5", "10"]))
        fee = D(dice.choice(["0", "0.00075", "0.001", "0.006"]))
        quotes[name] = Quote(bid, ask, AT)
        listed[name] = Instrument("p", f"{name}USDT", name, "USDT", lot, lot, D(10) ** 18, tick, minimum, fee)
        holdings[name] = (total * share / sum(shares) / bid).quantize(D(1).scaleb(-8))
    holdings["USDT"] = (total * shares[-1] / sum(shares)).quantize(D("0.01"))
    targets = dict(zip(names, weights, strict=True))
    if dice.random() < 0.3 and count > 1:  # the first asset's weight is held in cash
        targets["USDT"] = targets.pop(names[0])
    return PlanningInput(targets, holdings, quotes, listed, "USDT", D(50))


@settings(max_examples=1_000 * int(os.environ.get("TRIMTAB_TEST_EFFORT", "5")), deadline=None, database=None)
@given(st.integers(0, 2**64))
def test_plan_when_all_orders_fill_ends_on_target_with_valid_orders_only(seed: int) -> None:
    start = portfolio(seed)
    worth = sum((q * (start.quotes[a].bid if a != "USDT" else 1) for a, q in start.holdings.items()), ZERO)
    if worth <= 0:
        return
    end, done = run_cycles(start)
    # Where a lot is worth about as much as the smallest order, what rounding leaves in several assets adds up.
    lots = [listed.lot_step * start.quotes[asset].ask for asset, listed in start.instruments.items()]
    if max(lots) <= min(listed.min_notional for listed in start.instruments.values()) / 4:
        assert is_settled(end)
    sides = {draft.asset: draft.side for draft in done}
    assert all(sides[draft.asset] is draft.side for draft in done), "never sold to be bought back"
    for asset, quantity in end.holdings.items():
        assert quantity >= 0, asset


@given(st.decimals("0.00000001", "1000000", places=8), st.integers(-8, 3))
def test_floor_to_step_when_used_for_quantities_never_exceeds(value: Decimal, exponent: int) -> None:
    step = D(1).scaleb(exponent)
    assert value - step < floor_to_step(value, step) <= value
