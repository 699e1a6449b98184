"""Edits of a strategy that runs: what may be changed, what comes of it, what differs between two versions. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from services.strategy_registry import amounts, cycles, requests
from services.strategy_registry.market import Market
from services.strategy_registry.records import Advance, Status, StrategyRecord, changed, refuse_unless
from shared.contracts.lifecycle import EDITABLE_FIELDS, EditStrategy, FieldChanged
from shared.core.errors import Conflict, Problem, Refused, shown
from shared.core.rules import ExitAction, ExitLevel
from shared.core.strategy import StrategyDefinition, parse_strategy, strategy_document

REMOVABLE = ("take_profit", "stop_loss", "auto_invest", "orders")


@dataclass(frozen=True, slots=True)
class Edit:
    """A valid edit. ``fields``: those of EDITABLE_FIELDS that differ."""

    before: StrategyDefinition
    after: StrategyDefinition
    fields: frozenset[str]

    @property
    def needs_market(self) -> bool:
        """Whether prices decide if it is possible."""
        return bool(self.fields & {"targets", "rebalance", "auto_invest"})


def edit_of(record: StrategyRecord, command: EditStrategy, max_assets: int) -> Edit:
    """The edit that a command asks for. Raises Refused with every problem, Conflict when it is for another revision."""
    refuse_unless(record, Status.ACTIVE, Status.PAUSED)
    if command.revision != record.revision:
        message = "is not the newest revision: look at the strategy and edit it again"
        raise Conflict.one("revision", command.revision, str(record.revision), message)
    _refuse_fields(command.changes)
    before = record.definition()
    merged = {**record.document, **command.changes}
    targets = merged.get("targets")
    if before.start is not None and isinstance(targets, Mapping) and before.start.asset not in targets:
        # The first purchase was made long ago; what it waited for must not stand in the way of other targets.
        merged.pop("start")
    after = parse_strategy(
        {field: value for field, value in merged.items() if value is not None},
        max_assets=max(max_assets, len(before.targets)),
    )
    old, new = strategy_document(before), strategy_document(after)
    fields = frozenset(field for field in EDITABLE_FIELDS if old.get(field) != new.get(field))
    if not fields:
        given = ", ".join(command.changes) or "nothing"
        raise Refused.one("changes", given, "a value that differs from the one now", "changes nothing")
    return Edit(before, after, fields)


def refuse_infeasible(edit: Edit, holdings: Mapping[str, Any], market: Market) -> None:
    """Raises Refused when the strategy could not work like this now, RetryLater when a price is not known."""
    new_assets = {f"targets.{asset}": asset for asset in edit.after.targets if asset not in edit.before.targets}
    amounts.refuse_untradable(new_assets, market)
    if edit.fields & {"targets", "rebalance"}:
        field = "targets" if "targets" in edit.fields else "rebalance"
        amounts.refuse_too_small(edit.after, field, amounts.total_of(holdings, market), market)
    if "auto_invest" in edit.fields and edit.after.auto_invest is not None:
        amounts.refuse_auto_invest(edit.after.auto_invest, market)


def edited(record: StrategyRecord, edit: Edit, rebalance: bool, at: datetime, market_time: datetime) -> Advance:
    """The strategy as edited: one version and one revision more, and a second version when Auto-Invest stops for it.

    The peak of a trailing level stays, unless where or how a level trails was changed: then it counts from now on.
    ``at``: wall clock. Raises Refused when the rebalance would be one request too many.
    """
    retargeted = "targets" in edit.fields
    asked = record
    if retargeted and rebalance:
        asked = requests.in_order(requests.rebalance_asked(record, "edit", at))
    state = record.auto_invest
    if "auto_invest" in edit.fields:
        state = cycles.after_edit(state, edit.before.auto_invest, edit.after.auto_invest, market_time)
    made = changed(
        asked,
        "edited",
        inputs={"fields": ", ".join(sorted(edit.fields))},
        document=strategy_document(edit.after),
        revision=record.revision + 1,
        peak=None if _levels(edit.before) != _levels(edit.after) else record.peak,
        auto_invest=state,
    )
    # Who edits Auto-Invest together with the targets has said what is to become of it.
    stopped = None if not retargeted or "auto_invest" in edit.fields else cycles.stopped_by_composition(made.record)
    return made if stopped is None else made.and_then(stopped)


def fields_changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[FieldChanged, ...]:
    """What differs between two documents, by dotted path; values as JSON text, "" where there is none."""
    old, new = _leaves(before), _leaves(after)
    paths = [*old, *(path for path in new if path not in old)]
    return tuple(
        FieldChanged(field=path, before=old.get(path, ""), after=new.get(path, ""))
        for path in paths
        if old.get(path) != new.get(path)
    )


def _refuse_fields(changes: Mapping[str, Any]) -> None:
    problems = [
        Problem(shown(str(field)), shown(value), ", ".join(EDITABLE_FIELDS), "cannot be edited")
        for field, value in changes.items()
        if field not in EDITABLE_FIELDS
    ]
    problems += [
        Problem(field, "null", "a value", "cannot be taken away")
        for field, value in changes.items()
        if value is None and field in EDITABLE_FIELDS and field not in REMOVABLE
    ]
    if problems:
        raise Refused(problems)


def _levels(definition: StrategyDefinition) -> tuple[ExitLevel | None, ExitLevel | None]:
    """Take-profit and stop-loss as far as a peak means something to them."""
    profit, loss = definition.take_profit, definition.stop_loss
    return _where(profit), _where(loss)


def _where(level: ExitLevel | None) -> ExitLevel | None:
    return None if level is None else replace(level, action=ExitAction.SELL, confirm=None)


def _leaves(document: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in document.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= _leaves(value, f"{path}.")
        else:
            found[path] = json.dumps(value, ensure_ascii=False)
    return found
