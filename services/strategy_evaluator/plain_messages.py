"""Messages of the commonest form, read several times faster than the contracts' models read them: for a million.

Each function checks every field of the message (names, types, form) and returns exactly what the contract's model and
``Portfolio`` make of it, or None: then the message is left to them. It never refuses anything itself.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from shared.contracts.books import PositionChanged
from shared.contracts.strategies import AutoInvestProgress, PeakRecorded, StrategyChanged
from shared.contracts.wire import Message
from shared.core.auto_invest import AutoInvestState, AutoInvestStatus
from shared.core.plain_documents import PlainDocuments, plain_amount
from shared.core.position import Position
from shared.core.rules import ExitAction
from shared.core.situation import Peak, StrategyView
from shared.core.strategy import StrategyStatus

_HEADERS = frozenset({"ce-id", "ce-source", "ce-time", "ce-correlationid", "ce-causationid"})
_STRATEGY_FIELDS = frozenset(StrategyChanged.model_fields)
_POSITION_FIELDS = frozenset(PositionChanged.model_fields)
_PEAK_FIELDS = frozenset(PeakRecorded.model_fields)
_INVESTING_FIELDS = frozenset(AutoInvestProgress.model_fields)
_INVESTING_MOMENTS = ("settled_until", "last_made_at", "left_out_at")
_INVESTING_STATUSES = {status.value: status for status in AutoInvestStatus}
_STATUSES = {status.value: status for status in StrategyStatus}
_ACTIONS = {action.value: action for action in ExitAction}
_TIME = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?Z")
_TEXTS = ("strategy_id", "change", "exit_reason", "reason", "changed_by")


def read_strategy(headers: Mapping[str, str], body: bytes, documents: PlainDocuments) -> StrategyView | None:
    """A strategy that nothing is asked of, without a start price."""
    told = _fields(headers, body, StrategyChanged, _STRATEGY_FIELDS)
    if told is None or told["requests"] != []:
        return None
    peak, investing = _peak(told["peak"]), _investing(told["auto_invest"])
    if (peak is None) != (told["peak"] is None) or (investing is None) != (told["auto_invest"] is None):
        return None
    status, action = _member(_STATUSES, told["status"]), _member(_ACTIONS, told["exit_action"])
    version, since = told["version"], told["active_since"]
    active_since = None if since is None else _time(since)
    if status is None or action is None or (since is not None and active_since is None):
        return None
    if _time(told["created_at"]) is None or type(version) is not int or type(told["revision"]) is not int:
        return None
    inputs = told["inputs"]
    if told["released"] != {} or type(inputs) is not dict or not all(type(text) is str for text in inputs.values()):
        return None
    if not all(type(told[name]) is str for name in _TEXTS):
        return None
    definition = documents.definition(told["document"])
    if definition is None:
        return None
    return StrategyView(
        strategy_id=told["strategy_id"],
        version=version,
        status=status,
        definition=definition,
        active_since=active_since,
        exit_reason=told["exit_reason"],
        peak=peak,
        auto_invest=investing,
        exit_action=action,
    )


def _peak(told: object) -> Peak | None:
    if type(told) is not dict or told.keys() != _PEAK_FIELDS:
        return None
    profit_pct, contributed = plain_amount(told["profit_pct"]), plain_amount(told["contributed"])
    return None if profit_pct is None or contributed is None else Peak(profit_pct, contributed)


def _investing(told: object) -> AutoInvestState | None:
    if type(told) is not dict or told.keys() != _INVESTING_FIELDS:
        return None
    status, since = _member(_INVESTING_STATUSES, told["status"]), _time(told["since"])
    moments = {name: _time(told[name]) for name in _INVESTING_MOMENTS}
    invested, carried = plain_amount(told["invested"]), plain_amount(told["carried"])
    if status is None or since is None or invested is None or carried is None:
        return None
    if any(moment is None and told[name] is not None for name, moment in moments.items()):
        return None
    if type(told["reason"]) is not str or type(told["cycle"]) is not int or type(told["pending"]) is not bool:
        return None
    return AutoInvestState(
        status,
        since,
        reason=told["reason"],
        cycle=told["cycle"],
        invested=invested,
        carried=carried,
        pending=told["pending"],
        **moments,
    )


def read_position(headers: Mapping[str, str], body: bytes) -> Position | None:
    """A position with amounts of at most 20 digits before the point."""
    told = _fields(headers, body, PositionChanged, _POSITION_FIELDS)
    if told is None or type(told["holdings"]) is not dict or type(told["fees_paid"]) is not dict:
        return None
    strategy_id, version, fills_posted = told["strategy_id"], told["version"], told["fills_posted"]
    if type(version) is not int or type(fills_posted) is not int:
        return None
    if type(strategy_id) is not str or type(told["venue"]) is not str:
        return None
    holdings = {asset: plain_amount(text) for asset, text in told["holdings"].items()}
    contributed, others = plain_amount(told["contributed"]), [told["contributed_in"], told["withdrawn"]]
    read = {asset: amount for asset, amount in holdings.items() if amount is not None}
    others += told["fees_paid"].values()
    if contributed is None or len(read) != len(holdings) or any(plain_amount(each) is None for each in others):
        return None
    return Position(strategy_id, version, fills_posted, read, contributed)


def _fields(
    headers: Mapping[str, str], body: bytes, message: type[Message], names: frozenset[str]
) -> dict[str, Any] | None:
    """The body's fields, when headers and names are those of the message."""
    if headers.get("ce-type") != message.TYPE or headers.get("ce-schemaversion") != "1" or message.SCHEMA_VERSION != 1:
        return None
    try:
        if not headers.keys() >= _HEADERS or datetime.fromisoformat(headers["ce-time"]).tzinfo is None:
            return None
        told = orjson.loads(body)
    except ValueError:
        return None
    return told if type(told) is dict and told.keys() == names else None


def _member(members: Mapping[str, Any], text: object) -> Any:
    return members.get(text) if type(text) is str else None


def _time(text: object) -> datetime | None:
    if type(text) is not str or not _TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
