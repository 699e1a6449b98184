"""The rules of a strategy as they are written in files: read with every problem told, and written back."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import TypeVar

from shared.core.document_fields import (
    Collector,
    fields_of,
    interval_text,
    parse_between,
    parse_choice,
    parse_confirm,
    parse_duration,
    parse_flag,
    parse_interval,
)
from shared.core.errors import Problem, Refused, shown
from shared.core.money import HUNDRED, ZERO, parse_asset, parse_decimal, plain
from shared.core.rules import (
    DEFAULT_COOLDOWN,
    Band,
    Destination,
    ExitAction,
    ExitLevel,
    RebalanceRule,
    StartPrice,
    When,
)

MAX_COOLDOWN = timedelta(days=30)
MAX_FACTOR_PCT = Decimal(1000)
MAX_COST_FACTOR = Decimal(1000)
MAX_TAKE_PROFIT_PCT = Decimal(10_000)
RULE_FIELDS = ("threshold", "interval", "when", "min_drift", "destination", "cooldown", "cost_guard", "hold")
THRESHOLD_FIELDS = ("points", "relative", "factor", "floor", "per_asset")
EXIT_FIELDS = ("percent", "confirm", "trailing", "action")
START_FIELDS = ("asset", "at_or_below", "at_or_above")

_T = TypeVar("_T")
_ONE_RULE = 'threshold ("5"), interval ("7d"), either or both, or hold: true'


def parse_rule(value: object) -> RebalanceRule:
    """The ``rebalance`` of a strategy file. Raises Refused with every problem."""
    given = fields_of(value, "rebalance", RULE_FIELDS, _ONE_RULE)
    collector = Collector()
    take = collector.take
    held = take(lambda: parse_flag(given.get("hold"), "rebalance.hold"), False)
    rule = RebalanceRule(
        threshold=take(lambda: _optional(given, "threshold", _parse_threshold), None),
        interval=take(lambda: _optional(given, "interval", parse_interval), None),
        when=take(lambda: parse_choice(given.get("when"), "rebalance.when", tuple(When), When.ANY), When.ANY),
        min_drift=take(lambda: _optional(given, "min_drift", _parse_points), None),
        destination=take(
            lambda: parse_choice(
                given.get("destination"), "rebalance.destination", tuple(Destination), Destination.TARGET
            ),
            Destination.TARGET,
        ),
        cooldown=take(lambda: _parse_cooldown(given.get("cooldown")), DEFAULT_COOLDOWN),
        cost_guard=take(lambda: _optional(given, "cost_guard", _parse_cost_factor), None),
    )
    collector.done()
    _refuse_contradictions(rule, given, held)
    return rule


def _refuse_contradictions(rule: RebalanceRule, given: Mapping[str, object], held: bool) -> None:
    if held and len(given) > 1:
        raise Refused.one("rebalance", ", ".join(given), "hold: true alone", "has more than hold")
    if rule.holds and not held:
        raise Refused.one("rebalance", ", ".join(given) or "nothing", f"either {_ONE_RULE}", "is not a rule")
    both = rule.threshold is not None and rule.interval is not None
    problems = []
    if "when" in given and not both:
        problems.append(Problem("rebalance.when", shown(given["when"]), "interval and threshold", "needs both"))
    if rule.min_drift is not None and (rule.interval is None or rule.when is When.ALL):
        allowed = "an interval, and not when: all (there the threshold is the least drift)"
        problems.append(Problem("rebalance.min_drift", plain(rule.min_drift), allowed, "does not fit"))
    if rule.destination is not Destination.TARGET and rule.threshold is None:
        problems.append(Problem("rebalance.destination", rule.destination.value, "a threshold", "needs a band"))
    if problems:
        raise Refused(problems)


def rule_document(rule: RebalanceRule) -> dict[str, object]:
    """The file form of a rule: ``parse_rule`` reads it back to an equal one. What is as by default is left out."""
    if rule.holds:
        return {"hold": True}
    document: dict[str, object] = {}
    if rule.threshold is not None:
        document["threshold"] = _threshold_document(rule.threshold)
    if rule.interval is not None:
        document["interval"] = interval_text(rule.interval)
    if rule.when is not When.ANY:
        document["when"] = rule.when.value
    if rule.min_drift is not None:
        document["min_drift"] = plain(rule.min_drift)
    if rule.destination is not Destination.TARGET:
        document["destination"] = rule.destination.value
    if rule.cooldown != DEFAULT_COOLDOWN:
        document["cooldown"] = interval_text(rule.cooldown)
    if rule.cost_guard is not None:
        document["cost_guard"] = plain(rule.cost_guard)
    return document


def parse_exit_level(value: object, field: str) -> ExitLevel | None:
    """``take_profit`` or ``stop_loss``: a number, or {percent, confirm, trailing, action}. None when not given.

    Raises Refused with every problem.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        return ExitLevel(_parse_exit_percent(value, field, field))
    given = fields_of(value, field, EXIT_FIELDS, 'a number as in "15", or {percent: "15", confirm: "3"}')
    collector = Collector()
    take = collector.take
    percent = take(lambda: _parse_exit_percent(given.get("percent"), f"{field}.percent", field), ZERO)
    confirm = take(lambda: parse_confirm(given.get("confirm"), f"{field}.confirm"), None)
    trailing, points, from_peak = given.get("trailing"), None, False
    if field == "stop_loss":
        from_peak = take(lambda: parse_flag(trailing, f"{field}.trailing"), False)
    else:
        points = take(lambda: _parse_trailing(trailing, f"{field}.trailing", percent), None)
    written, actions = given.get("action"), tuple(ExitAction)
    action = take(lambda: parse_choice(written, f"{field}.action", actions, ExitAction.SELL), ExitAction.SELL)
    collector.done()
    return ExitLevel(percent, confirm, points, from_peak, action)


def exit_level_document(level: ExitLevel) -> object:
    """The file form of a level: plain text when it is only a number."""
    document: dict[str, object] = {"percent": plain(level.percent)}
    if level.confirm is not None:
        document["confirm"] = str(level.confirm)
    if level.trailing is not None:
        document["trailing"] = plain(level.trailing)
    if level.from_peak:
        document["trailing"] = True
    if level.action is not ExitAction.SELL:
        document["action"] = level.action.value
    return document if len(document) > 1 else document["percent"]


def parse_start(value: object, targets: Mapping[str, Decimal]) -> StartPrice | None:
    """``start``: {asset, at_or_below} or {asset, at_or_above}; the asset is a target. Raises Refused."""
    if value is None:
        return None
    allowed = '{asset: BTC, at_or_below: "50000"} or {asset: BTC, at_or_above: "50000"}'
    given = fields_of(value, "start", START_FIELDS, allowed)
    collector = Collector()
    asset = collector.take(lambda: parse_asset(given.get("asset"), "start.asset"), "")
    if asset and targets and asset not in targets:
        collector.problems.append(Problem("start.asset", asset, ", ".join(targets), "is not a target"))
    sides = [side for side in START_FIELDS[1:] if side in given]
    if len(sides) != 1:
        collector.problems.append(Problem("start", ", ".join(sides) or "nothing", allowed, "is not one price"))
        collector.done()
    side = sides[0]
    price = collector.take(lambda: _parse_price(given[side], f"start.{side}"), ZERO)
    collector.done()
    return StartPrice(asset, price, side == "at_or_above")


def start_document(start: StartPrice) -> dict[str, object]:
    """The file form of a start price."""
    return {"asset": start.asset, "at_or_above" if start.above else "at_or_below": plain(start.price)}


def _optional(given: Mapping[str, object], name: str, parse: Callable[[object, str], _T]) -> _T | None:
    return parse(given[name], f"rebalance.{name}") if name in given else None


def _parse_threshold(value: object, field: str) -> Band:
    """ "5", or one of {points}, {relative}, {factor, floor}, each with or without per_asset."""
    if not isinstance(value, Mapping):
        return Band(_parse_points(value, field))
    forms = '{points: "5"}, {relative: "15"} or {factor: "20", floor: "1"}, with per_asset: {BTC: "3"} if wanted'
    given = fields_of(value, field, THRESHOLD_FIELDS, forms)
    kinds = {name for name in given if name != "per_asset"}
    if kinds not in ({"points"}, {"relative"}, {"factor", "floor"}):
        raise Refused.one(field, ", ".join(sorted(kinds)) or "nothing", forms, "is not one kind of threshold")
    collector = Collector()
    points = next((name for name in ("points", "floor") if name in given), "")
    factor = next((name for name in ("relative", "factor") if name in given), "")
    band = Band(
        collector.take(lambda: _parse_points(given[points], f"{field}.{points}"), ZERO) if points else ZERO,
        collector.take(lambda: _parse_factor(given[factor], f"{field}.{factor}"), ZERO) if factor else ZERO,
        collector.take(lambda: _parse_per_asset(given.get("per_asset"), f"{field}.per_asset"), {}),
    )
    collector.done()
    return band


def _threshold_document(band: Band) -> object:
    if not band.factor_pct:
        document: dict[str, object] = {"points": plain(band.points)}
    elif not band.points:
        document = {"relative": plain(band.factor_pct)}
    else:
        document = {"factor": plain(band.factor_pct), "floor": plain(band.points)}
    if band.per_asset:
        return {**document, "per_asset": {asset: plain(points) for asset, points in band.per_asset.items()}}
    return document.get("points", document)


def _parse_per_asset(value: object, field: str) -> dict[str, Decimal]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise Refused.one(field, value, 'percentage points by asset, as in {BTC: "3"}', "is not a mapping")
    collector = Collector()
    found = {}
    for key, points in value.items():
        asset = collector.take(lambda text=key: parse_asset(text, field), "")  # type: ignore[misc]
        name = f"{field}.{shown(str(key))}"
        found[asset] = collector.take(lambda text=points, at=name: _parse_points(text, at), ZERO)  # type: ignore[misc]
    collector.done()
    return found


def refuse_unknown_assets(rule: RebalanceRule, targets: Mapping[str, Decimal]) -> None:
    """Raises Refused when the threshold names an asset that is not a target."""
    named = rule.threshold.per_asset if rule.threshold is not None else {}
    problems = [
        Problem(f"rebalance.threshold.per_asset.{asset}", plain(points), ", ".join(targets), "is not a target")
        for asset, points in named.items()
        if asset not in targets
    ]
    if problems and targets:
        raise Refused(problems)


def _parse_points(value: object, field: str) -> Decimal:
    allowed = "more than 0 and less than 100 (percentage points)"
    return parse_between(value, field, allowed, HUNDRED, below=True)


def _parse_factor(value: object, field: str) -> Decimal:
    allowed = f"more than 0, at most {plain(MAX_FACTOR_PCT)} (percent of the target)"
    return parse_between(value, field, allowed, MAX_FACTOR_PCT)


def _parse_cost_factor(value: object, field: str) -> Decimal:
    allowed = f"more than 0, at most {plain(MAX_COST_FACTOR)} (times fees and spread)"
    return parse_between(value, field, allowed, MAX_COST_FACTOR)


def _parse_price(value: object, field: str) -> Decimal:
    return parse_between(value, field, "more than 0 (in the quote currency)", Decimal(10) ** 18)


def _parse_exit_percent(value: object, field: str, kind: str) -> Decimal:
    if kind == "take_profit":
        allowed = f"more than 0, at most {plain(MAX_TAKE_PROFIT_PCT)} (percent of the money put in)"
        return parse_between(value, field, allowed, MAX_TAKE_PROFIT_PCT)
    allowed = "more than -100 and less than 0 (percent of the money put in)"
    level = parse_decimal(value, field, allowed)
    if not -HUNDRED < level < ZERO:
        raise Refused.one(field, value, allowed, "is out of range")
    return level


def _parse_trailing(value: object, field: str, percent: Decimal) -> Decimal | None:
    """How far a profit may fall from its peak: less than the profit that arms it, so that it never exits at a loss."""
    if value is None:
        return None
    allowed = "more than 0 and less than percent (points of profit)"
    return parse_between(value, field, allowed, percent, below=True) if percent > 0 else None


def _parse_cooldown(value: object) -> timedelta:
    if value is None:
        return DEFAULT_COOLDOWN
    return parse_duration(value, "rebalance.cooldown", timedelta(0), MAX_COOLDOWN)
