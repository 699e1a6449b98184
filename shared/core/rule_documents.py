"""The rules of a strategy as they are written in files: read with every problem told, and written back."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import TypeVar

from shared.core.errors import Problem, Refused, shown
from shared.core.money import HUNDRED, ZERO, parse_asset, parse_decimal, plain
from shared.core.rules import DEFAULT_COOLDOWN, Band, Destination, ExitLevel, RebalanceRule, StartPrice, When

MIN_INTERVAL = timedelta(minutes=1)
MAX_INTERVAL = timedelta(days=366)
MAX_COOLDOWN = timedelta(days=30)
MAX_FACTOR_PCT = Decimal(1000)
MAX_COST_FACTOR = Decimal(1000)
MAX_TAKE_PROFIT_PCT = Decimal(10_000)
MAX_CONFIRM = 100
RULE_FIELDS = ("threshold", "interval", "when", "min_drift", "destination", "cooldown", "cost_guard", "hold")
THRESHOLD_FIELDS = ("points", "relative", "factor", "floor", "per_asset")
EXIT_FIELDS = ("percent", "confirm", "trailing")
START_FIELDS = ("asset", "at_or_below", "at_or_above")

_T = TypeVar("_T")
_DURATION = re.compile(r"(0|[1-9][0-9]{0,6})([mhd])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_ONE_RULE = 'threshold ("5"), interval ("7d"), either or both, or hold: true'


class Collector:
    """Runs parsers and gathers their problems, so that one refusal tells everything."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def take(self, parse: Callable[[], _T], otherwise: _T) -> _T:
        """What ``parse`` returns; when it refuses, its problems are kept and ``otherwise`` stands in."""
        try:
            return parse()
        except Refused as refused:
            self.problems.extend(refused.problems)
            return otherwise

    def done(self) -> None:
        """Raises Refused with every problem, if there is one."""
        if self.problems:
            raise Refused(self.problems)


def parse_rule(value: object) -> RebalanceRule:
    """The ``rebalance`` of a strategy file. Raises Refused with every problem."""
    given = _fields(value, "rebalance", RULE_FIELDS, _ONE_RULE)
    collector = Collector()
    take = collector.take
    held = take(lambda: _parse_flag(given.get("hold"), "rebalance.hold"), False)
    rule = RebalanceRule(
        threshold=take(lambda: _optional(given, "threshold", _parse_threshold), None),
        interval=take(lambda: _optional(given, "interval", parse_interval), None),
        when=take(lambda: _parse_choice(given, "when", When, When.ANY), When.ANY),
        min_drift=take(lambda: _optional(given, "min_drift", _parse_points), None),
        destination=take(
            lambda: _parse_choice(given, "destination", Destination, Destination.TARGET), Destination.TARGET
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


def parse_interval(text: object, field: str = "rebalance.interval") -> timedelta:
    """An interval as in "15m", "12h", "7d": whole minutes, hours or days, 1 minute to 366 days. Raises Refused."""
    return _parse_duration(text, field, MIN_INTERVAL, MAX_INTERVAL)


def interval_text(interval: timedelta) -> str:
    """The shortest text that is read back as the same interval or cooldown."""
    if not interval:
        return "0m"
    for unit in "dhm":
        count, rest = divmod(interval, _UNITS[unit])
        if not rest:
            return f"{count}{unit}"
    raise Refused.one("interval", interval, "whole minutes", "is not a whole number of minutes")


def parse_exit_level(value: object, field: str) -> ExitLevel | None:
    """``take_profit`` or ``stop_loss``: a number, or {percent, confirm}. None when not given. Raises Refused."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        return ExitLevel(_parse_exit_percent(value, field, field))
    given = _fields(value, field, EXIT_FIELDS, 'a number as in "15", or {percent: "15", confirm: "3"}')
    collector = Collector()
    percent = collector.take(lambda: _parse_exit_percent(given.get("percent"), f"{field}.percent", field), ZERO)
    confirm = collector.take(lambda: _parse_confirm(given.get("confirm"), f"{field}.confirm"), None)
    trailing = given.get("trailing")
    if field == "stop_loss":
        from_peak = collector.take(lambda: _parse_flag(trailing, f"{field}.trailing"), False)
        collector.done()
        return ExitLevel(percent, confirm, from_peak=from_peak)
    points = collector.take(lambda: _parse_trailing(trailing, f"{field}.trailing", percent), None)
    collector.done()
    return ExitLevel(percent, confirm, points)


def exit_level_document(level: ExitLevel) -> object:
    """The file form of a level: plain text when it is only a number."""
    document: dict[str, object] = {"percent": plain(level.percent)}
    if level.confirm is not None:
        document["confirm"] = str(level.confirm)
    if level.trailing is not None:
        document["trailing"] = plain(level.trailing)
    if level.from_peak:
        document["trailing"] = True
    return document if len(document) > 1 else document["percent"]


def parse_start(value: object, targets: Mapping[str, Decimal]) -> StartPrice | None:
    """``start``: {asset, at_or_below} or {asset, at_or_above}; the asset is a target. Raises Refused."""
    if value is None:
        return None
    allowed = '{asset: BTC, at_or_below: "50000"} or {asset: BTC, at_or_above: "50000"}'
    given = _fields(value, "start", START_FIELDS, allowed)
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


def _fields(value: object, field: str, names: tuple[str, ...], allowed: str) -> Mapping[str, object]:
    """The fields of a mapping, those without a value left out. Raises Refused for a field that does not belong."""
    if not isinstance(value, Mapping):
        raise Refused.one(field, value, allowed, "is not a mapping")
    problems = [
        Problem(f"{field}.{shown(str(key))}", shown(value[key]), ", ".join(names), f"is not a field of {field}")
        for key in value
        if key not in names
    ]
    if problems:
        raise Refused(problems)
    return {key: one for key, one in value.items() if one is not None}


def _optional(given: Mapping[str, object], name: str, parse: Callable[[object, str], _T]) -> _T | None:
    return parse(given[name], f"rebalance.{name}") if name in given else None


def _parse_threshold(value: object, field: str) -> Band:
    """ "5", or one of {points}, {relative}, {factor, floor}, each with or without per_asset."""
    if not isinstance(value, Mapping):
        return Band(_parse_points(value, field))
    forms = '{points: "5"}, {relative: "15"} or {factor: "20", floor: "1"}, with per_asset: {BTC: "3"} if wanted'
    given = _fields(value, field, THRESHOLD_FIELDS, forms)
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
    return _parse_between(value, field, allowed, HUNDRED, below=True)


def _parse_factor(value: object, field: str) -> Decimal:
    allowed = f"more than 0, at most {plain(MAX_FACTOR_PCT)} (percent of the target)"
    return _parse_between(value, field, allowed, MAX_FACTOR_PCT)


def _parse_cost_factor(value: object, field: str) -> Decimal:
    allowed = f"more than 0, at most {plain(MAX_COST_FACTOR)} (times fees and spread)"
    return _parse_between(value, field, allowed, MAX_COST_FACTOR)


def _parse_price(value: object, field: str) -> Decimal:
    return _parse_between(value, field, "more than 0 (in the quote currency)", Decimal(10) ** 18)


def _parse_between(value: object, field: str, allowed: str, most: Decimal, *, below: bool = False) -> Decimal:
    found = parse_decimal(value, field, allowed)
    if not ZERO < found <= most or (below and found == most):
        raise Refused.one(field, value, allowed, "is out of range")
    return found


def _parse_exit_percent(value: object, field: str, kind: str) -> Decimal:
    if kind == "take_profit":
        allowed = f"more than 0, at most {plain(MAX_TAKE_PROFIT_PCT)} (percent of the money put in)"
        return _parse_between(value, field, allowed, MAX_TAKE_PROFIT_PCT)
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
    return _parse_between(value, field, allowed, percent, below=True) if percent > 0 else None


def _parse_confirm(value: object, field: str) -> int | None:
    if value is None:
        return None
    allowed = f"a whole number from 1 to {MAX_CONFIRM} (consecutive quotes)"
    count = parse_decimal(value, field, allowed)
    if count != count.to_integral_value() or not 1 <= count <= MAX_CONFIRM:
        raise Refused.one(field, value, allowed, "is out of range")
    return int(count)


def _parse_cooldown(value: object) -> timedelta:
    if value is None:
        return DEFAULT_COOLDOWN
    return _parse_duration(value, "rebalance.cooldown", timedelta(0), MAX_COOLDOWN)


def _parse_duration(text: object, field: str, least: timedelta, most: timedelta) -> timedelta:
    allowed = f'a whole number of m, h or d from "{interval_text(least)}" to "{interval_text(most)}"'
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise Refused.one(field, text, allowed, "is not an interval")
    duration = int(match[1]) * _UNITS[match[2]]
    if not least <= duration <= most:
        raise Refused.one(field, text, allowed, "is out of range")
    return duration


def _parse_flag(value: object, field: str) -> bool:
    if value is None:
        return False
    if value is True or value == "true":
        return True
    raise Refused.one(field, value, "true, or nothing at all", "is not true")


_Choice = TypeVar("_Choice", When, Destination)


def _parse_choice(given: Mapping[str, object], name: str, kind: type[_Choice], default: _Choice) -> _Choice:
    value = given.get(name, default.value)
    if not isinstance(value, str) or value not in [each.value for each in kind]:
        allowed = ", ".join(each.value for each in kind)
        raise Refused.one(f"rebalance.{name}", value, allowed, "is not one of them")
    return kind(value)
