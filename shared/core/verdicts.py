"""What a decision is made of: its kinds, the figures behind it, and the look at one strategy that leads to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from shared.core.auto_invest import Cause
from shared.core.document_fields import interval_text
from shared.core.drift import Valuation, profit_pct, shown_text, weight_pct
from shared.core.identity import plan_id
from shared.core.matching import Side
from shared.core.money import ZERO, plain
from shared.core.position import Position
from shared.core.reasons import Reason, code_of
from shared.core.rules import Destination, ExitAction
from shared.core.situation import NONE_YET, ExitConfirmations, Market, Peak, Situation
from shared.core.strategy import StrategyDefinition

NO_FIGURES: Mapping[str, str] = {}
BOTH_WAYS: Mapping[str, Side] = {}


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures behind a decision, kept as they are and made into text only when somebody records them."""

    definition: StrategyDefinition
    valuation: Valuation | None = None
    contributed: Decimal = ZERO
    further: Mapping[str, str] = field(default_factory=dict)

    def as_text(self) -> dict[str, str]:
        """Plain text by name: weight.X, target.X, price.X (bid) per asset, and what the rule compared."""
        texts = dict(self.further)
        texts |= _rule_texts(self.definition)
        if self.valuation is None:
            return texts
        texts["value"] = shown_text(self.valuation.total)
        texts["contributed"] = shown_text(self.contributed)
        texts["profit_pct"] = plain(profit_pct(self.valuation.total, self.contributed))
        for line in self.valuation.lines:
            texts[f"weight.{line.asset}"] = plain(weight_pct(line, self.valuation.total))
            texts[f"target.{line.asset}"] = plain(line.target_pct)
            texts[f"price.{line.asset}"] = plain(line.bid)
        return texts


def _rule_texts(definition: StrategyDefinition) -> dict[str, str]:
    """What the strategy's rules say, by name."""
    rule, texts = definition.rule, {}
    if rule.threshold is not None:
        texts["threshold"] = rule.threshold.text()
    if rule.interval is not None:
        texts["interval"] = interval_text(rule.interval)
    if rule.threshold is not None and rule.interval is not None:
        texts["when"] = rule.when.value
    if rule.min_drift is not None:
        texts["min_drift"] = plain(rule.min_drift)
    if rule.destination is not Destination.TARGET:
        texts["destination"] = rule.destination.value
    if definition.take_profit is not None:
        texts["take_profit"] = plain(definition.take_profit.percent)
        if definition.take_profit.trailing is not None:
            texts["take_profit_trailing"] = plain(definition.take_profit.trailing)
    if definition.stop_loss is not None:
        texts["stop_loss"] = plain(definition.stop_loss.percent)
    for name, level in (("take_profit", definition.take_profit), ("stop_loss", definition.stop_loss)):
        if level is not None and level.action is not ExitAction.SELL:
            texts[f"{name}_action"] = level.action.value
    return texts


@dataclass(frozen=True, slots=True)
class PlanDraft:
    """A plan, complete but for the wall clock. ``target_pct`` in ``valuation`` is what the plan aims at.

    ``answers``: id of the request it carries out, "" for none. ``ways``: by asset, the only side on which it may be
    traded; both for an asset that is not in it.
    """

    plan_id: str
    kind: str
    funding_asset: str
    quote: str
    position_version: int
    fills_seen: int
    previous_plan_id: str
    valuation: Valuation
    market_time: datetime
    answers: str = ""
    ways: Mapping[str, Side] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """Trade: publish this plan."""

    code: str
    figures: Figures
    draft: PlanDraft
    confirmations: ExitConfirmations = NONE_YET
    peak: Peak | None = None


@dataclass(frozen=True, slots=True)
class ExitRequested:
    """Take-profit or stop-loss is confirmed: ask the registry to stop, or pause, the strategy for this reason."""

    code: str
    figures: Figures
    reason: Reason
    confirmations: ExitConfirmations
    peak: Peak | None = None
    action: ExitAction = ExitAction.SELL


@dataclass(frozen=True, slots=True)
class CycleDue:
    """A cycle of Auto-Invest is due: ask the registry to decide it; see ``shared.contracts.lifecycle.RunAutoInvest``.

    ``made``: False when its date was missed by more than the grace period. ``left_out``: earlier dates, the newest.
    ``price``: bid of the money's asset in the quote currency; None where the cycle is not made.
    """

    code: str
    figures: Figures
    cycle: int
    cause: Cause
    due_at: datetime
    market_time: datetime
    made: bool = True
    left_out: tuple[datetime, ...] = ()
    price: Decimal | None = None
    confirmations: ExitConfirmations = NONE_YET
    peak: Peak | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """Do nothing, for this reason. ``until``: market time at which the answer may change by itself.

    ``watched``: by asset, the drift in percentage points at which the answer may change; None: no drift changes it.
    ``floor``: likewise the value of the portfolio (quote currency), from above.
    """

    code: str
    figures: Figures
    reason: Reason
    asset: str = ""
    until: datetime | None = None
    watched: Mapping[str, Decimal] | None = None
    floor: Decimal | None = None
    confirmations: ExitConfirmations = NONE_YET
    peak: Peak | None = None


Decision = Plan | ExitRequested | CycleDue | Hold
"""``peak`` of each: a new peak to be recorded, whatever else is done."""


@dataclass(frozen=True, slots=True)
class Look:
    """What every rule needs: one strategy whose position is settled, valued at usable prices."""

    situation: Situation
    position: Position
    market: Market
    valuation: Valuation

    @property
    def definition(self) -> StrategyDefinition:
        """What the user wants."""
        return self.situation.strategy.definition

    def figures(self, further: Mapping[str, str]) -> Figures:
        """The figures of this look, with those of one rule."""
        return Figures(self.definition, self.valuation, self.position.contributed, further)

    def hold(
        self, reason: Reason, asset: str = "", until: datetime | None = None, further: Mapping[str, str] = NO_FIGURES
    ) -> Hold:
        """Do nothing, for this reason."""
        return Hold(code_of(reason, asset), self.figures(further), reason, asset, until)

    def plan(
        self,
        kind: str,
        code: str,
        further: Mapping[str, str] = NO_FIGURES,
        aim: Valuation | None = None,
        answers: str = "",
        ways: Mapping[str, Side] = BOTH_WAYS,
    ) -> Plan:
        """Trade towards the targets, or towards those of ``aim``; see ``PlanDraft``."""
        progress = self.situation.progress
        version = self.position.version
        draft = PlanDraft(
            plan_id=plan_id(self.situation.strategy.strategy_id, version, progress.last_closed_plan_id),
            kind=kind,
            funding_asset=self.definition.funding_asset,
            quote=self.market.quote,
            position_version=version,
            fills_seen=self.position.fills_posted,
            previous_plan_id=progress.last_closed_plan_id,
            valuation=self.valuation if aim is None else aim,
            market_time=self.market.now,
            answers=answers,
            ways=ways,
        )
        return Plan(code, self.figures(further), draft)
