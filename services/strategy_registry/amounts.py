"""What money is worth now, and how much may be put in, taken out, or must be there. Pure: the market is an argument."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from types import MappingProxyType

from services.strategy_registry.market import Market
from services.strategy_registry.records import StrategyRecord
from shared.contracts.books import PositionChanged
from shared.core import drift, exits, minimums
from shared.core.auto_invest import AutoInvest
from shared.core.errors import Conflict, Problem, Refused, RetryLater, shown
from shared.core.money import HUNDRED, ONE, ZERO, exact, parse_decimal, plain
from shared.core.rules import ExitAction, leg_widths
from shared.core.strategy import MAX_AMOUNT_USDT, StrategyDefinition

ASSETS_NAMED = 40
"""How many of a venue's assets a refusal lists."""
MOST_WITHDRAWN = "less than all of it (to take out all, stop the strategy)"

_SMALLEST, _CENT = Decimal(1).scaleb(-8), Decimal("0.01")


@exact
def worth_of(asset: str, amount: Decimal, market: Market) -> Decimal:
    """Worth in the quote currency at bid, to 8 decimals. Raises RetryLater when the price is not known now."""
    if asset == market.quote:
        return amount
    return (amount * market.quote_of(asset).bid).quantize(_SMALLEST)


@exact
def worth_at(amount: Decimal, bid: Decimal) -> Decimal:
    """Worth in the quote currency at this bid, to 8 decimals."""
    return amount if bid == ONE else (amount * bid).quantize(_SMALLEST)


@exact
def total_of(
    holdings: Mapping[str, Decimal], market: Market, bids: Mapping[str, Decimal] = MappingProxyType({})
) -> Decimal:
    """Worth of everything held, in the quote currency: at these ``bids``, or else at the market's.

    Raises RetryLater when a price is not known now.
    """
    held = {asset: amount for asset, amount in holdings.items() if amount}
    return sum((amount * (bids.get(asset) or _bid(asset, market)) for asset, amount in held.items()), ZERO)


def bids_told(inputs: Mapping[str, str]) -> dict[str, Decimal]:
    """The bids by asset among the figures behind a decision; see ``shared.core.verdicts.Figures``."""
    told = {name.removeprefix("price."): text for name, text in inputs.items() if name.startswith("price.")}
    return {asset: parse_decimal(text, f"price.{asset}") for asset, text in told.items()}


@exact
def worth_on_its_way(record: StrategyRecord) -> Decimal:
    """Worth of the money that was asked for and is not settled yet, when it was asked for."""
    return sum((one.worth or ZERO for one in record.transfers if one.settlement is None), ZERO)


def funds_settled(record: StrategyRecord) -> int:
    """How many times money that was asked for while it ran has arrived or was refused."""
    return record.counts.funds - sum(1 for one in record.transfers if one.purpose == "fund" and one.settlement is None)


def require_same_money(record: StrategyRecord, settled_before: int) -> None:
    """Raises RetryLater when money has settled since ``funds_settled`` was ``settled_before``.

    A position read before that has none of it, and it is not on its way any more: nobody would count it.
    """
    if funds_settled(record) != settled_before:
        raise RetryLater("money has just arrived: what has been put in is read again", after_s=0.2)


def refuse_untradable(wanted: Mapping[str, str], market: Market) -> None:
    """``wanted``: asset by field. Raises Refused with every asset the venue cannot trade now."""
    named = sorted(asset for asset, one in market.instruments.items() if one.tradable)
    listed = ", ".join([market.quote, *named[:ASSETS_NAMED]]) + (", ..." if len(named) > ASSETS_NAMED else "")
    problems = []
    for field, asset in wanted.items():
        if asset == market.quote:
            continue
        instrument = market.instruments.get(asset)
        if instrument is None:
            problems.append(Problem(field, shown(asset), listed, f"is not traded at {market.venue}"))
        elif not instrument.tradable:
            problems.append(Problem(field, shown(asset), listed, f"cannot be traded at {market.venue} now"))
    if problems:
        raise Refused(problems)


@exact
def added_worth(
    record: StrategyRecord, asset: str, amount: Decimal, contributed_in: Decimal, market: Market
) -> Decimal:
    """Worth of money to be added. Raises Refused when it is too little or too much, or RetryLater without a price."""
    if amount <= ZERO:
        raise Refused.one("amount", plain(amount), "more than 0", "must be positive")
    refuse_untradable({"asset": asset}, market)
    worth = worth_of(asset, amount, market)
    _refuse_below_leg("amount", plain(amount), worth, record.definition(), market)
    room = MAX_AMOUNT_USDT - contributed_in - worth_on_its_way(record)
    if worth >= room:
        allowed = f"worth less than {plain(max(ZERO, room))} USDT ({plain(MAX_AMOUNT_USDT)} USDT in all)"
        raise Refused.one("amount", plain(amount), allowed, f"is worth {plain(drift.shown(worth))} USDT, too much")
    return worth


@exact
def refuse_withdrawal(
    definition: StrategyDefinition,
    asset: str,
    wanted: tuple[Decimal | None, Decimal | None],
    holdings: Mapping[str, Decimal],
    market: Market,
) -> None:
    """``wanted``: amount of the asset or percent of the value. Raises Refused, or RetryLater without a price."""
    amount, percent = wanted
    if (amount is None) == (percent is None):
        raise Refused.one("amount", plain(amount or ZERO), "amount or percent, not both", "is not one of the two")
    refuse_untradable({"asset": asset}, market)
    value = total_of(holdings, market)
    if percent is not None:
        if not ZERO < percent < HUNDRED:
            allowed = f"more than 0, less than 100, {MOST_WITHDRAWN}"
            raise Refused.one("percent", plain(percent), allowed, "is out of range")
        _refuse_below_leg("percent", plain(percent), value * percent / HUNDRED, definition, market)
        return
    if amount is None or amount <= ZERO:
        raise Refused.one("amount", plain(amount or ZERO), "more than 0", "must be positive")
    worth = worth_of(asset, amount, market)
    _refuse_below_leg("amount", plain(amount), worth, definition, market)
    if worth >= value:
        most = plain(drift.shown(value / _bid(asset, market)))
        raise Refused.one("amount", plain(amount), f"less than {most} {asset}: {MOST_WITHDRAWN}", "is too much")


@exact
def refuse_too_small(definition: StrategyDefinition, field: str, value: Decimal, market: Market) -> None:
    """Raises Refused when the strategy's value now is less than its targets and rule need, naming ``field``.

    An asset that is halted for the moment counts as if it could be traded. Raises RetryLater without a price.
    """
    smallest = _smallest(definition, market)
    if value >= smallest.amount:
        return
    allowed = f"what works with a value of {plain(drift.shown(value))} {market.quote}"
    message = f"needs a value of at least {plain(smallest.amount)} {market.quote}: {smallest.explanation}"
    raise Refused.one(field, definition.name, allowed, message)


def _smallest(definition: StrategyDefinition, market: Market) -> minimums.MinimumAmount:
    targets = definition.targets
    for asset in targets:
        if asset != market.quote:
            market.quote_of(asset)
    instruments = {asset: replace(one, tradable=True) for asset, one in market.instruments.items()}
    widths = leg_widths(definition.rule, targets)
    return minimums.minimum_amount(targets, widths, instruments, market.quotes, market.quote)


@exact
def too_small_after(
    definition: StrategyDefinition,
    asset: str,
    wanted: tuple[Decimal | None, Decimal | None],
    holdings: Mapping[str, Decimal],
    market: Market,
) -> str:
    """Why what a payout leaves may be too little to rebalance; "" when it is enough, or when nobody can tell now.

    ``wanted``: amount of the asset or percent of the value.
    """
    amount, percent = wanted
    try:
        value, smallest = total_of(holdings, market), _smallest(definition, market)
        left = value * (HUNDRED - percent) / HUNDRED if percent is not None else value
        left -= worth_of(asset, amount, market) if amount is not None else ZERO
    except (RetryLater, Refused):
        return ""  # an asset without a price, or listed no more: the owner's money is paid out all the same
    if left >= smallest.amount:
        return ""
    return (
        f"the payout leaves {plain(left.quantize(_CENT, ROUND_DOWN))} {market.quote}, less than the "
        f"{plain(smallest.amount)} {market.quote} its targets and rule need ({smallest.explanation}): it may not be "
        "able to rebalance. Stop it, add money, or edit its threshold or targets."
    )


def refuse_to_resume(record: StrategyRecord, position: PositionChanged, market: Market) -> None:
    """Raises Conflict when a take-profit or stop-loss that pauses is reached: it would pause again within seconds.

    Raises RetryLater without a price.
    """
    total = total_of(position.holdings, market)
    reached = exits.reached_level(record.definition(), record.peak, total, position.contributed)
    if reached is None or reached[1].action is not ExitAction.PAUSE:
        return
    field, level = reached[0].value, reached[1]
    profit = plain(drift.profit_pct(total, position.contributed).quantize(_CENT, ROUND_DOWN))
    message = f"of {plain(level.percent)} % is still reached, so it would pause again at once"
    raise Conflict.one(field, f"profit now {profit} %", f"edit {field} first, or take it away, then resume", message)


def refuse_auto_invest(plan: AutoInvest, market: Market) -> None:
    """Raises Refused when a cycle could not be traded or is too much, RetryLater without a price.

    One too little to be invested at once is none of it: its money waits for that of later cycles.
    """
    refuse_untradable({"auto_invest.asset": plan.asset}, market)
    if worth_of(plan.asset, plan.amount, market) >= MAX_AMOUNT_USDT:
        allowed = f"less than {plain(MAX_AMOUNT_USDT)} USDT in value"
        raise Refused.one("auto_invest.amount", plain(plan.amount), allowed, "is too much")


def payment_prices(
    definition: StrategyDefinition, asset: str, holdings: Mapping[str, Decimal], market: Market
) -> dict[str, Decimal]:
    """Bids of everything the strategy may hold, the quote currency at 1. Raises RetryLater without a price."""
    held = {name for name, amount in holdings.items() if amount}
    return {name: _bid(name, market) for name in sorted({*held, *definition.targets, asset, market.quote})}


def _bid(asset: str, market: Market) -> Decimal:
    return ONE if asset == market.quote else market.quote_of(asset).bid


def _refuse_below_leg(field: str, value: str, worth: Decimal, definition: StrategyDefinition, market: Market) -> None:
    """Money that could not be traded in any of the targets is too little."""
    legs = []
    for asset in definition.targets:
        instrument = market.instruments.get(asset)
        if instrument is not None and instrument.tradable:
            market.quote_of(asset)
            legs.append(minimums.smallest_leg(asset, market.instruments, market.quotes))
    if not legs:
        raise RetryLater(f"none of the targets can be traded at {market.venue} now", after_s=5)
    if worth < min(legs):
        least = plain(drift.shown(min(legs)))
        message = f"is worth {plain(drift.shown(worth))} {market.quote}, too little to be traded"
        raise Refused.one(field, value, f"worth at least {least} {market.quote}", message)
