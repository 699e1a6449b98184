"""Water-filling: sums, what is never raised or lowered, which goes first, and that nothing is nearer to the targets."""

from decimal import Decimal
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.core.drift import Valuation, Valued
from shared.core.funding import COST_MARGIN, Money, drained, filled, invest_aim, withdraw_aim

D = Decimal
F = Fraction

_AMOUNTS = st.one_of(
    st.integers(min_value=1, max_value=10**6).map(F),
    st.sampled_from([F(1, 10**12), F(1, 3), F(10**15), F(10**24)]),
)


@st.composite
def _portfolios(draw: st.DrawFn, most: int = 100) -> tuple[list[Fraction], list[Fraction]]:
    """Values and shares (sum 1, all > 0) of 2 to 100 assets."""
    count = draw(st.integers(min_value=2, max_value=most))
    values = draw(st.lists(st.integers(min_value=0, max_value=10**6).map(F), min_size=count, max_size=count))
    parts = draw(st.lists(st.integers(min_value=1, max_value=1000), min_size=count, max_size=count))
    return values, [F(part, sum(parts)) for part in parts]


def _spread(values: list[Fraction], shares: list[Fraction]) -> Fraction:
    """What is least at the optimum: the sum of a^2 / t."""
    return sum((value * value / share for value, share in zip(values, shares, strict=True)), F(0))


@settings(max_examples=150, deadline=None)
@given(portfolio=_portfolios(), amount=_AMOUNTS)
def test_filled_when_money_comes_in_sums_to_it_and_the_most_under_weight_come_first(
    portfolio: tuple[list[Fraction], list[Fraction]], amount: Fraction
) -> None:
    values, shares = portfolio
    added = filled(values, shares, amount)
    assert sum(added) == amount
    assert min(added) >= 0
    before = [value / share for value, share in zip(values, shares, strict=True)]
    after = [(value + more) / share for value, more, share in zip(values, added, shares, strict=True)]
    level = min(after)
    for had, has, more in zip(before, after, added, strict=True):
        assert has == (level if more else had)  # all that get something end equally well off
        assert more or had >= level  # and nobody who was worse off gets nothing


@settings(max_examples=150, deadline=None)
@given(portfolio=_portfolios(), amount=_AMOUNTS)
def test_drained_when_money_goes_out_sums_to_it_and_the_most_over_weight_go_first(
    portfolio: tuple[list[Fraction], list[Fraction]], amount: Fraction
) -> None:
    values, shares = portfolio
    taken = drained(values, shares, [F(1)] * len(values), amount)
    assert sum(taken) == min(amount, sum(values))
    assert all(0 <= part <= value for part, value in zip(taken, values, strict=True))
    left = [(value - part) / share for value, part, share in zip(values, taken, shares, strict=True)]
    level = max(left)
    for has, part in zip(left, taken, strict=True):
        assert not part or has == level


@settings(max_examples=60, deadline=None)
@given(portfolio=_portfolios(12), amount=st.integers(min_value=1, max_value=10**6).map(F))
def test_outcome_when_money_moves_otherwise_is_never_nearer_to_the_targets(
    portfolio: tuple[list[Fraction], list[Fraction]], amount: Fraction
) -> None:
    """The sum of a^2 / t is convex: if no shift between any two assets lowers it, nothing does."""
    values, shares = portfolio
    added = filled(values, shares, amount)
    taken = drained(values, shares, [F(1)] * len(values), amount)
    up = [value + more for value, more in zip(values, added, strict=True)]
    down = [value - part for value, part in zip(values, taken, strict=True)]
    for outcome, movable in ((up, added), (down, [value - part for value, part in zip(values, taken, strict=True)])):
        best = _spread(outcome, shares)
        for give, get in product(range(len(values)), repeat=2):
            room = movable[give] if outcome is up else min(movable[give], taken[get])
            for step in (room, room / 1000):
                shifted = list(outcome)
                shifted[give] -= step
                shifted[get] += step
                assert _spread(shifted, shares) >= best


@pytest.mark.parametrize("values", [(0, 0, 0), (5, 3, 2), (9, 0, 1), (1, 2, 7), (10, 10, 0)])
@pytest.mark.parametrize("amount", [1, 4, 10])
def test_filled_and_drained_when_compared_with_every_split_are_the_best(values: tuple[int, ...], amount: int) -> None:
    """Brute force over all splits of the amount in 30 equal parts among three assets."""
    shares, had, parts = [F(1, 2), F(3, 10), F(1, 5)], list(map(F, values)), 30
    added = filled(had, shares, F(amount))
    best = _spread([value + more for value, more in zip(had, added, strict=True)], shares)
    taken = drained(had, shares, [F(1)] * 3, F(amount))
    least = _spread([value - part for value, part in zip(had, taken, strict=True)], shares)
    for first, second in product(range(parts + 1), repeat=2):
        if first + second > parts:
            continue
        split = [F(amount * part, parts) for part in (first, second, parts - first - second)]
        assert _spread([value + more for value, more in zip(had, split, strict=True)], shares) >= best
        left = [value - part for value, part in zip(had, split, strict=True)]
        if min(left) >= 0:
            assert _spread(left, shares) >= least


def _portfolio(held: dict[str, str], targets: dict[str, str], bids: dict[str, str] | None = None) -> Valuation:
    lines = []
    for asset in dict.fromkeys([*targets, *held]):
        bid = D((bids or {}).get(asset, "1"))
        quantity = D(held.get(asset, "0"))
        lines.append(Valued(asset, quantity, bid, bid, quantity * bid, D(targets.get(asset, "0"))))
    return Valuation(tuple(lines), sum((line.value for line in lines), D(0)))


def _values(aim: Valuation) -> dict[str, Decimal]:
    assert sum(line.target_pct for line in aim.lines) == 100
    return {line.asset: round(line.target_pct * aim.total / 100, 6) for line in aim.lines}


TARGETS = {"ONE": "40", "BTC": "30", "ETH": "30"}
INVESTED = [
    # 1,200 USDT of assets at 480 / 420 / 300; the level is 1,100, then 1,200, ...
    ("all to the most under-weight", {"USDT": "30"}, "30", {"ONE": 480, "BTC": 420, "ETH": 330}),
    ("the second joins in", {"USDT": "130"}, "130", {"ONE": 520, "BTC": 420, "ETH": 390}),
    ("everybody gets some", {"USDT": "400"}, "400", {"ONE": 640, "BTC": 480, "ETH": 480}),
    ("cash that lay idle goes with it", {"USDT": "130"}, "30", {"ONE": 520, "BTC": 420, "ETH": 390}),
    ("spent meanwhile: what is left", {"USDT": "30"}, "500", {"ONE": 480, "BTC": 420, "ETH": 330}),
    ("spent meanwhile: nothing is left", {}, "500", {"ONE": 480, "BTC": 420, "ETH": 300}),
    ("tiny", {"USDT": "0.000001"}, "0.000001", {"ONE": 480, "BTC": 420, "ETH": D("300.000001")}),
]


@pytest.mark.parametrize(("cash", "amount", "aims"), [row[1:] for row in INVESTED], ids=[row[0] for row in INVESTED])
def test_invest_aim_when_cash_arrives_buys_what_lacks_most(
    cash: dict[str, str], amount: str, aims: dict[str, Decimal]
) -> None:
    now = _portfolio({"ONE": "480", "BTC": "420", "ETH": "300", **cash}, TARGETS)
    found = _values(invest_aim(now, Money("USDT", D(amount), "USDT")))
    assert {asset: found[asset] for asset in aims} == aims
    assert found.get("USDT", D(0)) == 0


def test_invest_aim_when_cash_is_a_target_keeps_its_share_and_raises_it_no_further() -> None:
    targets = {"ONE": "50", "BTC": "30", "USDT": "20"}
    now = _portfolio({"ONE": "500", "BTC": "300", "USDT": "300"}, targets)
    assert _values(invest_aim(now, Money("USDT", D(100), "USDT"))) == {"ONE": 550, "BTC": 330, "USDT": 220}
    short = _portfolio({"ONE": "600", "BTC": "360", "USDT": "140"}, targets)  # 40 without the new 100
    assert _values(invest_aim(short, Money("USDT", D(100), "USDT"))) == {"ONE": 600, "BTC": 360, "USDT": 140}


def test_invest_aim_when_a_coin_arrives_sells_only_of_it_and_keeps_what_it_lacks() -> None:
    now = _portfolio({"ONE": "480", "BTC": "8", "ETH": "300"}, TARGETS, {"BTC": "100"})  # 5 of the 8 BTC are new
    assert _values(invest_aim(now, Money("BTC", D(5), "USDT"))) == {"ONE": 632, "BTC": 474, "ETH": 474}
    stranger = _portfolio({"ONE": "480", "BTC": "420", "ETH": "300", "DOT": "50"}, TARGETS)
    assert _values(invest_aim(stranger, Money("DOT", D(20), "USDT")))["DOT"] == 30, "what was there before stays"


def test_invest_aim_when_an_asset_is_halted_leaves_it_alone() -> None:
    now = _portfolio({"ONE": "480", "BTC": "420", "ETH": "300", "USDT": "100"}, TARGETS)
    found = _values(invest_aim(now, Money("USDT", D(100), "USDT", frozenset({"ETH"}))))
    assert found == {"ONE": D("571.428571"), "BTC": D("428.571429"), "ETH": 300, "USDT": 0}


WITHDRAWN = [
    ("cash pays all", {"USDT": "100"}, "60", {"ONE": 480, "BTC": 420, "ETH": 300, "USDT": 100}),
    ("the most over-weight is sold", {}, "59.88", {"ONE": 480, "BTC": 360, "ETH": 300, "USDT": 60}),
    ("cash first, the rest is sold", {"USDT": "40"}, "99.88", {"ONE": 480, "BTC": 360, "ETH": 300, "USDT": 100}),
    ("several are sold", {}, "299.4", {"ONE": 360, "BTC": 270, "ETH": 270, "USDT": 300}),
    ("more than there is: everything", {}, "1e30", {"ONE": 0, "BTC": 0, "ETH": 0, "USDT": 1200}),
    ("what is no target goes first", {"DOGE": "70"}, "59.88",
     {"ONE": 480, "BTC": 420, "ETH": 300, "DOGE": 10, "USDT": 60}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("further", "amount", "aims"), [row[1:] for row in WITHDRAWN], ids=[row[0] for row in WITHDRAWN]
)
def test_withdraw_aim_when_cash_is_wanted_sells_only_what_is_missing(
    further: dict[str, str], amount: str, aims: dict[str, Decimal]
) -> None:
    """1,200 USDT at 480 / 420 / 300. The level: 300 from 420 and 480 leaves 900 at 40/30/30, and ETH is at 270 then."""
    held = {"ONE": "480", "BTC": "420", "ETH": "300", **further}
    empty = Valued("USDT", D(0), D(1), D(1), D(0), D(0))
    assert _values(withdraw_aim(_portfolio(held, TARGETS), Money("USDT", D(amount), "USDT"), empty)) == aims


def test_withdraw_aim_when_cash_is_a_target_is_taken_from_everybody_alike() -> None:
    now = _portfolio({"ONE": "500", "BTC": "300", "USDT": "200"}, {"ONE": "50", "BTC": "30", "USDT": "20"})
    aim = withdraw_aim(now, Money("USDT", D(100), "USDT"), now.lines[2])
    sold = 1000 - _values(aim)["ONE"] - _values(aim)["BTC"] - 200
    left = 200 - (100 - sold * (1 - COST_MARGIN))  # in cash once it is paid
    assert abs(left / (left + 800 - sold) - D("0.2")) < D("0.0001")


def test_withdraw_aim_when_a_coin_is_wanted_counts_both_trades_and_its_spread() -> None:
    held = {"ONE": "480", "BTC": "420", "ETH": "300"}
    dot = Valued("DOT", D(0), D(2), D("2.1"), D(0), D(0))
    found = _values(withdraw_aim(_portfolio(held, TARGETS), Money("DOT", D(20), "USDT"), dot))
    sold = D(40) / (1 - COST_MARGIN) ** 2 * D("2.1") / 2
    assert found == {"ONE": 480, "BTC": round(420 - sold, 6), "ETH": 300, "DOT": round(sold, 6)}


@pytest.mark.parametrize(
    ("fixed", "btc", "eth"), [({"BTC"}, 420, D("240.120240")), ({"DOT"}, 420, 300), ({"DOT", "BTC"}, 420, 300)]
)
def test_withdraw_aim_when_something_is_halted_is_taken_from_the_others(
    fixed: set[str], btc: Decimal, eth: Decimal
) -> None:
    """Most over-weight is ETH, 300 of 20 %, then BTC. Nothing is sold for a coin that cannot be bought."""
    asset = "DOT" if "DOT" in fixed else "USDT"
    held = {"ONE": "480", "BTC": "420", "ETH": "300"}
    targets = {"ONE": "50", "BTC": "30", "ETH": "20"}
    line = Valued(asset, D(0), D(1), D(1), D(0), D(0))
    found = _values(withdraw_aim(_portfolio(held, targets), Money(asset, D("59.76"), "USDT", frozenset(fixed)), line))
    assert (found["BTC"], found["ETH"]) == (btc, eth)


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.integers(min_value=0, max_value=10**7), min_size=3, max_size=6).filter(lambda v: sum(v[1:]) > 0),
    parts=st.lists(st.integers(min_value=1, max_value=50), min_size=6, max_size=6),
    amount=st.decimals(min_value="0.00000001", max_value=10**7, places=8),
    asset=st.sampled_from(["USDT", "A1", "A2"]),
    cash_is_target=st.booleans(),
    fixed=st.sets(st.sampled_from(["A1", "A2", "A3"]), max_size=2),
)
def test_aims_when_made_sum_to_all_and_move_one_way_only(
    values: list[int], parts: list[int], amount: Decimal, asset: str, cash_is_target: bool, fixed: set[str]
) -> None:
    names = ["USDT", *(f"A{n}" for n in range(1, len(values)))]
    aimed = names if cash_is_target else names[1:]
    weights = [D(part * 10**6 // sum(parts[: len(aimed)])) / 10**4 for part in parts[: len(aimed)]]
    weights[0] += 100 - sum(weights)
    targets = dict(zip(aimed, map(str, weights), strict=True))
    now = _portfolio(dict(zip(names, map(str, values), strict=True)), targets)
    money = Money(asset, amount, "USDT", frozenset(fixed))
    line = next((each for each in now.lines if each.asset == asset), Valued(asset, D(0), D(1), D(1), D(0), D(0)))
    slack = now.total / 10**12
    for aim, sign in ((invest_aim(now, money), 1), (withdraw_aim(now, money, line), -1)):
        assert sum(each.target_pct for each in aim.lines) == 100
        assert all(each.target_pct >= 0 for each in aim.lines)
        for each in aim.lines:
            change = (each.target_pct * now.total / 100 - each.value) * sign
            if each.asset not in (asset, "USDT"):
                assert change >= -slack
            if each.asset in fixed:
                assert abs(change) <= slack
