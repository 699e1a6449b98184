"""Bodies of what is asked of a strategy that runs, read strictly; each problem names field, value, what is allowed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from services.gateway.bodies import refuse_unknown_fields
from shared.contracts.lifecycle import EDITABLE_FIELDS
from shared.core.document_fields import Collector
from shared.core.errors import Problem, Refused, shown
from shared.core.money import HUNDRED, ZERO, parse_asset, parse_decimal
from shared.core.rules import ExitAction
from shared.core.strategy import MAX_NAME_LENGTH, OPTIONAL_FIELDS, REQUIRED_FIELDS

MAX_DATES = 100
DEFAULT_DATES = 10
_MAX_DEPTH = 8
_COPY = " (copy)"
_ABOVE_ZERO = "more than 0"


@dataclass(frozen=True, slots=True)
class EditWanted:
    """An edit as asked for; see ``shared.contracts.lifecycle.EditStrategy``."""

    revision: int
    changes: dict[str, Any]
    rebalance: bool


def edit_in(body: Mapping[str, Any]) -> EditWanted:
    """The edit in a body; what the new values mean is the registry's to judge. Raises Refused."""
    refuse_unknown_fields(body, ["revision", "changes", "rebalance"])
    collector = Collector()
    revision = collector.take(lambda: _revision(body.get("revision")), 0)
    changes = collector.take(lambda: _changes(body.get("changes")), dict[str, Any]())
    rebalance = collector.take(lambda: _flag(body.get("rebalance", True), "rebalance"), True)
    collector.done()
    return EditWanted(revision, changes, rebalance)


@dataclass(frozen=True, slots=True)
class MoneyWanted:
    """Money to be put in or taken out; asset "" = the funding asset, percent of the strategy's value."""

    asset: str
    amount: Decimal | None = None
    percent: Decimal | None = None


def addition_in(body: Mapping[str, Any]) -> MoneyWanted:
    """The money to be added. Raises Refused."""
    refuse_unknown_fields(body, ["amount", "asset"])
    collector = Collector()
    amount = collector.take(lambda: _amount(body.get("amount")), ZERO)
    asset = collector.take(lambda: _asset(body.get("asset")), "")
    collector.done()
    return MoneyWanted(asset, amount)


def withdrawal_in(body: Mapping[str, Any]) -> MoneyWanted:
    """The money to be taken out: an amount or a percentage. Raises Refused."""
    refuse_unknown_fields(body, ["amount", "percent", "asset"])
    amount, percent = body.get("amount"), body.get("percent")
    collector = Collector()
    asset = collector.take(lambda: _asset(body.get("asset")), "")
    if (amount is None) == (percent is None):
        given = "neither" if amount is None else "both"
        collector.problems.append(Problem("amount", given, "amount or percent, exactly one", "is not clear"))
    found_amount = None if amount is None else collector.take(lambda: _amount(amount), ZERO)
    found_percent = None if percent is None else collector.take(lambda: _percent(percent), ZERO)
    collector.done()
    return MoneyWanted(asset, found_amount, found_percent)


def stop_action_in(body: Mapping[str, Any]) -> ExitAction:
    """What becomes of the holdings: sell (unless said otherwise) or keep. Raises Refused."""
    refuse_unknown_fields(body, ["action"])
    action = body.get("action", ExitAction.SELL.value)
    allowed = (ExitAction.SELL.value, ExitAction.KEEP.value)
    if action not in allowed:
        raise Refused.one("action", action, ", ".join(allowed), "is not one of them")
    return ExitAction(action)


def nothing_in(body: Mapping[str, Any]) -> None:
    """Raises Refused when a body says anything at all."""
    problems = [
        Problem(shown(key), shown(value), "no body, or {}", "is not a field of this request")
        for key, value in body.items()
    ]
    if problems:
        raise Refused(problems)


def copy_in(body: Mapping[str, Any], original: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a copy: the original's with the body's fields in place of its own, null taking one away.

    Without a name of its own it is called "... (copy)". Raises Refused for a field that no strategy has.
    """
    refuse_unknown_fields(body, [*REQUIRED_FIELDS, *OPTIONAL_FIELDS])
    room = MAX_NAME_LENGTH - len(_COPY)
    name = {"name": f"{str(original['name'])[:room].rstrip()}{_COPY}"}
    merged = {**original, **name, **body}
    return {field: value for field, value in merged.items() if value is not None}


@dataclass(frozen=True, slots=True)
class CalendarWanted:
    """Dates of an Auto-Invest that need not exist yet; ``since`` None = now."""

    auto_invest: Mapping[str, Any]
    since: datetime | None
    count: int


def calendar_in(body: Mapping[str, Any]) -> CalendarWanted:
    """The calendar asked for. Raises Refused."""
    refuse_unknown_fields(body, ["auto_invest", "since", "count"])
    collector = Collector()
    auto_invest = body.get("auto_invest")
    if not isinstance(auto_invest, Mapping):
        allowed = "an auto_invest as in a strategy file"
        collector.problems.append(Problem("auto_invest", shown(auto_invest), allowed, "is not a mapping"))
    since = collector.take(lambda: _since(body.get("since")), None)
    count = collector.take(lambda: _count(body.get("count", DEFAULT_DATES)), DEFAULT_DATES)
    collector.done()
    return CalendarWanted(auto_invest if isinstance(auto_invest, Mapping) else {}, since, count)


def _revision(value: object) -> int:
    allowed = "the revision the edit was made for, a whole number from 1"
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 10**9:
        raise Refused.one("revision", "(missing)" if value is None else value, allowed, "is not a revision")
    return value


def _changes(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not value:
        allowed = 'the new value by field, as in {"take_profit": "15"}; null takes an optional one away'
        raise Refused.one("changes", "(missing)" if value is None else value, allowed, "changes nothing")
    problems = [
        Problem(shown(key), shown(new), ", ".join(EDITABLE_FIELDS), "cannot be changed")
        for key, new in value.items()
        if key not in EDITABLE_FIELDS
    ]
    for key, new in value.items():
        problems += _inexact(new, shown(key), _MAX_DEPTH)
    if problems:
        raise Refused(problems)
    return dict(value)


def _inexact(value: object, field: str, depth: int) -> list[Problem]:
    """What cannot be passed on as it was written: fractions that are not text, and nesting without end."""
    if isinstance(value, float):
        return [Problem(field, shown(value), 'text, as in "5.5"', "must be text: floats cannot carry money")]
    if isinstance(value, Mapping | list) and not depth:
        return [Problem(field, "...", f"at most {_MAX_DEPTH} levels", "is nested too deeply")]
    found: list[Problem] = []
    if isinstance(value, Mapping):
        for key, one in value.items():
            found += _inexact(one, f"{field}.{shown(key)}", depth - 1)
    elif isinstance(value, list):
        for number, one in enumerate(value):
            found += _inexact(one, f"{field}.{number}", depth - 1)
    return found


def _amount(value: object) -> Decimal:
    amount = parse_decimal("(missing)" if value is None else value, "amount", _ABOVE_ZERO)
    if amount <= ZERO:
        raise Refused.one("amount", value, _ABOVE_ZERO, "must be positive")
    return amount


def _percent(value: object) -> Decimal:
    allowed = "more than 0 and less than 100; to take out all, stop it"
    percent = parse_decimal(value, "percent", allowed)
    if not ZERO < percent < HUNDRED:
        raise Refused.one("percent", value, allowed, "is out of range")
    return percent


def _asset(value: object) -> str:
    return "" if value is None else parse_asset(value, "asset")


def _flag(value: object, field: str) -> bool:
    if not isinstance(value, bool):
        raise Refused.one(field, value, "true or false", "is not one of them")
    return value


def _since(value: object) -> datetime | None:
    if value is None:
        return None
    allowed = "a time with zone, as in 2026-01-31T12:00:00Z"
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Refused.one("since", value, allowed, "is not a time with zone")


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_DATES:
        raise Refused.one("count", value, f"a whole number from 1 to {MAX_DATES}", "is out of range")
    return value
