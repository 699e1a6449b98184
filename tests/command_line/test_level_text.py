"""What a take-profit or stop-loss does, in words: before anybody confirms it."""

from typing import Any

import pytest

from deploy.command_line.strategy_text import level_in_words

SELLS = "sells everything into USDT and returns it to the wallet"


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("15", f"at 15 % of the money put in: {SELLS}"),
        ({"percent": "15", "confirm": "5"}, f"at 15 % of the money put in, on 5 consecutive quotes: {SELLS}"),
        ({"percent": "-8", "trailing": True}, f"at -8 % of the value at its peak: {SELLS}"),
        (
            {"percent": "15", "action": "keep"},
            "at 15 % of the money put in: returns the coins to the wallet as they are",
        ),
        ({"percent": "-8", "action": "pause"}, "at -8 % of the money put in: pauses and keeps what it holds"),
    ],
)
def test_level_when_told_in_words_says_when_and_what(written: Any, text: str) -> None:
    assert level_in_words(written, "USDT") == text
