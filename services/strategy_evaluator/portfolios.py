"""What this evaluator knows of every strategy, from the newest messages about it."""

from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from sys import intern

import numpy as np

from services.strategy_evaluator.membership import Hashes, hash_of
from shared.contracts.books import PositionChanged
from shared.contracts.plans import PlanProgressed
from shared.contracts.strategies import RequestMade, RequestStage, StrategyChanged
from shared.core.position import PlanProgress, Position
from shared.core.situation import NONE_YET, ExitConfirmations, Peak, Request, Situation, StrategyView
from shared.core.strategy import StrategyStatus

_ENDED = frozenset({StrategyStatus.CLOSED, StrategyStatus.REFUSED})
_LEAVING = frozenset({RequestStage.HOLDING, RequestStage.PAYING, RequestStage.FREEING})


@dataclass(slots=True)
class Emission:
    """The last plan this evaluator published for a strategy, and when by the steady clock; "" for none."""

    message_id: str = ""
    at_ns: int = 0


class Portfolio:
    """One strategy: its definition and state, its money, its plans. Older messages than the newest are ignored."""

    __slots__ = (
        "confirmations",
        "emission",
        "last_answers",
        "last_kind",
        "last_reason",
        "owned",
        "peak_told",
        "position",
        "progress",
        "sequence",
        "slot",
        "strategy_id",
        "view",
    )

    def __init__(self, slot: int, strategy_id: str) -> None:
        self.slot = slot
        self.strategy_id = strategy_id
        self.view: StrategyView | None = None
        self.position: Position | None = None
        self.progress = PlanProgress(strategy_id)
        self.last_kind = ""
        self.last_reason = ""
        self.last_answers = ""
        self.sequence = -1
        self.owned = False
        self.confirmations: ExitConfirmations = NONE_YET
        self.emission = Emission()
        self.peak_told: Peak | None = None  # the last one that this evaluator asked the registry to record

    @property
    def ended(self) -> bool:
        """Whether nothing will ever be decided about it again."""
        return self.view is not None and self.view.status in _ENDED

    def situation(self) -> Situation | None:
        """What a decision is made from; None while the strategy itself is not known."""
        if self.view is None:
            return None
        return Situation(self.view, self.position, self.progress, self.last_kind, self.last_reason, self.last_answers)

    def take_strategy(self, changed: StrategyChanged) -> bool:
        """Adopt a strategy's state; whether it was news. Raises Refused for a definition that cannot be read."""
        if self.knows_version(changed.version):
            return False
        view = StrategyView(
            strategy_id=self.strategy_id,
            version=changed.version,
            status=changed.status,
            definition=changed.definition(),
            active_since=changed.active_since,
            exit_reason=changed.exit_reason,
            peak=None if changed.peak is None else Peak(changed.peak.profit_pct, changed.peak.contributed),
            request=_first_open(changed.requests),
            auto_invest=None if changed.auto_invest is None else changed.auto_invest.state(),
            exit_action=changed.exit_action,
            requests_open=len(changed.requests),
            money_arriving=any(one.stage is RequestStage.FUNDING for one in changed.requests),
            money_leaving=any(one.stage in _LEAVING for one in changed.requests),
        )
        return self.adopt_view(view)

    def knows_version(self, version: int) -> bool:
        """Whether this state of the strategy, or a newer one, is known."""
        return self.view is not None and version <= self.view.version

    def adopt_view(self, view: StrategyView) -> bool:
        """Take over what the registry says, if it is newer than what is known; whether it was."""
        if self.knows_version(view.version):
            return False
        before, self.view = self.view, view
        if before is not None and (before.status, before.definition) == (view.status, view.definition):
            # Every step of a peak is a new state: it must not keep a take-profit from being confirmed.
            self.confirmations = replace(self.confirmations, peak_pct=None, peak_count=0)
        else:
            self.confirmations = NONE_YET
        return True

    def take_position(self, changed: PositionChanged) -> bool:
        """Adopt a position; whether it was news."""
        return self.adopt_position(changed.version, changed.fills_posted, changed.holdings, changed.contributed)

    def adopt_position(
        self, version: int, fills_posted: int, holdings: Mapping[str, Decimal], contributed: Decimal
    ) -> bool:
        """Take over what the ledger says, if it is newer than what is known; whether it was."""
        if self.position is not None and version <= self.position.version:
            return False
        # The names that messages bring are a copy each: one per asset is enough, and one id per strategy.
        named = {intern(asset): held for asset, held in holdings.items()}
        self.position = Position(self.strategy_id, version, fills_posted, named, contributed)
        return True

    def take_progress(self, progressed: PlanProgressed) -> bool:
        """Adopt the executor's word on its plans; whether it was news."""
        if progressed.sequence <= self.sequence:
            return False
        self.sequence = progressed.sequence
        last = progressed.last_closed
        closed_at: datetime | None = None if last is None else last.market_time
        self.progress = PlanProgress(
            strategy_id=self.strategy_id,
            open_plan_id=progressed.open_plan_id,
            last_closed_plan_id="" if last is None else last.plan_id,
            last_outcome=None if last is None else last.outcome,
            last_closed_at=closed_at,
            fills_total=progressed.fills_total,
            sealed=progressed.sealed,
            last_fills=0 if last is None else last.fills,
            held=bool(progressed.held_for),
            position_required=progressed.position_required,
        )
        self.last_kind = "" if last is None else intern(last.kind)
        self.last_reason = "" if last is None else intern(last.reason)
        self.last_answers = "" if last is None else last.answers
        return True


def _first_open(requests: tuple[RequestMade, ...]) -> Request | None:
    """The first request, if a plan may be made for it: only the first one is worked on."""
    if not requests or requests[0].stage is not RequestStage.OPEN:
        return None
    first = requests[0]
    return Request(first.request_id, first.kind, first.asset, first.amount, first.percent, first.position_version)


class Portfolios:
    """All strategies ever heard of, by id and by slot (a number that stays theirs)."""

    def __init__(self) -> None:
        self._by_id: dict[str, Portfolio] = {}
        self._by_slot: list[Portfolio] = []
        self._hashes = array("Q")

    def __len__(self) -> int:
        return len(self._by_slot)

    def __iter__(self) -> Iterator[Portfolio]:
        return iter(self._by_slot)

    def of(self, strategy_id: str) -> Portfolio:
        """A strategy's portfolio, made at the first mention of it."""
        found = self._by_id.get(strategy_id)
        if found is None:
            found = self._by_id[strategy_id] = Portfolio(len(self._by_slot), strategy_id)
            self._by_slot.append(found)
            self._hashes.append(hash_of(strategy_id))
        return found

    def at(self, slot: int) -> Portfolio:
        """The portfolio in a slot."""
        return self._by_slot[slot]

    def hash_at(self, slot: int) -> int:
        """The strategy's hash, for membership."""
        return self._hashes[slot]

    def hashes(self) -> Hashes:
        """The hashes of all, in slot order."""
        return np.array(self._hashes, dtype=np.uint64)
