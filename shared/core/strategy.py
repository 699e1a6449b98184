"""What a user wants: a strategy's definition, and the rules that every definition must meet.

All percentages are exact decimals in percent ("40" is 40 %); thresholds are percentage points of the portfolio.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from shared.core.errors import Problem, Refused, shown
from shared.core.money import HUNDRED, ZERO, parse_asset, parse_decimal, plain

MIN_ASSETS = 2
MAX_ASSETS = 10
MAX_AMOUNT_USDT = Decimal(200_000)
MAX_NAME_LENGTH = 80
MIN_INTERVAL = timedelta(minutes=1)
MAX_INTERVAL = timedelta(days=366)

_T = TypeVar("_T")
_INTERVAL = re.compile(r"([1-9][0-9]{0,6})([mhd])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_FIELDS = frozenset({"name", "venue", "funding_asset", "amount", "targets", "rebalance", "take_profit", "stop_loss"})


class StrategyStatus(StrEnum):
    """Where a strategy is in its life; ``TRANSITIONS`` has the legal steps."""

    PREVIEWED = "previewed"
    FUNDING = "funding"
    BUILDING = "building"
    ACTIVE = "active"
    EXITING = "exiting"
    CLOSED = "closed"
    REFUSED = "refused"


TRANSITIONS: Mapping[StrategyStatus, frozenset[StrategyStatus]] = {
    StrategyStatus.PREVIEWED: frozenset({StrategyStatus.FUNDING}),
    StrategyStatus.FUNDING: frozenset({StrategyStatus.BUILDING, StrategyStatus.REFUSED}),
    StrategyStatus.BUILDING: frozenset({StrategyStatus.ACTIVE, StrategyStatus.EXITING}),
    StrategyStatus.ACTIVE: frozenset({StrategyStatus.EXITING}),
    StrategyStatus.EXITING: frozenset({StrategyStatus.CLOSED}),
    StrategyStatus.CLOSED: frozenset(),
    StrategyStatus.REFUSED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class ThresholdRule:
    """Rebalance when any asset is off its target by >= ``points`` percentage points (inclusive)."""

    points: Decimal


@dataclass(frozen=True, slots=True)
class IntervalRule:
    """Rebalance every ``interval`` of market time, regardless of drift."""

    interval: timedelta


@dataclass(frozen=True, slots=True)
class StrategyDefinition:
    """A valid strategy, as the user defined it. Made by ``parse_strategy`` only.

    ``targets``: weight in percent by asset, sum exactly 100, every weight > 0; the venue's quote currency may be one of
    them (a cash weight). ``take_profit_pct`` > 0 and ``stop_loss_pct`` < 0 are percent of the money put in.
    """

    name: str
    venue: str
    funding_asset: str
    amount: Decimal
    targets: Mapping[str, Decimal]
    rule: ThresholdRule | IntervalRule
    take_profit_pct: Decimal | None = None
    stop_loss_pct: Decimal | None = None


def parse_strategy(document: object) -> StrategyDefinition:
    """A definition from the mapping of a strategy file or API body; numbers are text.

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
        for field in ("name", "venue", "funding_asset", "amount", "targets", "rebalance")
        if document.get(field) is None
    ]
    if problems:
        raise Refused(problems)
    collector = _Collector()
    placeholder: ThresholdRule | IntervalRule = ThresholdRule(ZERO)
    definition = StrategyDefinition(
        name=collector.take(lambda: _parse_name(document["name"]), ""),
        venue=collector.take(lambda: _parse_venue(document["venue"]), ""),
        funding_asset=collector.take(lambda: parse_asset(document["funding_asset"], "funding_asset"), ""),
        amount=collector.take(lambda: _parse_amount(document["amount"]), ZERO),
        targets=collector.take(lambda: parse_targets(document["targets"]), {}),
        rule=collector.take(lambda: _parse_rule(document["rebalance"]), placeholder),
        take_profit_pct=collector.take(lambda: _parse_take_profit(document.get("take_profit")), None),
        stop_loss_pct=collector.take(lambda: _parse_stop_loss(document.get("stop_loss")), None),
    )
    if definition.funding_asset == "USDT" and definition.amount >= MAX_AMOUNT_USDT:
        limit = f"less than {plain(MAX_AMOUNT_USDT)} USDT in value"
        collector.problems.append(Problem("amount", plain(definition.amount), limit, "is too large"))
    if collector.problems:
        raise Refused(collector.problems)
    return definition


class _Collector:
    """Runs parsers and gathers their problems, so that one refusal tells everything."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def take(self, parse: Callable[[], _T], otherwise: _T) -> _T:
        try:
            return parse()
        except Refused as refused:
            self.problems.extend(refused.problems)
            return otherwise


def parse_targets(value: object) -> dict[str, Decimal]:
    """Target weights in percent by asset: 2-10 assets, each > 0, sum exactly 100. Raises Refused."""
    if not isinstance(value, Mapping):
        raise Refused.one("targets", value, 'a mapping as in {BTC: "60", ETH: "40"}', "is not a mapping")
    if not MIN_ASSETS <= len(value) <= MAX_ASSETS:
        raise Refused.one(
            "targets", f"{len(value)} assets", f"{MIN_ASSETS} to {MAX_ASSETS} assets", "has the wrong size"
        )
    collector = _Collector()
    targets: dict[str, Decimal] = {}
    for asset_text, weight_text in value.items():
        asset = collector.take(lambda text=asset_text: parse_asset(text, "targets"), "")  # type: ignore[misc]
        field = f"targets.{shown(str(asset_text))}"
        weight = collector.take(
            lambda text=weight_text, name=field: _parse_weight(text, name),  # type: ignore[misc]
            ZERO,
        )
        targets[asset] = weight
    if collector.problems:
        raise Refused(collector.problems)
    total = sum(targets.values(), ZERO)
    if total != HUNDRED:
        raise Refused.one("targets", f"sum {plain(total)}", "weights that sum to exactly 100", "do not sum to 100")
    return targets


def parse_interval(text: object, field: str = "rebalance.interval") -> timedelta:
    """An interval as in "15m", "12h", "7d": whole minutes, hours or days, 1 minute to 366 days. Raises Refused."""
    allowed = 'a whole number of m, h or d from "1m" to "366d"'
    match = _INTERVAL.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise Refused.one(field, text, allowed, "is not an interval")
    interval = int(match[1]) * _UNITS[match[2]]
    if not MIN_INTERVAL <= interval <= MAX_INTERVAL:
        raise Refused.one(field, text, allowed, "is out of range")
    return interval


def interval_text(interval: timedelta) -> str:
    """The shortest text that ``parse_interval`` reads back as the same interval."""
    for unit in "dhm":
        count, rest = divmod(interval, _UNITS[unit])
        if not rest:
            return f"{count}{unit}"
    raise Refused.one("interval", interval, "whole minutes", "is not a whole number of minutes")


def strategy_document(definition: StrategyDefinition) -> dict[str, object]:
    """The file form of a definition: ``parse_strategy`` reads it back to an equal definition."""
    document: dict[str, object] = {
        "name": definition.name,
        "venue": definition.venue,
        "funding_asset": definition.funding_asset,
        "amount": plain(definition.amount),
        "targets": {asset: plain(weight) for asset, weight in definition.targets.items()},
        "rebalance": {"threshold": plain(definition.rule.points)}
        if isinstance(definition.rule, ThresholdRule)
        else {"interval": interval_text(definition.rule.interval)},
    }
    if definition.take_profit_pct is not None:
        document["take_profit"] = plain(definition.take_profit_pct)
    if definition.stop_loss_pct is not None:
        document["stop_loss"] = plain(definition.stop_loss_pct)
    return document


def warnings_of(definition: StrategyDefinition) -> list[str]:
    """What is allowed but probably not meant: a threshold that can never fire on the low side."""
    if not isinstance(definition.rule, ThresholdRule):
        return []
    points = definition.rule.points
    return [
        f"threshold {plain(points)} is not below the target weight of {asset} ({plain(weight)} %): "
        f"a fall of {asset} alone can hardly ever trigger a rebalance"
        for asset, weight in definition.targets.items()
        if points >= weight
    ]


def _parse_name(value: object) -> str:
    allowed = f"1 to {MAX_NAME_LENGTH} printable characters"
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME_LENGTH or not value.isprintable():
        raise Refused.one("name", value, allowed, "is not a name")
    return value.strip()


def _parse_venue(value: object) -> str:
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


def _parse_rule(value: object) -> ThresholdRule | IntervalRule:
    allowed = 'either {threshold: "5"} (percentage points) or {interval: "7d"}'
    if not isinstance(value, Mapping) or len(value) != 1:
        raise Refused.one("rebalance", value, allowed, "is not one rule")
    ((kind, setting),) = value.items()
    if kind == "threshold":
        return ThresholdRule(_parse_threshold(setting))
    if kind == "interval":
        return IntervalRule(parse_interval(setting))
    raise Refused.one("rebalance", value, allowed, "is not a known rule")


def _parse_threshold(value: object) -> Decimal:
    allowed = "more than 0 and less than 100 (percentage points)"
    points = parse_decimal(value, "rebalance.threshold", allowed)
    if not ZERO < points < HUNDRED:
        raise Refused.one("rebalance.threshold", value, allowed, "is out of range")
    return points


def _parse_take_profit(value: object) -> Decimal | None:
    if value is None:
        return None
    allowed = "more than 0, at most 10000 (percent of the money put in)"
    level = parse_decimal(value, "take_profit", allowed)
    if not ZERO < level <= Decimal(10_000):
        raise Refused.one("take_profit", value, allowed, "is out of range")
    return level


def _parse_stop_loss(value: object) -> Decimal | None:
    if value is None:
        return None
    allowed = "more than -100 and less than 0 (percent of the money put in)"
    level = parse_decimal(value, "stop_loss", allowed)
    if not -HUNDRED < level < ZERO:
        raise Refused.one("stop_loss", value, allowed, "is out of range")
    return level
