"""How money is written to people: enough digits to recognise it, never more than there was."""

from decimal import Decimal

import pytest

from services.strategy_registry.notices import money_text


@pytest.mark.parametrize(
    ("amount", "asset", "text"),
    [
        ("1200", "USDT", "1200 USDT"),
        ("99.5", "USDT", "99.5 USDT"),
        ("1310.129999", "USDT", "1310.12 USDT"),
        ("-0.019", "USDT", "-0.01 USDT"),
        ("0.00999999", "USDT", "0.00999999 USDT"),
        ("0", "USDT", "0 USDT"),
        ("0.123456789", "BTC", "0.123456 BTC"),
        ("0.0000123456789", "BTC", "0.0000123456 BTC"),
        ("12.3456789", "ETH", "12.3456 ETH"),
        ("1234567.89", "ONE", "1234567 ONE"),
        ("12345678901234567890.123456789012345678", "ONE", "12345678901234567890 ONE"),
        ("0", "BTC", "0 BTC"),
    ],
)
def test_money_when_told_in_words_has_as_many_digits_as_help(amount: str, asset: str, text: str) -> None:
    assert money_text(Decimal(amount), asset) == text
