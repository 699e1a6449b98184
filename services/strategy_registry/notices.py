"""What people are told in words: how money is written, and when a strategy starts, pauses or ends.

Words are for people: exact figures are beside them, in ``inputs``; see NotificationRaised.
"""

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal, localcontext

from services.strategy_registry.records import Advance
from shared.contracts.lifecycle import Severity
from shared.core.money import MONEY_CONTEXT, plain

_BY_LEVEL = {"take_profit": "take-profit", "stop_loss": "stop-loss"}


_CENT, _DIGITS = Decimal("0.01"), 6


def money_text(amount: Decimal, asset: str) -> str:
    """An amount with its asset: USDT in cents, coins with six digits; never rounded up, whole units never cut."""
    finest = amount.adjusted() + 1 - _DIGITS if amount else 0
    in_cents = asset == "USDT" and abs(amount) >= _CENT
    step = _CENT if in_cents else Decimal(1).scaleb(min(0, finest))
    with localcontext(MONEY_CONTEXT):
        return f"{plain(amount.quantize(step, ROUND_DOWN))} {asset}"


def funding_refused(made: Advance) -> Advance:
    """The first money did not come."""
    document = made.record.document
    money = f"{document['amount']} {document['funding_asset']}"
    text = f"not started: {money} could not be taken from the wallet ({made.record.reason})."
    return made.and_told(Severity.WARNING, text)


def paused(made: Advance) -> Advance:
    """Only a pause that nobody asked for is news."""
    level = _BY_LEVEL.get(made.record.reason)
    if level is None:
        return made
    text = f"paused by its {level}{_at_profit(made.record.inputs)}. It does nothing until it is resumed."
    return made.and_told(Severity.INFO, text)


def exit_begun(made: Advance) -> Advance:
    """Only an exit that nobody asked for is news."""
    level = _BY_LEVEL.get(made.record.exit_reason)
    if level is None:
        return made
    action = "keeps its coins and returns them" if made.record.facts.stop_action.value == "keep" else "sells everything"
    text = f"ended by its {level}{_at_profit(made.record.inputs)}: it {action}."
    return made.and_told(Severity.INFO, text)


def closed(made: Advance) -> Advance:
    """The money is back."""
    amounts, figures = made.record.facts.released_amounts, made.record.facts.closing_figures
    returned = ", ".join(money_text(amount, asset) for asset, amount in sorted(amounts.items()))
    text = f"closed: {returned or 'nothing'} returned"
    if "profit" in figures:
        profit = Decimal(figures["profit"])
        word = "profit" if profit >= 0 else "loss"
        put_in = money_text(Decimal(figures["contributed_in"]), "USDT")
        text += f", {word} {money_text(abs(profit), 'USDT')} on {put_in} put in"
    return made.and_told(Severity.INFO, f"{text}.")


def failed(made: Advance) -> Advance:
    """The money is not back."""
    text = f"its money could not be returned to the wallet ({made.record.reason}). Stop it again to try once more."
    return made.and_told(Severity.ALERT, text)


def _at_profit(inputs: Mapping[str, str]) -> str:
    """The figure behind a level, if it was told."""
    return f" at {inputs['profit_pct']} % of the money put in" if "profit_pct" in inputs else ""
