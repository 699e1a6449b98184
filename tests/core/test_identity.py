"""Ids are functions of their inputs, and different inputs give different ids."""

import re

from hypothesis import given
from hypothesis import strategies as st

from shared.core.identity import client_order_id, derived_id, plan_id


@given(st.lists(st.text(max_size=6), max_size=4), st.lists(st.text(max_size=6), max_size=4))
def test_derived_id_when_parts_differ_differs_and_else_is_equal(left: list[str], right: list[str]) -> None:
    assert (derived_id("x", *left) == derived_id("x", *right)) == (left == right)


def test_client_order_id_when_made_fits_every_venue() -> None:
    made = client_order_id(plan_id("st1", 7, ""), 0, "BTCUSDT", "buy")
    assert re.fullmatch(r"[a-z0-9]{28}", made)
    assert made == client_order_id(plan_id("st1", 7, ""), 0, "BTCUSDT", "buy")
    assert made != client_order_id(plan_id("st1", 7, ""), 1, "BTCUSDT", "buy")
