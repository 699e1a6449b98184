"""The evaluator at work: events and prices in, looks at strategies, plans and exits out. One event loop, no locks."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import islice

from services.strategy_evaluator.asking import Ask, Asking, ask_for
from services.strategy_evaluator.first_boxes import plain_cases
from services.strategy_evaluator.journal import Journal, Noted
from services.strategy_evaluator.membership import Members
from services.strategy_evaluator.outgoing import PlanToPublish
from services.strategy_evaluator.pace import Clocks, Pace
from services.strategy_evaluator.portfolios import Portfolio, Portfolios
from services.strategy_evaluator.prices import News, Patience, VenuePrices
from services.strategy_evaluator.unfinished import Unfinished
from services.strategy_evaluator.watch import ANY_PRICE, Watch
from shared.contracts.frames import decode_frame
from shared.contracts.halts import HaltChanged
from shared.contracts.prices import InstrumentsListed, PricesSnapshotted
from shared.contracts.progress import EvaluatorProgress, VenueSeen
from shared.core.certificates import Certificate, certificate_after
from shared.core.decisions import CycleDue, Decision, ExitRequested, Hold, Plan, decide
from shared.core.position import PlanOutcome
from shared.core.reasons import Reason
from shared.core.situation import EXIT, INITIAL, NONE_YET, Market, Situation, StrategyView
from shared.core.strategy import StrategyStatus

log = logging.getLogger(__name__)

_NS = 1_000_000_000
_LOOKS_AT_ONCE = 32
_BOXES_AT_ONCE = 2048
_MANY = 1024
"""From so many strategies taken over at once, those that are plain get their first certificates without a look."""
_FELL_SHORT = frozenset(PlanOutcome) - {PlanOutcome.COMPLETED}
_KEEPS_FROM_EXIT = frozenset({Reason.NOT_TRADABLE, Reason.STALE_PRICE, Reason.MISSING_PRICE})
_CAME_TO_NOTHING = frozenset({PlanOutcome.EXPIRED, PlanOutcome.STALE})


@dataclass(slots=True)
class _Cause:
    """Why a strategy is looked at. ``received_ns``: of the newest quote among the causes; 0 = no quote."""

    received_ns: int = 0


class Evaluation:
    """Keeps a certificate for every strategy it owns and looks again whenever one is broken.

    ``plans`` and ``asking`` are what it wants told; ``pending`` holds looks that are waiting for their turn, ``fresh``
    the strategies that may not need one yet: none is in both. ``boxed`` counts the first certificates without a look.
    Waits are measured by the steady clock: a wall clock that is set back must not stretch them.
    ``moved`` is set whenever what it has seen or what is unfinished may have changed.
    """

    def __init__(self, members: Members, journal: Journal, patience: Patience, pace: Pace, clocks: Clocks) -> None:
        self.portfolios = Portfolios()
        self.plans: asyncio.Queue[PlanToPublish] = asyncio.Queue()
        self.asking = Asking(pace.ask_repeat_s)
        self.unfinished = Unfinished()
        self.moved = asyncio.Event()
        self.looks = 0
        self.boxed = 0
        self.ticks = 0
        self._members, self._journal = members, journal
        self._patience, self._pace = patience, pace
        self._wall_ns, self._steady_ns = clocks.wall_ns, clocks.steady_ns
        self._venues: dict[str, VenuePrices] = {}
        self._halts: dict[str, HaltChanged] = {}
        self._watch = Watch()
        self._pending: dict[int, _Cause] = {}
        self._fresh: dict[int, None] = {}
        self._has_pending = asyncio.Event()
        self._rechecks: list[tuple[int, int]] = []
        self._enabled = False

    # --- prices -------------------------------------------------------------------------------------------------

    def take_frame(self, data: bytes) -> None:
        """A price frame arrived. Raises ValueError, KeyError or TypeError when it is broken."""
        frame = decode_frame(data)
        self._on_news(self._venue(frame.venue), lambda prices, now_ns: prices.take_frame(frame, now_ns))

    def take_snapshot(self, snapshot: PricesSnapshotted) -> None:
        """A snapshot arrived: it heals frames that were lost."""
        self._on_news(self._venue(snapshot.venue), lambda prices, now_ns: prices.take_snapshot(snapshot, now_ns))

    def take_instruments(self, listed: InstrumentsListed) -> None:
        """A venue's trading rules arrived."""
        prices = self._venue(listed.venue)
        first = not prices.quote
        if prices.take_instruments(listed):
            slots = self._watch.waiting_for_instruments(listed.venue)
            if first:
                slots += self._watch.waiting_for_any_price(listed.venue)
            self._enqueue(slots)

    def take_halt(self, changed: HaltChanged) -> None:
        """A venue was halted or resumed: no plan is made while it is halted; strategies look again by themselves."""
        known = self._halts.get(changed.venue)
        if known is None or known.sequence < changed.sequence:
            self._halts[changed.venue] = changed

    def _on_news(self, prices: VenuePrices, take: Callable[[VenuePrices, int], News]) -> None:
        now_ns = self._wall_ns()
        had_market = prices.market_time_ms > 0
        news = take(prices, now_ns)
        self.ticks += len(news.quotes)
        hits = self._watch.broken_by(prices.venue, news.quotes)
        unquoted = self._watch.due_at(prices.venue, prices.market_time_ms)
        if news.freshened:
            unquoted += self._watch.waiting_for(prices.venue, news.freshened)
        if news.revived or not had_market:
            unquoted += self._watch.waiting_for_any_price(prices.venue)
        self.moved.set()
        if not hits and not unquoted and not self._journal.keeps_all:
            return
        market = prices.market(now_ns)
        self._enqueue_unbroken((slot for slot in unquoted if slot not in hits), news)
        for number, (slot, received_ns) in enumerate(hits.items()):
            by_quote_ns = 0 if news.repeated else received_ns
            if number < _LOOKS_AT_ONCE and slot not in self._pending:
                self._look(self.portfolios.at(slot), market, by_quote_ns)
            else:
                self._enqueue((slot,), by_quote_ns)
        if self._journal.keeps_all and not news.repeated and market is not None:
            self._record_others(prices.venue, market, hits)

    def _enqueue_unbroken(self, slots: Iterable[int], news: News) -> None:
        """Look at these for another reason than a quote; one that came at the same time has been seen all the same."""
        quoted = {} if news.repeated else {quote.asset: quote.received_ns for quote in news.quotes}
        for slot in slots:
            view, position = self.portfolios.at(slot).view, self.portfolios.at(slot).position
            assets = (*(view.definition.targets if view else ()), *(position.holdings if position else ()))
            self._enqueue((slot,), max((quoted.get(asset, 0) for asset in assets), default=0))

    def _record_others(self, venue: str, market: Market, looked_at: Collection[int]) -> None:
        """Record why nothing is done about the strategies whose certificates hold, with the figures of this moment."""
        for portfolio in self.portfolios:
            slot, situation = portfolio.slot, portfolio.situation()
            if not portfolio.owned or situation is None or slot in looked_at or slot in self._pending:
                continue
            if situation.strategy.definition.venue != venue:
                continue
            decision = decide(situation, market, portfolio.confirmations, by_new_quote=False)
            if not isinstance(decision, Hold):
                log.error("the certificate of %s missed %s", portfolio.strategy_id, decision.code)
                self._enqueue((slot,))
                continue
            strategy = situation.strategy
            noted = Noted(strategy.strategy_id, strategy.version, decision.code, decision.figures, market.now)
            self._journal.held(noted)

    # --- events -------------------------------------------------------------------------------------------------

    def changed(self, portfolio: Portfolio) -> None:
        """A strategy's state, money or plans changed: look at it, whatever its certificate says."""
        if not self._enabled:
            return
        if portfolio.ended:
            self.let_go(portfolio)
            return
        portfolio.owned = self._members.owns(self.portfolios.hash_at(portfolio.slot))
        if portfolio.owned:
            self._enqueue((portfolio.slot,))

    def enable(self) -> None:
        """Everything is loaded: begin to decide."""
        self._enabled = True
        self.share_out()

    def share_out(self) -> None:
        """The members changed: take what has become ours, let go of what is no more."""
        if not self._enabled or not len(self.portfolios):
            return
        taken, mine = [], self._members.owned(self.portfolios.hashes())
        for portfolio, owned in zip(self.portfolios, mine.tolist(), strict=True):
            if owned and not portfolio.owned and not portfolio.ended:
                portfolio.owned = True
                taken.append(portfolio.slot)
            elif not owned and portfolio.owned:
                self.let_go(portfolio)
        if len(taken) < _MANY or self._journal.keeps_all:
            self._enqueue(taken)
        else:
            self._fresh.update(dict.fromkeys(taken))
            self._has_pending.set()

    def owned_count(self) -> int:
        """How many strategies this evaluator looks after."""
        return sum(portfolio.owned for portfolio in self.portfolios)

    def is_idle(self) -> bool:
        """Whether nothing waits: no look, no plan, nothing to ask for."""
        return self._enabled and not self._waiting and self.plans.empty() and self.asking.is_empty

    @property
    def _waiting(self) -> int:
        return len(self._pending) + len(self._fresh)

    def progress(self) -> EvaluatorProgress:
        """How far it is right now: what it has seen of each venue, and what is unfinished."""
        return EvaluatorProgress(
            member=self._members.own_id,
            members=tuple(self._members.ids),
            venues={
                name: VenueSeen(prices.market_time_ms, len(prices.quotes)) for name, prices in self._venues.items()
            },
            unfinished=self.unfinished.by_kind(self._waiting),
            acted=self.unfinished.acted,
            unsaid=self._journal.unsaid,
        )

    def sequence_of(self, venue: str) -> int:
        """The number of the last frame taken from a venue; -1 for none."""
        return self._venue(venue).sequence

    def unpublished(self, failed: PlanToPublish) -> None:
        """A plan could not be published: look again soon."""
        portfolio = self.portfolios.of(failed.strategy.strategy_id)
        if portfolio.emission.message_id == failed.message_id:
            portfolio.emission.message_id = ""
            self._recheck(portfolio, self._steady_ns() + int(self._pace.spacing_s * _NS))

    def ask_failed(self, failed: Ask, after_s: float) -> None:
        """An exit or a cycle could not be asked for: after that time, ask again if it is still wanted."""
        again_ns = self._steady_ns() + int(after_s * _NS)
        portfolio = self.portfolios.of(failed.strategy_id)
        self.asking.failed(portfolio.slot, failed, again_ns)
        self._recheck(portfolio, again_ns)

    def let_go(self, portfolio: Portfolio) -> None:
        """Decide nothing about a strategy any more (until an event or a change of members brings it back)."""
        portfolio.owned = False
        portfolio.confirmations = NONE_YET  # another's quotes follow: if it comes back, the count begins anew
        self._watch.drop(portfolio.slot)
        self._pending.pop(portfolio.slot, None)
        self._fresh.pop(portfolio.slot, None)
        self._journal.forget(portfolio.strategy_id)
        self.unfinished.forget(portfolio.slot)
        self.asking.forget(portfolio.slot)
        self.moved.set()

    # --- looks --------------------------------------------------------------------------------------------------

    async def run_pending(self) -> None:
        """Take the waiting looks in turn, a few at a time, so that prices keep flowing. Until cancelled."""
        while True:
            await self._has_pending.wait()
            if self._fresh:
                self.box_fresh(_BOXES_AT_ONCE)
            self.look_at_pending(_LOOKS_AT_ONCE)
            await asyncio.sleep(0)

    def look_at_pending(self, most: int) -> None:
        """Take at most so many of the waiting looks."""
        now_ns = self._wall_ns()
        markets: dict[str, Market | None] = {}
        for slot in list(islice(self._pending, most)):
            cause = self._pending.pop(slot)
            portfolio = self.portfolios.at(slot)
            if portfolio.view is None:
                continue
            if (venue := portfolio.view.definition.venue) not in markets:
                markets[venue] = self._venue(venue).market(now_ns)
            self._look(portfolio, markets[venue], cause.received_ns)
        if not self._waiting:
            self._has_pending.clear()
        self.moved.set()

    def box_fresh(self, most: int) -> None:
        """Give at most so many of the fresh strategies a certificate without a look; the others of them wait for one.

        Prices, boxes and the index's barriers are of one moment: no frame comes between them.
        """
        slots, now_ns = list(islice(self._fresh, most)), self._wall_ns()
        markets = {name: prices.market(now_ns) for name, prices in self._venues.items()}
        for venue, cases in plain_cases(map(self.portfolios.at, slots), markets).items():
            for slot in self._watch.put_plain(venue, self._venue(venue).quote, cases):
                del self._fresh[slot]
                self.boxed += 1
        self._enqueue(slot for slot in slots if slot in self._fresh)

    def look_at_rechecks(self) -> None:
        """Enqueue the strategies whose wall-clock wait is over."""
        now_ns = self._steady_ns()
        while self._rechecks and self._rechecks[0][0] <= now_ns:
            self._enqueue((heappop(self._rechecks)[1],))

    def _enqueue(self, slots: Iterable[int], received_ns: int = 0) -> None:
        for slot in slots:
            self._fresh.pop(slot, None)
            cause = self._pending.setdefault(slot, _Cause())
            cause.received_ns = max(cause.received_ns, received_ns)
        if self._pending:
            self._has_pending.set()

    def _look(self, portfolio: Portfolio, market: Market | None, received_ns: int) -> None:
        """Decide about one strategy, act, and watch it by a new certificate."""
        situation = portfolio.situation()
        if situation is None or not portfolio.owned:
            return
        self.looks += 1
        venue = situation.strategy.definition.venue
        if market is None:
            self._watch.put(portfolio.slot, venue, Certificate(waits_for_price=ANY_PRICE))
            self.unfinished.waits_for_market(portfolio.slot)
            return
        decision = decide(
            situation,
            market,
            portfolio.confirmations,
            by_new_quote=received_ns > 0,
            confirming_quotes=self._pace.confirming_quotes,
        )
        portfolio.confirmations = decision.confirmations
        self._watch.put(portfolio.slot, venue, certificate_after(decision, situation, market))
        if decision.peak is not None and decision.peak != portfolio.peak_told:
            portfolio.peak_told = decision.peak
            self.asking.tell_peak(portfolio.strategy_id, decision.peak)
        self.unfinished.decided(portfolio.slot, decision, situation)
        self._act(portfolio, situation, market, decision, received_ns)

    def _act(
        self, portfolio: Portfolio, situation: Situation, market: Market, decision: Decision, received_ns: int
    ) -> None:
        strategy = situation.strategy
        noted = Noted(strategy.strategy_id, strategy.version, decision.code, decision.figures, market.now)
        if isinstance(decision, Hold):
            self._journal.held(noted)
            if decision.reason in _KEEPS_FROM_EXIT and strategy.status is StrategyStatus.EXITING:
                # It may wait for several things at once, the certificate names one: money on its way out looks itself.
                self._recheck(portfolio, self._steady_ns() + int(self._pace.spacing_s * _NS))
        elif isinstance(decision, ExitRequested | CycleDue):
            self._ask(portfolio, strategy, decision, noted)
        else:
            self._publish(portfolio, situation, decision, noted, received_ns)

    def _ask(
        self, portfolio: Portfolio, strategy: StrategyView, decision: ExitRequested | CycleDue, noted: Noted
    ) -> None:
        """Ask for it again and again until the strategy's state says that it was heard; the asking is idempotent."""
        ask = ask_for(strategy, decision)
        if self.asking.is_new(portfolio.slot, ask.command_id):
            self._journal.acted(replace(noted, unique_id=f"{ask.command_id}.decided"))
        again_ns = self.asking.ask(portfolio.slot, ask, self._steady_ns())
        if again_ns is not None:
            self._recheck(portfolio, again_ns)

    def _publish(self, portfolio: Portfolio, situation: Situation, plan: Plan, noted: Noted, received_ns: int) -> None:
        now_ns, emission = self._steady_ns(), portfolio.emission
        halt = self._halts.get(situation.strategy.definition.venue)
        if halt is not None and halt.halted:
            figures = replace(noted.figures, further={**noted.figures.further, "because": halt.reason})
            self._journal.held(replace(noted, code=Reason.HALTED.value, figures=figures))
            self._recheck(portfolio, now_ns + int(self._pace.spacing_s * _NS))
            return
        decided_ns = self._wall_ns()
        made = PlanToPublish(situation.strategy, plan, decided_ns, received_ns or decided_ns, portfolio.sequence)
        wait_until_ns = emission.at_ns + self._wait_ns(situation, plan, emission.message_id == made.message_id)
        if now_ns < wait_until_ns:
            self._recheck(portfolio, wait_until_ns)
            return
        emission.message_id, emission.at_ns = made.message_id, now_ns
        self._recheck(portfolio, now_ns + int(self._pace.repeat_s * _NS))
        self.plans.put_nowait(made)
        unique_id, plan_id = f"{made.decision_id}.decided", plan.draft.plan_id
        self._journal.acted(replace(noted, unique_id=unique_id, plan_id=plan_id))

    def _wait_ns(self, situation: Situation, plan: Plan, is_repeated: bool) -> int:
        """How long after the last plan this one must wait: long for the same, a little after one that fell short."""
        if is_repeated:
            return int(self._pace.repeat_s * _NS)
        outcome = situation.progress.last_outcome
        asked_for = plan.draft.kind in {INITIAL, EXIT} or bool(plan.draft.answers)
        waits_for_no_cooldown = asked_for or not situation.strategy.definition.rule.cooldown
        at_once_again = waits_for_no_cooldown and outcome in _FELL_SHORT
        if at_once_again or outcome in _CAME_TO_NOTHING:
            return int(self._pace.spacing_s * _NS)
        return 0

    def _recheck(self, portfolio: Portfolio, at_ns: int) -> None:
        heappush(self._rechecks, (at_ns, portfolio.slot))

    def _venue(self, name: str) -> VenuePrices:
        found = self._venues.get(name)
        if found is None:
            found = self._venues[name] = VenuePrices(name, self._patience)
        return found
