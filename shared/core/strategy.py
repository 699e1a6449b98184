"""What a user wants: a strategy's definition, and the rules that every definition must meet.

All percentages are exact decimals in percent ("40" is 40 %); thresholds are percentage points of the portfolio.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

from shared.core.auto_invest import DEFAULT_GRACE, AutoInvest, Period
from shared.core.auto_invest_documents import auto_invest_document, parse_auto_invest
from shared.core.document_fields import Collector, interval_text
from shared.core.errors import Problem, Refused, shown
from shared.core.money import HUNDRED, ZERO, parse_asset, parse_decimal, plain
from shared.core.order_styles import DEFAULT_STYLING, Styling, orders_document, parse_orders, styling_warnings
from shared.core.rule_documents import (
    exit_level_document,
    parse_exit_level,
    parse_rule,
    parse_start,
    refuse_unknown_assets,
    rule_document,
    start_document,
)
from shared.core.rules import ExitLevel, RebalanceRule, StartPrice

MIN_ASSETS = 2
MAX_ASSETS = 10
MAX_ASSETS_EVER = 100
"""However the limit is set: what a strategy can have at all."""
MAX_AMOUNT_USDT = Decimal(200_000)
MAX_NAME_LENGTH = 80
REQUIRED_FIELDS = ("name", "venue", "funding_asset", "amount", "targets", "rebalance")
OPTIONAL_FIELDS = ("take_profit", "stop_loss", "start", "auto_invest", "orders")

_OFTEN = timedelta(hours=1)
_FIELDS = frozenset(REQUIRED_FIELDS + OPTIONAL_FIELDS)


class StrategyStatus(StrEnum):
    """Where a strategy is in its life; ``TRANSITIONS`` has the legal steps."""

    PREVIEWED = "previewed"
    FUNDING = "funding"
    BUILDING = "building"
    ACTIVE = "active"
    PAUSED = "paused"
    EXITING = "exiting"
    CLOSED = "closed"
    REFUSED = "refused"
    FAILED = "failed"


TRANSITIONS: Mapping[StrategyStatus, frozenset[StrategyStatus]] = {
    StrategyStatus.PREVIEWED: frozenset({StrategyStatus.FUNDING}),
    StrategyStatus.FUNDING: frozenset({StrategyStatus.BUILDING, StrategyStatus.REFUSED}),
    StrategyStatus.BUILDING: frozenset({StrategyStatus.ACTIVE, StrategyStatus.EXITING}),
    StrategyStatus.ACTIVE: frozenset({StrategyStatus.PAUSED, StrategyStatus.EXITING}),
    StrategyStatus.PAUSED: frozenset({StrategyStatus.ACTIVE, StrategyStatus.EXITING}),
    StrategyStatus.EXITING: frozenset({StrategyStatus.CLOSED, StrategyStatus.FAILED}),
    StrategyStatus.FAILED: frozenset({StrategyStatus.EXITING}),
    StrategyStatus.CLOSED: frozenset(),
    StrategyStatus.REFUSED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class StrategyDefinition:
    """A valid strategy, as the user defined it. Made by ``parse_strategy`` only.

    ``targets``: weight in percent by asset, sum exactly 100, every weight > 0; the venue's quote currency may be one of
    them (a cash weight). ``start``: the price the first purchase waits for. ``orders``: how its orders are placed.
    """

    name: str
    venue: str
    funding_asset: str
    amount: Decimal
    targets: Mapping[str, Decimal]
    rule: RebalanceRule
    take_profit: ExitLevel | None = None
    stop_loss: ExitLevel | None = None
    start: StartPrice | None = None
    auto_invest: AutoInvest | None = None
    orders: Styling = DEFAULT_STYLING


def parse_strategy(document: object, *, max_assets: int = MAX_ASSETS_EVER) -> StrategyDefinition:
    """A definition from the mapping of a strategy file or API body; numbers are text.

    ``max_assets``: how many targets a new strategy may have; what is stored already keeps as many as it has.
    Raises Refused with every problem found.
    """
    if not isinstance(document, Mapping):
        raise Refused.one("strategy", document, "a mapping with name, venue, ...", "is not a mapping")
    problems: list[Problem] = [
        Problem(shown(str(key)), shown(document[key]), ", ".join(sorted(_FIELDS)), "is not a field of a strategy")
        for key in document
        if key not in _FIELDS
    ]
    problems += [
        Problem(field, "(missing)", "must be given", "is missing")
        for field in REQUIRED_FIELDS
        if document.get(field) is None
    ]
    if problems:
        raise Refused(problems)
    collector = Collector()
    take = collector.take
    no_targets: dict[str, Decimal] = {}
    targets = take(lambda: parse_targets(document["targets"], max_assets), no_targets)
    funding_asset = take(lambda: parse_asset(document["funding_asset"], "funding_asset"), "")
    definition = StrategyDefinition(
        name=take(lambda: parse_name(document["name"]), ""),
        venue=take(lambda: parse_venue(document["venue"]), ""),
        funding_asset=funding_asset,
        amount=take(lambda: _parse_amount(document["amount"]), ZERO),
        targets=targets,
        rule=take(lambda: parse_rule(document["rebalance"]), RebalanceRule()),
        take_profit=take(lambda: parse_exit_level(document.get("take_profit"), "take_profit"), None),
        stop_loss=take(lambda: parse_exit_level(document.get("stop_loss"), "stop_loss"), None),
        start=take(lambda: parse_start(document.get("start"), targets), None),
        auto_invest=take(lambda: parse_auto_invest(document.get("auto_invest"), funding_asset), None),
        orders=take(lambda: parse_orders(document.get("orders")), DEFAULT_STYLING),
    )
    take(lambda: refuse_unknown_assets(definition.rule, targets), None)
    if definition.funding_asset == "USDT" and definition.amount >= MAX_AMOUNT_USDT:
        limit = f"less than {plain(MAX_AMOUNT_USDT)} USDT in value"
        collector.problems.append(Problem("amount", plain(definition.amount), limit, "is too large"))
    collector.done()
    return definition


def parse_targets(value: object, max_assets: int = MAX_ASSETS) -> dict[str, Decimal]:
    """Target weights in percent by asset: 2 to ``max_assets``, each > 0, sum exactly 100. Raises Refused."""
    if not isinstance(value, Mapping):
        raise Refused.one("targets", value, 'a mapping as in {BTC: "60", ETH: "40"}', "is not a mapping")
    if not MIN_ASSETS <= len(value) <= max_assets:
        raise Refused.one(
            "targets", f"{len(value)} assets", f"{MIN_ASSETS} to {max_assets} assets", "has the wrong size"
        )
    collector = Collector()
    targets: dict[str, Decimal] = {}
    for asset_text, weight_text in value.items():
        asset = collector.take(lambda text=asset_text: parse_asset(text, "targets"), "")  # type: ignore[misc]
        field = f"targets.{shown(str(asset_text))}"
        weight = collector.take(
            lambda text=weight_text, name=field: _parse_weight(text, name),  # type: ignore[misc]
            ZERO,
        )
        targets[asset] = weight
    collector.done()
    total = sum(targets.values(), ZERO)
    if total != HUNDRED:
        raise Refused.one("targets", f"sum {plain(total)}", "weights that sum to exactly 100", "do not sum to 100")
    return targets


def strategy_document(definition: StrategyDefinition) -> dict[str, object]:
    """The file form of a definition: ``parse_strategy`` reads it back to an equal definition."""
    document: dict[str, object] = {
        "name": definition.name,
        "venue": definition.venue,
        "funding_asset": definition.funding_asset,
        "amount": plain(definition.amount),
        "targets": {asset: plain(weight) for asset, weight in definition.targets.items()},
        "rebalance": rule_document(definition.rule),
    }
    if definition.take_profit is not None:
        document["take_profit"] = exit_level_document(definition.take_profit)
    if definition.stop_loss is not None:
        document["stop_loss"] = exit_level_document(definition.stop_loss)
    if definition.start is not None:
        document["start"] = start_document(definition.start)
    if definition.auto_invest is not None:
        document["auto_invest"] = auto_invest_document(definition.auto_invest, definition.funding_asset)
    if definition.orders != DEFAULT_STYLING:
        document["orders"] = orders_document(definition.orders)
    return document


def warnings_of(definition: StrategyDefinition) -> list[str]:
    """What is allowed but probably not meant: a threshold that can never fire on the low side, an Auto-Invest that
    soon ends, is never due, or is due oftener than thought, a style of orders and what it costs.
    """
    auto_invest = definition.auto_invest
    found = [*_threshold_warnings(definition), *styling_warnings(definition.orders)]
    if auto_invest is not None:
        found += [*_total_warnings(definition, auto_invest), *_due_warnings(definition, auto_invest)]
    return found


def _total_warnings(definition: StrategyDefinition, auto_invest: AutoInvest) -> list[str]:
    """What amounts and limits say of each other, as far as no price is needed."""
    found = []
    amount, total = auto_invest.amount, auto_invest.pause_at_total
    if auto_invest.asset == "USDT" and total is not None and total <= amount:
        found.append(f"auto_invest pauses after its first cycle: {plain(amount)} USDT reach {plain(total)} in total")
    if auto_invest.asset == definition.funding_asset == "USDT" and definition.amount + amount >= MAX_AMOUNT_USDT:
        found.append(
            f"auto_invest can make no cycle: {plain(definition.amount)} and {plain(amount)} USDT reach the limit of "
            f"{plain(MAX_AMOUNT_USDT)} USDT that may be put into a strategy"
        )
    return found


def _due_warnings(definition: StrategyDefinition, auto_invest: AutoInvest) -> list[str]:
    """When cycles fall due otherwise than may be thought."""
    found = []
    schedule, drawdown, grace = auto_invest.schedule, auto_invest.drawdown, auto_invest.grace
    if schedule is not None and schedule.period is Period.HOURS and grace != DEFAULT_GRACE:
        every = timedelta(hours=schedule.every)
        if grace > every:
            found.append(
                f"auto_invest.grace {interval_text(grace)} is longer than the {interval_text(every)} between two "
                "cycles: of several that were missed only the newest is made up for"
            )
    if drawdown is not None:
        stop_loss = definition.stop_loss
        if stop_loss is not None and drawdown.loss_pct >= -stop_loss.percent:
            found.append(
                f"auto_invest.drawdown.loss {plain(drawdown.loss_pct)} is not reached: "
                f"the stop-loss acts first, at {plain(stop_loss.percent)} %"
            )
        if drawdown.min_interval < _OFTEN:
            found.append(
                f"auto_invest.drawdown invests {plain(auto_invest.amount)} {auto_invest.asset} every "
                f"{interval_text(drawdown.min_interval)} for as long as the loss lasts"
            )
    return found


def _threshold_warnings(definition: StrategyDefinition) -> list[str]:
    band = definition.rule.threshold
    if band is None:
        return []
    widths = {asset: band.width(asset, definition.targets) for asset in definition.targets}
    return [
        f"threshold {plain(widths[asset])} is not below the target weight of {asset} ({plain(weight)} %): "
        f"a fall of {asset} alone can hardly ever trigger a rebalance"
        for asset, weight in definition.targets.items()
        if widths[asset] >= weight
    ]


def parse_name(value: object) -> str:
    """A strategy's name, without space around it. Raises Refused."""
    allowed = f"1 to {MAX_NAME_LENGTH} printable characters"
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME_LENGTH or not value.isprintable():
        raise Refused.one("name", value, allowed, "is not a name")
    return value.strip()


def parse_venue(value: object) -> str:
    """The name of a venue. Raises Refused."""
    if not isinstance(value, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", value):
        raise Refused.one("venue", value, "the name of a configured venue, as in paper", "is not a venue name")
    return value


def _parse_amount(value: object) -> Decimal:
    allowed = f"more than 0 and less than {plain(MAX_AMOUNT_USDT)} USDT in value"
    amount = parse_decimal(value, "amount", allowed)
    if amount <= ZERO:
        raise Refused.one("amount", value, allowed, "must be positive")
    return amount


def _parse_weight(value: object, field: str) -> Decimal:
    allowed = "more than 0 and less than 100 (percent)"
    weight = parse_decimal(value, field, allowed)
    if not ZERO < weight < HUNDRED:
        raise Refused.one(field, value, allowed, "is out of range")
    return weight
