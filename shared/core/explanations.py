"""Why a strategy did or did not trade, in plain words: one row per reason code, filled with the decision's own figures.

A sentence is about one moment of market time and written in the past tense. ``full`` needs the figures that the code's
decisions carry; ``short`` is for a decision without them (made before anything could be valued).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation

from shared.core.money import exact, plain
from shared.core.reasons import Reason, reason_of


@dataclass(frozen=True, slots=True)
class Sentence:
    """``full`` and ``short`` are format strings over the names that ``_terms`` gives."""

    full: str
    short: str


_OFF = "{asset} was at {weight} % against a target of {target} %: {drift} points off"

SENTENCES: Mapping[Reason, Sentence] = {
    Reason.INITIAL_PURCHASE: Sentence(
        "The money was there, worth {value}, and nothing had been bought with it: the first purchase was planned.",
        "The money was there: the first purchase was planned.",
    ),
    Reason.THRESHOLD_REACHED: Sentence(
        f"{_OFF}, the threshold is {{threshold}}, so a rebalance was planned.",
        "{asset} had reached the threshold, so a rebalance was planned.",
    ),
    Reason.INTERVAL_DUE: Sentence(
        "The rebalance of every {interval} was due since {due_at}, so it was planned, whatever the drift; furthest off "
        "was {asset}, by {drift} points.",
        "The regular rebalance was due, so it was planned.",
    ),
    Reason.TAKE_PROFIT: Sentence(
        "The profit was {profit_pct} % of the {contributed} put in; the take-profit at {take_profit} % had been "
        "confirmed, so {take_profit_end}.",
        "The take-profit had been confirmed.",
    ),
    Reason.STOP_LOSS: Sentence(
        "The profit was {profit_pct} % of the {contributed} put in; the stop-loss at {stop_loss} % had been confirmed, "
        "so {stop_loss_end}.",
        "The stop-loss had been confirmed.",
    ),
    Reason.STOPPED_BY_USER: Sentence(
        "It had been asked to stop, so everything, worth {value}, was to be sold.",
        "It had been asked to stop, so everything was to be sold.",
    ),
    Reason.REBALANCE_NOW: Sentence(
        "A rebalance had been asked for, so it was planned, whatever the rule; furthest off was {asset}, by {drift} "
        "points.",
        "A rebalance had been asked for, so it was planned, whatever the rule.",
    ),
    Reason.NEW_MONEY: Sentence(
        "{amount} {asset} had been put in, worth {worth}, so purchases of what was most under-weight were planned.",
        "Money had been put in, so purchases of what was most under-weight were planned.",
    ),
    Reason.WITHDRAWAL: Sentence(
        "{wanted} was to be paid out in {asset}, worth {worth}, so as much was made available with the least trading.",
        "Money was to be paid out, so it was made available with the least trading.",
    ),
    Reason.AUTO_INVEST_DUE: Sentence(
        "Cycle {cycle} of Auto-Invest was due since {due_at}, so {amount} {asset} were to be put in.",
        "A cycle of Auto-Invest was due by its schedule.",
    ),
    Reason.AUTO_INVEST_DRAWDOWN: Sentence(
        "The profit was {profit_pct} % of the {contributed} put in and Auto-Invest puts more in at a loss of "
        "{auto_invest_loss} %; that had been confirmed, so {amount} {asset} were to be put in as cycle {cycle}.",
        "A cycle of Auto-Invest was due because of the loss.",
    ),
    Reason.AUTO_INVEST_MISSED: Sentence(
        "Cycle {cycle} of Auto-Invest was due at {due_at}, more than {grace} ago, so it was to be left out.",
        "A cycle of Auto-Invest had been missed, so it was to be left out.",
    ),
    Reason.WITHIN_BAND: Sentence(
        f"{_OFF}, the threshold is {{threshold}}, so nothing was done.",
        "No asset had reached the threshold, so nothing was done.",
    ),
    Reason.INTERVAL_NOT_DUE: Sentence(
        "It is rebalanced every {interval}, next at {due_at}, so nothing was done; furthest off was {asset}, by "
        "{drift} points.",
        "The regular rebalance was not due, so nothing was done.",
    ),
    Reason.BELOW_MIN_DRIFT: Sentence(
        f"The rebalance of every {{interval}} was due since {{due_at}}, but {_OFF}, and it takes {{min_drift}}.",
        "The regular rebalance was due, but no asset was far enough off its target.",
    ),
    Reason.HOLD_MODE: Sentence(
        "It holds what it has and never rebalances by itself; furthest off was {asset}, by {drift} points.",
        "It holds what it has and never rebalances by itself.",
    ),
    Reason.COST_GUARD: Sentence(
        "A rebalance was due, but it was worth {benefit} and would have cost {cost} in fees and spread: it must be "
        "worth {cost_guard} times its cost, so nothing was done.",
        "A rebalance was due, but it was not worth its fees and spread.",
    ),
    Reason.AWAITING_START_PRICE: Sentence(
        "The first purchase was waiting for the price of {asset}, which was {bid}, to be {start}.",
        "The first purchase was waiting for its start price.",
    ),
    Reason.COOLDOWN: Sentence(
        f"{_OFF}, but it had just traded: nothing was done before {{cooldown_until}}.",
        "It had just traded, so nothing was done for a few minutes.",
    ),
    Reason.PLAN_OPEN: Sentence(
        "The plan {plan_id} was being carried out, so nothing else was begun.",
        "A plan was being carried out, so nothing else was begun.",
    ),
    Reason.FILLS_PENDING: Sentence(
        "{fills_posted} of {fills_total} fills were in the books: nothing is decided before all of them are.",
        "A fill was not in the books yet: nothing is decided before it is.",
    ),
    Reason.BELOW_MINIMUM: Sentence(
        f"{_OFF}, but no order towards the targets reached the venue's minimum, so nothing was done.",
        "No order towards the targets reached the venue's minimum, so nothing was done.",
    ),
    Reason.STALE_PRICE: Sentence(
        "The price of {asset} was too old to rely on, so nothing was done.",
        "A price was too old to rely on, so nothing was done.",
    ),
    Reason.MISSING_PRICE: Sentence(
        "There was no price of {asset}, so nothing was done.",
        "There was no price of one of the assets, so nothing was done.",
    ),
    Reason.NOT_TRADABLE: Sentence(
        "{asset} could not be traded at the venue, so nothing was done.",
        "An asset could not be traded at the venue, so nothing was done.",
    ),
    Reason.AWAITING_FUNDS: Sentence("Its money had not arrived yet.", "Its money had not arrived yet."),
    Reason.AWAITING_ACTIVATION: Sentence(
        "The first purchase had ended and it was about to become active.",
        "The first purchase had ended and it was about to become active.",
    ),
    Reason.AWAITING_RELEASE: Sentence(
        "Everything was sold and its money was about to be returned to the wallet.",
        "Everything was sold and its money was about to be returned to the wallet.",
    ),
    Reason.CONFIRMING_TAKE_PROFIT: Sentence(
        "The profit was {profit_pct} % and the take-profit is {take_profit} %: seen on {confirmations} of the "
        "{confirmations_required} quotes in a row that it takes, so nothing was done yet.",
        "The take-profit was reached, but not for enough quotes in a row yet.",
    ),
    Reason.CONFIRMING_STOP_LOSS: Sentence(
        "The profit was {profit_pct} % and the stop-loss is {stop_loss} %: seen on {confirmations} of the "
        "{confirmations_required} quotes in a row that it takes, so nothing was done yet.",
        "The stop-loss was reached, but not for enough quotes in a row yet.",
    ),
    Reason.CONFIRMING_DRAWDOWN: Sentence(
        "The profit was {profit_pct} % and Auto-Invest puts more in at a loss of {auto_invest_loss} %: seen on "
        "{confirmations} of the {confirmations_required} quotes in a row that it takes, so nothing was done yet.",
        "The loss at which Auto-Invest puts more in was reached, but not for enough quotes in a row yet.",
    ),
    Reason.MONEY_ARRIVING: Sentence(
        "Money was on its way into it, so nothing else was begun.",
        "Money was on its way into it, so nothing else was begun.",
    ),
    Reason.MONEY_LEAVING: Sentence(
        "Money was being paid out of it, so nothing else was begun.",
        "Money was being paid out of it, so nothing else was begun.",
    ),
    Reason.AWAITING_POSITION: Sentence(
        "Money had just been moved and its books were not known yet: nothing is decided before they are.",
        "Money had just been moved and its books were not known yet: nothing is decided before they are.",
    ),
    Reason.AWAITING_REGISTRY: Sentence(
        "What it had been asked for was carried out and about to be recorded.",
        "What it had been asked for was carried out and about to be recorded.",
    ),
    Reason.PAUSED: Sentence("It was paused, so nothing was done.", "It was paused, so nothing was done."),
    Reason.HALTED: Sentence(
        "Its venue was halted ({because}), so nothing was done: no order is sent there until it is resumed.",
        "Its venue was halted, so nothing was done.",
    ),
    Reason.SEALED: Sentence(
        "It takes no more plans: its money was about to be returned to the wallet.",
        "It takes no more plans: its money was about to be returned to the wallet.",
    ),
    Reason.NOT_RUNNING: Sentence("It was {status}, so nothing was done.", "It was not running, so nothing was done."),
}

ENDS: Mapping[str, str] = {
    "sell": "everything was to be sold",
    "keep": "it was to be stopped and its coins returned as they were",
    "pause": "it was to be paused",
}
"""What a take-profit or stop-loss leads to, by its action."""

CONDITIONAL_RUN = Sentence(
    "The rebalance of every {interval} was due since {due_at} and {asset} was {drift} points off its target, so it was "
    "planned.",
    "The regular rebalance was due and an asset was far enough off its target, so it was planned.",
)
"""``interval_due`` of a rule that also asks for a drift."""

TRAILING: Mapping[Reason, Sentence] = {
    Reason.TAKE_PROFIT: Sentence(
        "The profit was {profit_pct} % of the {contributed} put in and had been {peak_pct} %: the take-profit, armed "
        "at {take_profit} %, lets it fall by {take_profit_trailing} points, so {take_profit_end}.",
        SENTENCES[Reason.TAKE_PROFIT].short,
    ),
    Reason.STOP_LOSS: Sentence(
        "The profit was {profit_pct} % of the {contributed} put in and had been {peak_pct} %: the stop-loss at "
        "{stop_loss} % of the value at that peak had been confirmed, so {stop_loss_end}.",
        SENTENCES[Reason.STOP_LOSS].short,
    ),
    Reason.CONFIRMING_TAKE_PROFIT: Sentence(
        "The profit was {profit_pct} % and had been {peak_pct} %; the take-profit lets it fall by "
        "{take_profit_trailing} points: seen on {confirmations} of the {confirmations_required} quotes in a row that "
        "it takes.",
        SENTENCES[Reason.CONFIRMING_TAKE_PROFIT].short,
    ),
    Reason.CONFIRMING_STOP_LOSS: Sentence(
        "The profit was {profit_pct} % and had been {peak_pct} %; the stop-loss is {stop_loss} % of the value at that "
        "peak: seen on {confirmations} of the {confirmations_required} quotes in a row that it takes.",
        SENTENCES[Reason.CONFIRMING_STOP_LOSS].short,
    ),
}
"""In place of ``SENTENCES`` where the decision was about a peak."""


def explain(code: str, inputs: Mapping[str, str]) -> str:
    """The sentence of a decision, ``code`` and ``inputs`` as recorded. A code that is not in the list stays a code."""
    try:
        reason, asset = reason_of(code)
    except ValueError:
        return f"{code}."
    sentence = SENTENCES[reason]
    if "peak_pct" in inputs:
        sentence = TRAILING.get(reason, sentence)
    if reason is Reason.INTERVAL_DUE and (inputs.get("when") == "all" or "min_drift" in inputs):
        sentence = CONDITIONAL_RUN
    terms = _terms(asset, inputs)
    for text in (sentence.full, sentence.short):
        try:
            return text.format_map(terms)
        except KeyError:
            continue
    return f"{code}."


def furthest(inputs: Mapping[str, str]) -> str:
    """The asset with the largest distance between weight and target; the first among equals; "" without weights."""
    assets = [name.removeprefix("weight.") for name in inputs if name.startswith("weight.")]
    return max(assets, key=lambda asset: _drift(asset, inputs), default="")


def _terms(asset: str, inputs: Mapping[str, str]) -> dict[str, str]:
    """What the sentences may name: the figures, shortened for reading, and those of the asset they are about."""
    terms = {name: _readable(text) for name, text in inputs.items()}
    about = asset or inputs.get("asset", "") or furthest(inputs)
    if about:
        terms["asset"] = about
    if f"weight.{about}" in inputs:
        drift, level = _drift(about, inputs), _decimal(inputs.get("threshold", ""))
        digits = _digits_that_tell_apart(drift, level)
        terms["weight"] = _rounded(Decimal(inputs[f"weight.{about}"]), digits)
        terms["target"] = _rounded(Decimal(inputs.get(f"target.{about}", "0")), digits)
        terms["drift"] = _rounded(drift, digits)
    if "threshold" in inputs:
        terms["threshold"] = inputs["threshold"]
    for rule in ("take_profit", "stop_loss"):
        terms[f"{rule}_end"] = ENDS.get(inputs.get(f"{rule}_action", ""), ENDS["sell"])
    return terms


@exact
def _drift(asset: str, inputs: Mapping[str, str]) -> Decimal:
    return abs(Decimal(inputs[f"weight.{asset}"]) - Decimal(inputs.get(f"target.{asset}", "0")))


def _digits_that_tell_apart(drift: Decimal, level: Decimal | None) -> int:
    """Two decimals, or more where the drift would otherwise look like the threshold that it is not."""
    digits = 2
    while digits < 8 and level is not None and drift != level and round(drift, digits) == level:
        digits += 2
    return digits


def _readable(text: str) -> str:
    """A number with at most two decimals, a time without its zone's digits, anything else as it is."""
    number = _decimal(text)
    if number is not None:
        return _rounded(number, 2)
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M}"
    except ValueError:
        return text


def _rounded(number: Decimal, digits: int) -> str:
    return plain(round(number, digits))


def _decimal(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None
