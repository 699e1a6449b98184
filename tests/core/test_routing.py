"""Routes on direct pairs: taken where they are cheaper, never dearer at their limits, never more than is there."""

import random
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from shared.core.legs import PlanningInput
from shared.core.market import Instrument, Quote
from shared.core.matching import OrderTerms, PriceBand, Side, filter_failures
from shared.core.money import ONE, ZERO, ceil_to_step, exact, floor_to_step
from shared.core.planning import OrderDraft, buy_orders, sell_orders
from shared.core.routing import DirectDraft, DirectPair, route_in_words, routed, routes_in
from shared.core.styled_orders import at_the_touch

D = Decimal
AT = datetime(2026, 1, 1, tzinfo=UTC)
BAND = PriceBand()
CASES = 4000


def listed(base: str, quote: str, *, tick: str, least: str, fee: str = "0.001", lot: str = "0.0001") -> Instrument:
    symbol = f"{base}{quote}"
    return Instrument("v", symbol, base, quote, D(lot), D(lot), D(10**6), D(tick), D(least), D(fee))


def planning(**changes: object) -> PlanningInput:
    """BTC at 50000, ETH at 2500, 2 bps of spread each; 1 BTC is to become half ETH."""
    given = PlanningInput(
        targets_pct={"BTC": D(50), "ETH": D(50)},
        holdings={"BTC": D(1)},
        quotes={"BTC": Quote(D(49995), D(50005), AT), "ETH": Quote(D("2499.75"), D("2500.25"), AT)},
        instruments={
            "BTC": listed("BTC", "USDT", tick="0.01", least="5", lot="0.00001"),
            "ETH": listed("ETH", "USDT", tick="0.01", least="5"),
        },
        quote="USDT",
        slippage_bps=D(5),
    )
    return replace(given, **changes)  # type: ignore[arg-type]


def eth_btc(bid: str = "0.049995", ask: str = "0.050005", **changes: object) -> DirectPair:
    return DirectPair(
        replace(listed("ETH", "BTC", tick="0.000001", least="0.0001"), **changes), Quote(D(bid), D(ask), AT)
    )  # type: ignore[arg-type]


def btc_eth(bid: str = "19.998", ask: str = "20.002") -> DirectPair:
    return DirectPair(listed("BTC", "ETH", tick="0.001", least="0.001"), Quote(D(bid), D(ask), AT))


@exact
def after(given: PlanningInput, sells: tuple[OrderDraft, ...]) -> PlanningInput:
    held = dict(given.holdings)
    for sell in sells:
        held[sell.asset] -= sell.quantity
        held["USDT"] = held.get("USDT", ZERO) + sell.value * (1 - given.instruments[sell.asset].taker_fee)
    return replace(given, holdings=held)


def legs_of(given: PlanningInput) -> tuple[tuple[OrderDraft, ...], tuple[OrderDraft, ...]]:
    sells = sell_orders(given).drafts
    return sells, buy_orders(at_the_touch(after(given, sells))).drafts


@exact
def by_legs(given: PlanningInput, sold: str, bought: str) -> Decimal:
    """What one unit of ``sold`` brings of ``bought`` through the quote currency, at the touches."""
    sell, buy = given.instruments[sold], given.instruments[bought]
    money = given.quotes[sold].bid * (1 - sell.taker_fee)
    return money / (given.quotes[bought].ask * buy.buying_costs) * buy.buying_keeps


@exact
def by_pair(draft: DirectDraft, price: Decimal) -> Decimal:
    """The same of a direct order that trades at ``price``."""
    if draft.side is Side.SELL:
        return price * (1 - draft.pair.taker_fee)
    return draft.pair.buying_keeps / (price * draft.pair.buying_costs)


@pytest.mark.parametrize(("pair", "side"), [(eth_btc(), Side.BUY), (btc_eth(), Side.SELL)])
def test_routed_when_the_pair_is_cheaper_replaces_both_legs_in_either_direction(pair: DirectPair, side: Side) -> None:
    given = planning()
    sells, buys = legs_of(given)
    found = routed(given, sells, buys, [pair])
    (draft,) = found.direct
    assert (draft.side, draft.sold, draft.bought) == (side, "BTC", "ETH")
    assert found.sells == ()
    assert draft.takes <= sells[0].quantity
    assert draft.takes > sells[0].quantity * D("0.998")
    assert D(10) < draft.direct_bps < D(13)
    assert D(21) < draft.legs_bps < D(23)
    text = route_in_words(draft, "USDT")
    told = f"BTC to ETH on {pair.instrument.symbol} at {draft.direct_bps:.1f} bps instead of 22.0 bps through USDT"
    assert routes_in(f"expired,{text},below_minimum:ETH") == (told,)


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        (eth_btc(bid="0.0499", ask="0.0501"), "half the spread of 40 bps and one fee are more than two fees"),
        (eth_btc(ask="0.05008"), "one side is dear, and it is the one that is needed"),
        (eth_btc(taker_fee=D("0.0021")), "its fee alone is more than both others"),
        (eth_btc(tradable=False), "it is halted"),
        (eth_btc(min_notional=D(1)), "what is to be moved is under its minimum"),
        (eth_btc(min_quantity=D(11)), "and under its smallest quantity"),
        (eth_btc(bid="0", ask="0.05"), "its quote is none"),
        (eth_btc(bid="0.0501", ask="0.05"), "its quote is crossed"),
        (DirectPair(listed("SOL", "BTC", tick="0.000001", least="0.0001"), Quote(D(1), D(1), AT)), "of other assets"),
    ],
)
def test_routed_when_the_pair_is_not_cheaper_or_not_fit_leaves_the_legs_as_they_are(pair: DirectPair, why: str) -> None:
    given = planning()
    sells, buys = legs_of(given)
    found = routed(given, sells, buys, [pair])
    assert (found.direct, found.sells) == ((), sells), why


def test_routed_when_costs_are_equal_to_the_last_digit_keeps_the_legs() -> None:
    # Without fees and spreads, 2500 / 50000 is 0.05 exactly.
    free = {asset: replace(one, taker_fee=ZERO) for asset, one in planning().instruments.items()}
    quotes = {"BTC": Quote(D(50000), D(50000), AT), "ETH": Quote(D(2500), D(2500), AT)}
    given = planning(instruments=free, quotes=quotes)
    sells, buys = legs_of(given)
    assert routed(given, sells, buys, [eth_btc("0.05", "0.05", taker_fee=ZERO)]).direct == ()
    assert len(routed(given, sells, buys, [eth_btc("0.049", "0.049999", taker_fee=ZERO)]).direct) == 1


def test_routed_when_the_quote_of_the_pair_is_too_good_bounds_its_limit_by_the_legs() -> None:
    given = planning(slippage_bps=D(300))
    sells, buys = legs_of(given)
    (draft,) = routed(given, sells, buys, [eth_btc(bid="0.0499", ask="0.05001")]).direct
    # 300 bps of slippage would be 0.0515; beyond this price two legs are cheaper.
    assert D("0.05001") < draft.limit_price <= D("0.0501")
    assert by_pair(draft, draft.limit_price) >= by_legs(given, "BTC", "ETH")
    assert by_pair(draft, draft.limit_price + draft.pair.tick_size) < by_legs(given, "BTC", "ETH")


def test_routed_when_several_pairs_help_takes_what_saves_most_first_and_leaves_the_rest_to_the_legs() -> None:
    quotes = {**planning().quotes, "SOL": Quote(D("99.99"), D("100.01"), AT)}
    instruments = {**planning().instruments, "SOL": listed("SOL", "USDT", tick="0.01", least="5")}
    targets = {"BTC": D(50), "ETH": D(20), "SOL": D(20), "USDT": D(10)}
    given = planning(targets_pct=targets, quotes=quotes, instruments=instruments)
    sells, buys = legs_of(given)
    sol_btc = DirectPair(listed("SOL", "BTC", tick="0.0000001", least="0.0001"), Quote(D("0.002"), D("0.002"), AT))
    found = routed(given, sells, buys, [eth_btc(), sol_btc])
    assert [draft.pair.symbol for draft in found.direct] == ["SOLBTC", "ETHBTC"]
    assert sum(draft.takes for draft in found.direct) + found.sells[0].quantity <= sells[0].quantity
    # What is to become cash is still sold for it.
    assert abs(found.sells[0].value - D(5000)) < D(15)


def test_routed_when_what_is_left_of_a_sale_is_too_small_leaves_it_out() -> None:
    targets = {"BTC": D(50), "ETH": D("49.995"), "USDT": D("0.005")}  # 2.5 USDT: under the minimum of 5
    given = planning(targets_pct=targets)
    sells, buys = legs_of(given)
    found = routed(given, sells, buys, [eth_btc()])
    assert len(found.direct) == 1
    assert found.sells == ()


def some(rng: random.Random, low: int, high: int) -> Decimal:
    return D(rng.randint(1, 10**9)).scaleb(rng.randint(low, high) - 9)


def random_instrument(rng: random.Random, base: str, quote: str, price: Decimal, fee_on_top: bool) -> Instrument:
    lot = D(rng.choice((1, 1, 5))).scaleb(-rng.randint(0, 8))
    tick = D(rng.choice((1, 1, 5))).scaleb(price.adjusted() - rng.randint(2, 7))
    least = rng.choice((ZERO, ONE, D(10))) * (ONE if quote == "USDT" else some(rng, -5, 0))
    fee = D(rng.choice((0, 1, 10, 25, 60))) / 10_000
    most = max(lot * 10, floor_to_step(some(rng, 1, 9), lot))
    return Instrument("v", f"{base}{quote}", base, quote, lot, lot * rng.choice((1, 1, 10)), most, tick, least, fee,
                      buy_fee_in_quote=fee_on_top)  # fmt: skip


@exact
def random_case(rng: random.Random) -> tuple[PlanningInput, list[DirectPair]]:
    assets, on_top = ("AAA", "BBB", "CCC", "DDD")[: rng.randint(2, 4)], rng.random() < 0.3
    quotes, instruments, about = {}, {}, {}
    for asset in assets:
        about[asset] = some(rng, -2, 5) + D("0.0001")
        one = instruments[asset] = random_instrument(rng, asset, "USDT", about[asset], on_top)
        bid = ceil_to_step(about[asset], one.tick_size)
        quotes[asset] = Quote(bid, bid + one.tick_size * rng.choice((0, 1, 7)), AT)
    pairs = []
    for base in assets:
        for quote in assets:
            if base != quote and rng.random() < 0.5:
                price = about[base] / about[quote] * (1 + D(rng.randint(-60, 60)) / 10_000)
                one = random_instrument(rng, base, quote, price, on_top)
                bid = ceil_to_step(price, one.tick_size)
                pairs.append(DirectPair(one, Quote(bid, bid + one.tick_size * rng.choice((0, 1, 3)), AT)))
    holdings = {a: (some(rng, 0, 5) / quotes[a].bid if rng.random() < 0.7 else ZERO) for a in assets}
    cuts = sorted(rng.sample(range(1, 100), len(assets) - 1))
    shares = [D(b - a) for a, b in zip((0, *cuts), (*cuts, 100), strict=True)]
    cash = rng.choice((ZERO, some(rng, 0, 4)))
    held = {**{a: h.quantize(D("1e-18")) for a, h in holdings.items()}, "USDT": cash}
    slip = D(rng.choice((0, 5, 50)))
    given = PlanningInput(dict(zip(assets, shares, strict=True)), held, quotes, instruments, "USDT", slip)
    return given, pairs


@exact
def check(given: PlanningInput, pairs: list[DirectPair]) -> int:
    sells, buys = legs_of(given)
    found = routed(given, sells, buys, pairs)
    taken, at_touch, brought = (dict.fromkeys(given.holdings, ZERO) for _ in range(3))
    touches = {pair.instrument.symbol: pair.quote for pair in pairs}
    for draft in found.direct:
        listed, quote = draft.pair, touches[draft.pair.symbol]
        touch = quote.ask if draft.side is Side.BUY else quote.bid
        terms = OrderTerms(draft.side, draft.quantity, None, draft.limit_price)
        assert filter_failures(terms, listed, BAND, touch) == (), (draft, listed)
        assert draft.quantity * touch >= listed.min_notional
        assert by_pair(draft, touch) > by_legs(given, draft.sold, draft.bought), "not cheaper at the touch"
        worst = by_pair(draft, draft.limit_price)
        # One lost digit of 50 in either quotient.
        assert worst >= by_legs(given, draft.sold, draft.bought) * (1 - D("1e-45")), "dearer at the limit"
        slip = given.slippage_bps / 10_000
        assert touch * (1 - slip) <= draft.limit_price <= touch * (1 + slip)
        if draft.side is Side.SELL:
            taken[draft.sold] += draft.quantity
        else:
            on_top = 1 + listed.taker_fee if listed.buy_fee_in_quote else ONE
            taken[draft.sold] += draft.quantity * draft.limit_price * on_top
            at_touch[draft.sold] -= draft.quantity * (draft.limit_price - touch) * on_top
        brought[draft.bought] += draft.brings
    for rest in found.sells:
        taken[rest.asset] += rest.quantity
        terms = OrderTerms(rest.side, rest.quantity, None, rest.limit_price)
        assert filter_failures(terms, given.instruments[rest.asset], BAND, rest.limit_price) == (), rest
    for sell in sells:
        assert taken[sell.asset] + at_touch[sell.asset] <= sell.quantity
        assert taken[sell.asset] <= given.holdings[sell.asset]
    wanted = {buy.asset: buy.quantity * given.instruments[buy.asset].buying_keeps for buy in buys}
    best = max((draft.legs_bps - draft.direct_bps for draft in found.direct), default=ZERO) / 10_000
    assert all(amount <= wanted.get(asset, ZERO) * (1 + 2 * best) for asset, amount in brought.items())
    untouched = {sell.asset for sell in sells} - {draft.sold for draft in found.direct}
    assert [sell for sell in sells if sell.asset in untouched] == [s for s in found.sells if s.asset in untouched]
    return len(found.direct)


def test_routed_over_random_markets_is_never_dearer_never_more_than_is_there_and_valid() -> None:
    routes = 0
    for seed in range(CASES):
        given, pairs = random_case(random.Random(seed))
        routes += check(given, pairs)
    assert routes > CASES / 4, "too few routes for this to show anything"
