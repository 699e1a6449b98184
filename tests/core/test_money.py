"""Exact money: what parses, what is refused, and that rounding never goes the wrong way."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.errors import Refused
from shared.core.money import ceil_to_step, exact, floor_to_step, parse_asset, parse_decimal, plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1200", "1200"),
        ("0.05", "0.05"),
        ("-8", "-8"),
        (".5", "0.5"),
        ("5.", "5"),
        ("99999999999999999999.999999999999999999", "99999999999999999999.999999999999999999"),
        (7, "7"),
        (Decimal("0.10"), "0.10"),
    ],
)
def test_parse_decimal_when_plain_number_keeps_it_exactly(text: object, value: str) -> None:
    assert parse_decimal(text, "amount") == Decimal(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " 1",
        "1 ",
        "1e400",
        "1E5",
        "NaN",
        "Infinity",
        "-Infinity",
        "1,000",
        "0x10",
        "١٢",
        "1" * 39,
        "0." + "1" * 19,
        1.5,
        float("nan"),
        True,
        None,
        [],
        10**400,
        Decimal("NaN"),
        Decimal("1E+400"),
    ],
)
def test_parse_decimal_when_not_plain_refuses_naming_field_and_allowed(text: object) -> None:
    with pytest.raises(Refused) as refusal:
        parse_decimal(text, "amount", "a positive number")
    (problem,) = refusal.value.problems
    assert problem.field == "amount"
    assert problem.allowed == "a positive number"
    assert len(str(problem)) < 400


@pytest.mark.parametrize("text", ["", "btc", "B-TC", "B" * 16, 5, None, "BTC\n"])
def test_parse_asset_when_not_a_code_refuses(text: object) -> None:
    with pytest.raises(Refused):
        parse_asset(text, "targets")


amounts = st.decimals(min_value=0, max_value=10**20, places=18)
steps = st.sampled_from([Decimal(step) for step in ("0.00000001", "0.001", "0.5", "1", "0.000000000000000001")])


@given(amounts, steps)
def test_rounding_to_a_step_brackets_the_value(value: Decimal, step: Decimal) -> None:
    low, high = floor_to_step(value, step), ceil_to_step(value, step)
    assert low <= value <= high
    assert high - low in (0, step)
    assert floor_to_step(low, step) == low


@given(st.decimals(min_value=-(10**20), max_value=10**20, places=18))
def test_plain_text_reads_back_as_the_same_number(value: Decimal) -> None:
    text = plain(value)
    assert "E" not in text.upper()
    assert parse_decimal(text, "amount") == value


def test_exact_when_wide_amounts_are_multiplied_keeps_every_digit() -> None:
    quantity, price = Decimal("12345678901234567890.123456789012345678"), Decimal("1.00000001")
    scaled = exact(lambda: quantity * price * 10**26)()
    assert int(scaled) == 12345678901234567890123456789012345678 * 100000001
