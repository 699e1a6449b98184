"""Works on open plans, each in a task of its own, from nothing but their state in Postgres: start-up is recovery."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from services.order_executor.adapters.postgres_orders import OrderStore
from services.order_executor.adapters.postgres_plans import Answer, PlanStore
from services.order_executor.lease import Lease
from services.order_executor.market_view import MarketView
from services.order_executor.records import Evidence, OrderRecord, PlanRecord, is_last, with_phase, with_replies
from services.order_executor.resolver import Resolver
from services.order_executor.resting import LOOK_EVERY_S, RestingOrders, Surroundings, until_tended
from services.order_executor.room import Place
from services.order_executor.send_guards import GuardedPhase, SendGuards
from services.order_executor.steps import Close, Market, Send, Terms, next_step, with_detail, with_stale_named
from services.order_executor.styling import Wait, styling_of
from shared.contracts.plans import RebalancePlanned
from shared.contracts.wire import Meta
from shared.core.errors import RetryLater, Stop
from shared.core.matching import Book
from shared.core.money import ZERO
from shared.core.order_styles import OrderKind
from shared.core.orders import OrderState
from shared.core.position import PlanOutcome
from shared.venues.port import NotSent, OrderRefused, OutcomeUnknown, Venue

log = logging.getLogger(__name__)

LONGEST_PAUSE_S = 10.0
FRESH_QUOTE_WAIT_S = 0.25
LOOK_AGAIN_S = 0.1
LOOK_AGAIN_AT_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the work: see the settings of the same names."""

    slippage_bps: Decimal
    send_within: timedelta
    quotes_wait_s: float
    concurrent_plans: int


@dataclass(frozen=True, slots=True)
class Tools:
    """What a runner works with."""

    venue: Venue
    plans: PlanStore
    orders: OrderStore
    market: MarketView
    lease: Lease
    guards: SendGuards
    wake: Callable[[], None]  # tells the outbox relay that something was committed
    reconciled: Callable[[], Awaitable[None]]  # returns once account and books were compared since the start
    is_reconciled: Callable[[], bool]  # whether that would return at once


@dataclass(frozen=True, slots=True)
class _Ready:
    """A phase that goes out as soon as its intents are committed; never after ``deadline`` (monotonic)."""

    step: Send
    record: PlanRecord
    guards: GuardedPhase
    deadline: float


class PlanRunners:
    """One task per open plan, at most ``concurrent_plans`` of them at work: what is only booked and closed is not."""

    def __init__(self, tools: Tools, limits: Limits, stop: Callable[[Stop], None]) -> None:
        self._tools = tools
        self._limits = limits
        self._stop = stop
        self._resolver = Resolver(tools.venue, tools.orders)
        around = Surroundings(tools.venue, tools.market, tools.lease, tools.guards)
        self._resting = RestingOrders(around, self._resolver)
        self._room = asyncio.Semaphore(limits.concurrent_plans)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._beginning: dict[str, bool] = {}  # plans being accepted; whether somebody else has found one meanwhile
        self._is_ending = False

    async def resume(self) -> None:
        """Take up every open plan."""
        for plan_id in await self._tools.plans.open_plan_ids():
            self.ensure(plan_id, may_rest=True)

    def ensure(self, plan_id: str, *, may_rest: bool = False, known: PlanRecord | None = None) -> None:
        """Work on the plan, if nobody does. ``may_rest``: it is an old one, whose orders may rest at the venue;
        ``known``: what it was a moment ago.
        """
        if plan_id in self._beginning:
            self._beginning[plan_id] = True
        elif plan_id not in self._tasks and not self._is_ending:
            self._start(plan_id, may_rest=may_rest, known=known)

    async def begin(self, plan: RebalancePlanned, meta: Meta) -> str:
        """Accept a plan and work on it; returns what ``PlanStore.accept`` does. The intents of its first phase are
        committed with it when there is room, and all that their sizes hang on is known.
        """
        may_begin = not (self._room.locked() or self._is_ending or plan.plan_id in self._beginning)
        ready = self._first_phase(plan) if may_begin else None
        if ready is not None:
            answer = await self._begin_with(ready, plan, meta)
            if answer.outcome == "begun":
                return answer.outcome  # the relay is woken once it has traded, and looks by itself when that takes long
        else:
            answer = await self._tools.plans.accept(plan, meta, datetime.now(UTC))
        self._tools.wake()
        if answer.outcome in {"accepted", "duplicate_open"}:
            self.ensure(plan.plan_id, known=_new(plan, answer))
        return answer.outcome

    async def _begin_with(self, ready: _Ready, plan: RebalancePlanned, meta: Meta) -> Answer:
        """Accept a plan with its first phase, and have that go out in the room that there is."""
        tools = self._tools
        await self._room.acquire()  # nobody is waited for
        has_begun = False
        # Until it is known here whether the phase was committed, whoever else finds the plan leaves it alone.
        self._beginning[plan.plan_id] = False
        try:
            intents = tools.orders.intents(ready.step, ready.guards.market_day)
            answer = await tools.plans.accept(plan, meta, datetime.now(UTC), intents)
            has_begun = answer.outcome == "begun" and not self._is_ending  # else the next start finds it
        finally:
            was_found = self._beginning.pop(plan.plan_id)
            if not has_begun:
                self._room.release()
                if was_found:  # and perhaps acknowledged: then nobody tells of it again
                    self.ensure(plan.plan_id)
        if has_begun:
            self._start(plan.plan_id, known=replace(ready, record=_new(plan, answer) or ready.record))
        return answer

    def _start(self, plan_id: str, *, may_rest: bool = False, known: _Ready | PlanRecord | None = None) -> None:
        task = asyncio.create_task(self._run(plan_id, may_rest=may_rest, known=known), name=f"plan {plan_id}")
        self._tasks[plan_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(plan_id, None))

    async def end(self, wait_s: float) -> None:
        """Start no new phase and let those under way finish; what takes longer is taken up at the next start."""
        self._is_ending = True
        tasks = list(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=wait_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _run(self, plan_id: str, *, may_rest: bool, known: _Ready | PlanRecord | None) -> None:
        """Until the plan is closed. ``may_rest``: orders of it may stand in the venue's book already; ``known``: what
        the plan was a moment ago, or its phase that was committed just now, in a room that is taken already.
        """
        pause_s, place = 0.1, Place(self._room, is_taken=isinstance(known, _Ready))
        while isinstance(known, _Ready) or not self._is_ending:
            try:
                if may_rest:
                    await self._while_resting(plan_id)
                await place.take()
                try:
                    wait_s = await self._work(plan_id, known, place)
                finally:
                    known = None
                    place.leave()
                if wait_s is None:
                    break
                await asyncio.sleep(wait_s)
                may_rest = True
            except Stop as stop:
                self._stop(stop)
                return
            except RetryLater as later:
                log.info("plan %s waits: %s", plan_id, later)
                await asyncio.sleep(min(max(later.after_s, 0.05), LONGEST_PAUSE_S))
            except Exception:
                # Nothing is lost by trying again: the state is in Postgres, and what was sent is looked up first.
                log.exception("plan %s: interrupted, again in %s s", plan_id, pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        if self._is_ending:
            await until_tended(lambda: self._tend(plan_id))

    async def _while_resting(self, plan_id: str) -> None:
        """Until nothing of the plan rests; in no room, so that what waits lets others trade."""
        while await self._tend(plan_id):
            await asyncio.sleep(LOOK_EVERY_S)
            if self._is_ending:
                return

    async def _tend(self, plan_id: str) -> bool:
        """Look after what rests, if nothing else is unsettled; whether the plan must wait for it."""
        load = self._tools.plans.load
        record = await load(plan_id)
        self._resting.note_ends(record)
        if not record.resting or (record.unclear and not self._is_ending):
            return False
        is_resting = await self._resting.tend(
            record, lambda: load(plan_id), "the executor is stopping" if self._is_ending else ""
        )
        self._tools.wake()
        return is_resting

    async def _work(self, plan_id: str, known: _Ready | PlanRecord | None, place: Place) -> float | None:
        """Go on with a plan until it is closed, or has to wait: so many seconds. Raises Stop, RetryLater, or whatever
        interrupted it. Without its place, which it leaves once nothing but the end should come, it only ends.

        What is concluded from is what the plan was a moment ago: nothing is committed or closed unless it still is.
        """
        tools = self._tools
        if isinstance(known, _Ready):
            known = await self._go_out(known, place)
        record = known or await tools.plans.load(plan_id)
        while record.is_open and not self._is_ending:
            if record.resting and not record.unclear:
                return 0.0
            if record.unclear and not place.is_taken:
                return 0.0
            if record.unclear:
                record = await self._resolver.settle(record, lambda: tools.plans.load(plan_id))
                tools.wake()
                continue
            await tools.reconciled()
            market = await self._usable_market(record)
            step = next_step(record, market, self._terms())
            if isinstance(step, Send) and styling_of(record).depth_share_pct is not None:
                market = await self._with_books(step, market)
                step = next_step(record, market, self._terms())
            if isinstance(step, Wait):
                return min(max((step.until - datetime.now(UTC)).total_seconds(), 0.0), LOOK_AGAIN_AT_WAIT_S)
            after: PlanRecord | None = None
            if isinstance(step, Close):
                step = with_stale_named(step, market)
                if tools.guards.switch.reason is not None and step.outcome is not PlanOutcome.COMPLETED:
                    step = with_detail(step, "halted")
                is_closed = await tools.plans.close(record, step, tools.market.market_time)
                tools.wake()
                if is_closed:
                    log.info("plan %s closed: %s %s", plan_id, step.outcome.value, step.detail)
                    return None
            elif place.is_taken:
                after = await self._send(step, record, place)
            else:
                return 0.0
            record = after or await tools.plans.load(plan_id)
        return None

    async def _with_books(self, step: Send, market: Market) -> Market:
        """The market with the books of what is about to be traded; one that cannot be read is not known."""
        books: dict[str, Book | None] = {}
        for order in step.orders:
            try:
                books[order.asset] = await self._tools.venue.fetch_book(order.symbol)
            except RetryLater as later:
                log.info("the book of %s is not known: %s", order.symbol, later)
                books[order.asset] = None
        return replace(market, books=books)

    def _terms(self) -> Terms:
        limits = self._limits
        kinds = self._tools.venue.capabilities.order_kinds
        return Terms(limits.slippage_bps, self._tools.lease.epoch, datetime.now(UTC), limits.send_within, kinds)

    async def _usable_market(self, record: PlanRecord) -> Market:
        """The market once every asset has a usable quote and it is not behind the plan's; waits for one silent asset
        ``quotes_wait_s``, for a silent feed until the plan expires.
        """
        plan, view = record.plan, self._tools.market
        wanted = [line.asset for line in plan.lines if line.asset != plan.quote]
        patience_ends = time.monotonic() + self._limits.quotes_wait_s
        while True:
            market = replace(view.look(wanted), fee_asset=self._tools.orders.third_fees.asset)
            is_behind = view.market_time < plan.market_time
            if not (market.stale or is_behind) or datetime.now(UTC) >= plan.expires_at:
                return market
            if not view.is_silent and time.monotonic() >= patience_ends:
                return market
            await view.changed(LOOK_AGAIN_S)

    def _first_phase(self, plan: RebalancePlanned) -> _Ready | None:
        """The first phase of a plan that nothing was done for yet; None when something has to be waited for first."""
        tools, record = self._tools, PlanRecord(plan, is_open=True)
        found = tools.market.look(line.asset for line in plan.lines if line.asset != plan.quote)
        market = replace(found, fee_asset=tools.orders.third_fees.asset)
        if market.stale or tools.market.market_time < plan.market_time or not tools.is_reconciled():
            return None
        if tools.guards.switch.reason is not None or styling_of(record).depth_share_pct is not None:
            return None
        try:
            step = next_step(record, market, self._terms())
        except Exception:
            # A fault of ours: the plan is taken all the same, and its own task says what is wrong with it.
            log.exception("plan %s: no first phase", plan.plan_id)
            return None
        return self._ready(step, record) if isinstance(step, Send) else None

    def _ready(self, step: Send, record: PlanRecord) -> _Ready:
        deadline = time.monotonic() + self._limits.send_within.total_seconds()
        return _Ready(step, record, self._tools.guards.phase(record, step.orders), deadline)

    async def _send(self, step: Send, record: PlanRecord, place: Place) -> PlanRecord | None:
        """Commit the intents and let them go out; see ``_go_out``. Raises RetryLater while halted."""
        if (halted := self._tools.guards.switch.reason) is not None:
            raise RetryLater(f"halted: {halted}")
        ready = self._ready(step, record)
        orders = self._tools.orders
        await orders.commit_intents(orders.intents(step, ready.guards.market_day, record))
        return await self._go_out(ready, place)

    async def _go_out(self, ready: _Ready, place: Place) -> PlanRecord | None:
        """Send all orders of a phase at once, their intents being committed, and book all replies together. Returns the
        plan with them, if they say all of it.
        """
        step, record, phase = ready.step, ready.record, ready.guards
        guard = self._guard(ready.deadline, record.plan.expires_at)
        outcomes = await asyncio.gather(
            *(self._place(order, record, self._guarded(order, guard, phase)) for order in step.orders)
        )
        for order, (evidence, _) in zip(step.orders, outcomes, strict=True):
            phase.ended(order, evidence.state, evidence.order.report if evidence.order is not None else None)
        phase.close()
        if is_last(step.orders, [evidence for evidence, _ in outcomes]):
            place.leave()
        await self._tools.orders.book([evidence for evidence, _ in outcomes])
        self._tools.wake()
        refusals = [refusal for _, refusal in outcomes if refusal is not None]
        for refusal in refusals:
            log.warning("plan %s: order refused or withheld: %s", record.plan.plan_id, refusal)
            if isinstance(refusal, OrderRefused) and refusal.stop:
                raise Stop(f"the venue shuts us out: {refusal}")
        reports = [evidence.order.report for evidence, _ in outcomes if evidence.order is not None]
        executed = sum((report.executed_quantity for report in reports), ZERO)
        rests = not refusals and step.orders[0].kind is OrderKind.MAKER
        if not rests and executed < sum((order.quantity for order in step.orders), ZERO):
            # Something did not trade: newer prices first, and the pause a venue asked for.
            pause_s = max((refusal.retry_after_s for refusal in refusals), default=0.0)
            await asyncio.sleep(min(pause_s, LONGEST_PAUSE_S))
            await self._tools.market.changed(FRESH_QUOTE_WAIT_S)
        return with_replies(with_phase(record, step.orders, step.sizing), [evidence for evidence, _ in outcomes])

    def _guard(self, deadline: float, expires_at: datetime) -> Callable[[], str | None]:
        """Asked right before each socket write; ``deadline`` is monotonic time, which runs on in a frozen process.

        The lease must outlast the receive window: what leaves now is then accepted before anybody else may write, or
        never.
        """
        switch = self._tools.guards.switch
        lease, window_s = self._tools.lease, self._tools.venue.capabilities.receive_window_ms / 1000

        def refuse() -> str | None:
            if time.monotonic() >= deadline:
                return "send deadline has passed"
            if not lease.holds_for(window_s):
                return "the lease on the account is not certain"
            if (halted := switch.reason) is not None:
                return f"halted: {halted}"
            return "plan has expired" if datetime.now(UTC) >= expires_at else None

        return refuse

    def _guarded(
        self, order: OrderRecord, guard: Callable[[], str | None], phase: GuardedPhase
    ) -> Callable[[], str | None]:
        """The guard of one order: the limits come last, because an order that passes them counts as sent."""
        return lambda: guard() or phase.refuse(order)

    async def _place(
        self, order: OrderRecord, record: PlanRecord, guard: Callable[[], str | None]
    ) -> tuple[Evidence, OrderRefused | NotSent | None]:
        name = order.client_order_id
        try:
            return Evidence(name, order=await self._tools.venue.place_order(order.request(), guard)), None
        except NotSent as reason:
            return Evidence(name, state=OrderState.WITHHELD, detail=str(reason)[:500]), reason
        except OrderRefused as refused:
            evidence = await self._resolver.refused(order, record, refused)
            return evidence, refused if evidence.state is OrderState.REJECTED else None
        except OutcomeUnknown as unknown:
            log.warning("order %s: outcome unknown: %s", name, unknown)
            return Evidence(name, state=OrderState.UNKNOWN, detail=str(unknown)), None
        except Exception as error:
            # A fault of ours, perhaps after the write: never to be read as "not sent".
            log.exception("order %s: outcome unknown", name)
            return Evidence(name, state=OrderState.UNKNOWN, detail=repr(error)[:200]), None


def _new(plan: RebalancePlanned, answer: Answer) -> PlanRecord | None:
    """A plan that was taken just now, nothing being done for it yet; None when that is not what the answer says."""
    return None if answer.strategy is None else PlanRecord(plan, is_open=True, strategy=answer.strategy)
