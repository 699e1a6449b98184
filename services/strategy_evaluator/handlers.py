"""Messages in: thin, what to do is decided in ``evaluation``."""

import logging
from collections.abc import Callable, Mapping

import orjson

from services.strategy_evaluator.evaluation import Evaluation
from services.strategy_evaluator.membership import Members
from services.strategy_evaluator.plain_messages import read_position, read_strategy
from shared.contracts.books import PositionChanged
from shared.contracts.halts import HaltChanged
from shared.contracts.plans import PlanProgressed
from shared.contracts.prices import InstrumentsListed, PricesSnapshotted
from shared.contracts.strategies import StrategyChanged
from shared.contracts.wire import Message, Meta
from shared.core.errors import Refused
from shared.core.plain_documents import PlainDocuments

log = logging.getLogger(__name__)


class Handlers:
    """One method per stream followed; each may be called again with a message it has seen."""

    def __init__(self, evaluation: Evaluation) -> None:
        self._evaluation = evaluation
        self._documents = PlainDocuments()

    def plain_strategy(self, headers: Mapping[str, str], body: bytes) -> bool:
        """``strategy`` for a message of the commonest form; whether it was one."""
        told = read_strategy(headers, body, self._documents)
        if told is None:
            return False
        portfolio = self._evaluation.portfolios.of(told.strategy_id)
        if portfolio.adopt_view(told):
            self._evaluation.changed(portfolio)
        return True

    def plain_position(self, headers: Mapping[str, str], body: bytes) -> bool:
        """``position`` for a message of the commonest form; whether it was one."""
        told = read_position(headers, body)
        if told is None:
            return False
        portfolio = self._evaluation.portfolios.of(told.strategy_id)
        if portfolio.adopt_position(told.version, told.fills_posted, told.holdings, told.contributed):
            self._evaluation.changed(portfolio)
        return True

    def strategy(self, subject: str, message: Message, _meta: Meta) -> None:
        """A strategy's new state. One that cannot be read is left alone: better no trade than a wrong one."""
        if not isinstance(message, StrategyChanged):
            return _unexpected(subject, message)
        portfolio = self._evaluation.portfolios.of(message.strategy_id)
        try:
            if portfolio.take_strategy(message):
                self._evaluation.changed(portfolio)
        except Refused as refused:
            log.error("strategy %s cannot be evaluated: %s", message.strategy_id, refused)  # noqa: TRY400 - no trace
            portfolio.view = None
            self._evaluation.let_go(portfolio)
        return None

    def position(self, subject: str, message: Message, _meta: Meta) -> None:
        """A strategy's new position."""
        if not isinstance(message, PositionChanged):
            return _unexpected(subject, message)
        portfolio = self._evaluation.portfolios.of(message.strategy_id)
        if portfolio.take_position(message):
            self._evaluation.changed(portfolio)
        return None

    def plan_result(self, subject: str, message: Message, _meta: Meta) -> None:
        """The executor's word on a strategy's plans."""
        if not isinstance(message, PlanProgressed):
            return _unexpected(subject, message)
        portfolio = self._evaluation.portfolios.of(message.strategy_id)
        if portfolio.take_progress(message):
            self._evaluation.changed(portfolio)
        return None

    def halt(self, subject: str, message: Message, _meta: Meta) -> None:
        """A venue was halted or resumed."""
        if not isinstance(message, HaltChanged):
            return _unexpected(subject, message)
        return self._evaluation.take_halt(message)

    def instruments(self, subject: str, message: Message, _meta: Meta) -> None:
        """A venue's trading rules."""
        if not isinstance(message, InstrumentsListed):
            return _unexpected(subject, message)
        return self._evaluation.take_instruments(message)

    def snapshot(self, subject: str, message: Message, _meta: Meta) -> None:
        """A venue's newest prices, all of them."""
        if not isinstance(message, PricesSnapshotted):
            return _unexpected(subject, message)
        return self._evaluation.take_snapshot(message)


class HeartbeatHandler:
    """Other evaluators' heartbeats: ``{"member": id, "leaves": bool}``."""

    def __init__(self, members: Members, changed: Callable[[], None], clock_s: Callable[[], float]) -> None:
        self._members, self._changed, self._clock_s = members, changed, clock_s

    def __call__(self, data: bytes) -> None:
        """Raises ValueError or KeyError for a broken heartbeat."""
        beat = orjson.loads(data)
        member, leaves = str(beat["member"]), bool(beat["leaves"])
        news = self._members.left(member) if leaves else self._members.heard(member, self._clock_s())
        if news:
            log.info("members: %s", ", ".join(self._members.ids))
            self._changed()


def heartbeat(member_id: str, *, leaves: bool = False) -> bytes:
    """The bytes of a heartbeat."""
    return orjson.dumps({"member": member_id, "leaves": leaves})


def _unexpected(subject: str, message: Message) -> None:
    log.warning("unexpected %s on %s", message.TYPE, subject)
