"""What the sweep holds end states against: each law can be broken, and histories are alike once their room is known."""

from dataclasses import replace
from decimal import Decimal

import pytest

from tests.chaos.deaths.executor_stages import LOTS
from tests.chaos.deaths.laws import Intent, Terms, Trade, broken, position, room_of, rounds_of, without_room
from tests.chaos.deaths.stages import Held, differs
from tests.chaos.deaths.venue_account import unequal

D = Decimal
FEE = D("0.001")
MARKET = {
    "BTC": Terms(D("41995.80"), D("42000.00"), D("0.000001"), D("0.01"), FEE),
    "ETH": Terms(D("2299.77"), D("2300.23"), D("0.00001"), D("0.01"), FEE),
    "SOL": Terms(D("99.99"), D("100.01"), D("0.0001"), D("0.01"), FEE),
}
FUNDED = {"BTC": D("0.01"), "USDT": D("150")}
SALE, SALE_LIMIT = "0.006611", "41785.83"
Row = tuple[int, str, str, str, str, bool]

UNDISTURBED: tuple[Row, ...] = (
    (0, "BTC", "SELL", SALE, SALE_LIMIT, True),
    (1, "ETH", "BUY", "0.09903", "2301.38", True),
    (1, "SOL", "BUY", "1.9931", "100.06", True),
)
ONE_PURCHASE_ABSENT: tuple[Row, ...] = (
    (0, "BTC", "SELL", SALE, SALE_LIMIT, True),
    (1, "ETH", "BUY", "0.09903", "2301.38", False),
    (1, "SOL", "BUY", "1.9931", "100.06", True),
    (3, "ETH", "BUY", "0.09903", "2302.53", True),
)
BOTH_PURCHASES_ABSENT: tuple[Row, ...] = (
    (0, "BTC", "SELL", SALE, SALE_LIMIT, True),
    (1, "ETH", "BUY", "0.09903", "2301.38", False),
    (1, "SOL", "BUY", "1.9931", "100.06", False),
    (3, "ETH", "BUY", "0.09898", "2302.53", True),
    (3, "SOL", "BUY", "1.9921", "100.11", True),
)
SALE_ABSENT: tuple[Row, ...] = (
    (0, "BTC", "SELL", SALE, SALE_LIMIT, False),
    (1, "ETH", "BUY", "0.03476", "2301.38", False),
    (1, "SOL", "BUY", "0.6995", "100.06", True),
    (2, "BTC", "SELL", SALE, SALE_LIMIT, True),
    (3, "ETH", "BUY", "0.09898", "2302.53", True),
    (3, "SOL", "BUY", "1.2933", "100.11", True),
)
HISTORIES = {
    "undisturbed": UNDISTURBED,
    "one purchase absent": ONE_PURCHASE_ABSENT,
    "both purchases absent": BOTH_PURCHASES_ABSENT,
    "sale absent": SALE_ABSENT,
}


def _history(rows: tuple[Row, ...]) -> tuple[list[Intent], list[Trade]]:
    """These orders, and a trade of each that was filled."""
    intents, trades = [], []
    for round_, asset, side, quantity, limit, is_filled in rows:
        name, filled = f"o{round_}{asset}", D(quantity) if is_filled else D(0)
        intents.append(Intent(name, round_, asset, side, D(quantity), D(limit), filled))
        if is_filled:
            trades.append(_trade(name, asset, side, D(quantity)))
    return intents, trades


def _trade(name: str, asset: str, side: str, quantity: Decimal) -> Trade:
    terms = MARKET[asset]
    money = quantity * (terms.ask if side == "BUY" else terms.bid)
    fee, fee_asset = (quantity * FEE, asset) if side == "BUY" else (money * FEE, "USDT")
    return Trade(f"t-{name}", name, asset, side, quantity, money, fee, fee_asset)


def _held(rows: tuple[Row, ...], lost: str = "0") -> Held:
    """The end of a history; ``lost``: so much USDT of it is not there."""
    intents, trades = _history(rows)
    amounts = position(FUNDED, trades)
    amounts["USDT"] -= D(lost)
    return Held(amounts, without_room(amounts, intents, MARKET), LOTS, rounds_of(intents))


@pytest.mark.parametrize("rows", HISTORIES.values(), ids=HISTORIES.keys())
def test_history_when_nothing_is_wrong_breaks_no_law(rows: tuple[Row, ...]) -> None:
    intents, trades = _history(rows)
    assert not broken(intents, trades, FUNDED, MARKET)


@pytest.mark.parametrize("rows", HISTORIES.values(), ids=HISTORIES.keys())
def test_history_when_its_rounds_are_others_ends_as_the_undisturbed_one_but_for_their_room(
    rows: tuple[Row, ...],
) -> None:
    reference = _held(UNDISTURBED)
    assert not differs({"held": reference}, {"held": _held(rows)})
    assert differs({"held": reference}, {"held": _held(rows, lost="0.3")})


def test_ends_when_room_explains_a_difference_are_alike_after_other_rounds_only() -> None:
    reference, other = _held(UNDISTURBED), _held(BOTH_PURCHASES_ABSENT)
    assert not differs({"held": reference}, {"held": other})
    same_rounds = replace(other, rounds=reference.rounds)
    assert "SOL" in differs({"held": reference}, {"held": same_rounds})


def _moved(held: Held, asset: str, lots: int) -> Held:
    """The end with more or less of an asset."""
    away = lots * LOTS[asset]
    amounts, without = ({**table, asset: table[asset] + away} for table in (held.amounts, held.without_room))
    return replace(held, amounts=amounts, without_room=without)


@pytest.mark.parametrize("asset", LOTS)
@pytest.mark.parametrize("sign", [1, -1])
def test_end_when_any_asset_is_more_than_five_lots_apart_differs(asset: str, sign: int) -> None:
    reference = _held(UNDISTURBED)
    assert not differs({"held": reference}, {"held": _moved(reference, asset, 5 * sign)})
    assert asset in differs({"held": reference}, {"held": _moved(reference, asset, 6 * sign)})


@pytest.mark.parametrize("asset", LOTS)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("rows", HISTORIES.values(), ids=HISTORIES.keys())
def test_end_when_it_is_eight_lots_from_its_own_differs_after_other_rounds_too(
    rows: tuple[Row, ...], asset: str, sign: int
) -> None:
    moved = _moved(_held(rows), asset, 8 * sign)
    assert asset in differs({"held": _held(UNDISTURBED)}, {"held": moved})


@pytest.mark.parametrize("rows", HISTORIES.values(), ids=HISTORIES.keys())
@pytest.mark.parametrize("less", ["0.2", "0.05"])
def test_purchase_when_it_is_short_of_money_that_is_there_breaks_a_law(rows: tuple[Row, ...], less: str) -> None:
    *before, (round_, asset, side, quantity, limit, is_filled) = rows
    short = (D(quantity) - D(less) / D(limit)).quantize(MARKET[asset].lot)
    intents, trades = _history((*before, (round_, asset, side, str(short), limit, is_filled)))
    assert f"the purchases of round {round_} leave" in broken(intents, trades, FUNDED, MARKET)


def test_purchase_when_its_limit_is_that_of_another_cycle_breaks_a_law() -> None:
    sale, eth, (_, asset, side, _, _, _) = UNDISTURBED
    intents, trades = _history((sale, eth, (1, asset, side, "1.9921", "100.11", True)))
    assert "the limit of" in broken(intents, trades, FUNDED, MARKET)


def test_order_when_it_is_sent_again_as_another_breaks_a_law() -> None:
    sale, *purchases = UNDISTURBED
    intents, trades = _history((sale, (2, *sale[1:]), *((3, *row[1:]) for row in purchases)))
    assert "more was taken than there was" in broken(intents, trades, FUNDED, MARKET)
    rich = {"BTC": D("1"), "USDT": D("150")}
    assert "cycle 0 has traded whole" in broken(intents, trades, rich, MARKET)


def test_trades_when_they_are_not_what_was_booked_break_a_law() -> None:
    intents, trades = _history(UNDISTURBED)
    assert "traded otherwise than booked" in broken(intents, trades[:-1], FUNDED, MARKET)
    nobodys = _trade("nobody's", "SOL", "BUY", D("0.0001"))
    assert "traded otherwise than booked" in broken(intents, [*trades, nobodys], FUNDED, MARKET)


def test_cycles_when_one_is_left_out_break_a_law() -> None:
    intents, trades = _history(tuple((round_ + 2, *row) for round_, *row in UNDISTURBED))  # type: ignore[misc]
    assert "the cycles are [1]" in broken(intents, trades, FUNDED, MARKET)


def test_room_when_cycles_go_on_doubles_up_to_the_slippage_bound() -> None:
    assert [room_of(cycle) * 10_000 for cycle in range(6)] == [5, 10, 20, 40, 50, 50]


def test_tables_when_a_row_is_missing_or_other_are_unequal_there_only() -> None:
    assert unequal({"a": D(1), "b": D(2)}, {"a": D("1.0"), "c": D(3)}) == {"b": (D(2), None), "c": (None, D(3))}
