"""What people are told in words when a strategy starts, pauses or ends; see NotificationRaised."""

from collections.abc import Mapping
from decimal import Decimal

from services.strategy_registry.records import Advance
from shared.contracts.lifecycle import Severity
from shared.core.money import plain

_BY_LEVEL = {"take_profit": "take-profit", "stop_loss": "stop-loss"}


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
    returned = ", ".join(f"{plain(amount)} {asset}" for asset, amount in sorted(amounts.items()))
    text = f"closed: {returned or 'nothing'} returned to the wallet"
    if "profit" in figures:
        profit = Decimal(figures["profit"])
        word = "profit" if profit >= 0 else "loss"
        text += f", {word} {plain(abs(profit))} USDT on {figures['contributed_in']} USDT put in"
    return made.and_told(Severity.INFO, f"{text}.")


def failed(made: Advance) -> Advance:
    """The money is not back."""
    text = f"its money could not be returned to the wallet ({made.record.reason}). Stop it again to try once more."
    return made.and_told(Severity.ALERT, text)


def _at_profit(inputs: Mapping[str, str]) -> str:
    """The figure behind a level, if it was told."""
    return f" at {inputs['profit_pct']} % of the money put in" if "profit_pct" in inputs else ""
