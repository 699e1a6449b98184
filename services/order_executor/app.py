"""Composition root of the executor."""

import asyncio
import os
import secrets
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from services.order_executor import lease as leases
from services.order_executor.account_watch import DepositWatch, SilenceKeeper, UserStreamWatch, open_account
from services.order_executor.adapters.ccxt_venue import CcxtVenue, VenueAccess
from services.order_executor.adapters.postgres_account import AccountStore
from services.order_executor.adapters.postgres_guards import read_tally
from services.order_executor.adapters.postgres_halts import HaltStore
from services.order_executor.adapters.postgres_holds import HoldStore
from services.order_executor.adapters.postgres_orders import OrderStore
from services.order_executor.adapters.postgres_plans import PlanStore
from services.order_executor.adapters.postgres_reconciliation import ReconciliationStore
from services.order_executor.adapters.postgres_together import traded_together
from services.order_executor.halting import HaltSwitch
from services.order_executor.handlers import Handlers
from services.order_executor.late_proof import LateProof
from services.order_executor.lease import Lease
from services.order_executor.listing import InstrumentListing
from services.order_executor.market_view import MarketView
from services.order_executor.reconciler import Parts, Reconciler
from services.order_executor.runner import Limits, PlanRunners, Tools
from services.order_executor.send_guards import SendGuards
from services.order_executor.settings import Settings
from shared.contracts import subjects
from shared.contracts.catalogue import EXECUTOR_COMMANDS, EXECUTOR_PLANS
from shared.contracts.halts import HaltVenue, ResumeVenue
from shared.contracts.plans import FreeStrategy, HoldStrategy, RebalancePlanned, SealStrategy
from shared.contracts.wire import Message
from shared.core.errors import RetryLater, Stop
from shared.core.guards import GuardLimits
from shared.core.routing import RoutingPolicy
from shared.messaging.broker import make_broker
from shared.messaging.consuming import consume
from shared.messaging.database_postgres import create_pool
from shared.messaging.ending import EXIT_STOP
from shared.messaging.following import Follower, listen
from shared.messaging.health import Health
from shared.messaging.outbox_postgres import OutboxRelay
from shared.messaging.publishing import Publisher
from shared.messaging.requests import Answer, serve
from shared.venues.dialects import capabilities_of
from shared.venues.port import Venue

NAME = "order_executor"
FINISH_S = 5.0
PLANS_IN_FLIGHT = 8
"""Plans accepted at once: each waits for its own write to disk, of whichever strategy it is."""


def ccxt_venue(settings: Settings) -> Venue:
    """The venue the settings name. Raises Refused for an unknown dialect."""
    access = VenueAccess(
        name=settings.venue_name,
        quote=settings.venue_quote,
        rest_url=settings.venue_rest_url,
        ws_api_url=settings.venue_ws_api_url,
        api_key=settings.venue_api_key.get_secret_value(),
        api_secret=settings.venue_api_secret.get_secret_value().replace("\\n", "\n"),  # a PEM on one line
        timeout_ms=settings.request_timeout_ms,
        api_passphrase=settings.venue_api_passphrase.get_secret_value(),
        sandbox=settings.venue_sandbox,
    )
    return CcxtVenue(access, capabilities_of(settings.venue_dialect))


class Executor:
    """The running service; see ``shared.messaging.runtime.App``."""

    name = NAME

    def __init__(self, settings: Settings, venue: Venue) -> None:
        self._settings = settings
        self._venue = venue
        self._market = MarketView(settings.quotes_max_age_s)
        self._listing = InstrumentListing(
            venue,
            self._market,
            settings.venue_name,
            settings.venue_quote,
            lists_direct_pairs=settings.routing is RoutingPolicy.DIRECT_WHEN_CHEAPER,
        )
        self._broker = make_broker(
            settings.nats_url, f"{NAME}-{settings.instance}", user=settings.nats_user, password=settings.nats_password
        )
        self.health = Health(self._broker)
        self.switch: HaltSwitch | None = None
        self.guards: SendGuards | None = None
        self._background: list[Coroutine[Any, Any, Any]] = []
        self._ending: list[Callable[[], Coroutine[Any, Any, Any]]] = []

    async def start(self) -> None:
        """Become the account's writer, catch up with the venue, then take up open plans and take new ones."""
        settings = self._settings
        pool = await create_pool(settings.postgres_dsn, NAME, wait_s=60.0, only_by_index=True)
        self._ending.append(pool.close)
        relay = OutboxRelay(pool, "executor", self._broker)
        accounts = AccountStore(pool, settings.account, settings.venue_name)
        holder = f"{settings.instance}.{os.getpid()}.{secrets.token_hex(4)}"
        switch = self.switch = HaltSwitch(settings.venue_name, HaltStore(pool, settings.venue_name), relay.wake)
        await self._serve_switch(switch)
        lease = await leases.acquire(accounts, holder, self._lease_s)
        self._ending.append(lambda: accounts.release(lease))
        self.health.add("lease", lease.trouble)
        keeping = asyncio.create_task(leases.keep(accounts, lease), name="lease")
        self._ending.append(lambda: _cancelled(keeping))
        silence = SilenceKeeper(self._venue, accounts)
        await silence.load()
        self._ending.append(silence.start())
        await self._until_answered(keeping, self._listing.read)
        await self._until_answered(keeping, lambda: open_account(self._venue, accounts, lease))

        await self._want_direct_pairs(pool)
        guards = self.guards = await self._send_guards(pool, switch)
        plans, orders = PlanStore(pool, lease), await self._order_store(pool, lease)
        reconciler = self._reconciler(pool, accounts, lease, orders, relay.wake)
        tools = Tools(
            self._venue,
            plans,
            orders,
            self._market,
            lease,
            guards,
            relay.wake,
            reconciler.started,
            lambda: reconciler.has_started,
        )
        runners = PlanRunners(tools, self._limits(), self._stop)
        self._ending.append(lambda: runners.end(FINISH_S))
        handlers = Handlers(settings.venue_name, plans, HoldStore(pool), runners, relay.wake, self._listing.want)
        await self._take_messages(handlers)
        await listen(self._broker, subjects.prices(settings.venue_name), self._market.on_frame).start()
        await runners.resume()

        deposits = DepositWatch(self._venue, accounts, lease, settings.venue_deposits_poll_s, relay.wake)
        users = UserStreamWatch(self._venue, orders, deposits.look_now, relay.wake)
        publisher = Publisher(self._broker, NAME)
        self._background = [
            _joined(keeping),
            relay.run(),
            switch.run(),
            self._follow_prices(),
            self._listing.run(publisher, lease.epoch, settings.venue_instruments_refresh_s),
            deposits.run(),
        ]
        if settings.reconcile_every_s:
            books = subjects.books(settings.venue_name)
            self._background.append(Follower(self._broker, "BOOKS", [books], reconciler.on_books).run())
            self._background.append(reconciler.run())
        if self._venue.capabilities.has_user_stream:
            self._background.append(users.run())

    async def stop(self) -> None:
        """Take no more plans, finish the phases under way, give the account back."""
        for end in reversed(self._ending):
            await end()
        await self._venue.close()

    def background(self) -> Sequence[Coroutine[Any, Any, Any]]:
        """The lease, the outbox, prices, instruments, deposits and the user stream."""
        return self._background

    async def _send_guards(self, pool: Any, switch: HaltSwitch) -> SendGuards:
        """The guards, with what has been sent so far."""
        guards = SendGuards(self._guard_limits(), self._market, switch)
        guards.tally = await read_tally(pool, self._settings.account, self._settings.venue_name)
        self.health.show("sending", guards.facts)
        return guards

    async def _take_messages(self, handlers: Handlers) -> None:
        """Take plans and commands from now on."""
        consume(self._broker, EXECUTOR_PLANS, {RebalancePlanned: handlers.on_plan}, in_flight=PLANS_IN_FLIGHT)
        consume(
            self._broker,
            EXECUTOR_COMMANDS,
            {SealStrategy: handlers.on_seal, HoldStrategy: handlers.on_hold, FreeStrategy: handlers.on_free},
        )
        await self._broker.start()
        self._ending.append(self._broker.stop)

    def _follow_prices(self) -> Coroutine[Any, Any, None]:
        subject = subjects.price_snapshots(self._settings.venue_name)
        return Follower(self._broker, "PRICE_SNAPSHOTS", [subject], self._market.on_snapshot).run()

    async def _order_store(self, pool: Any, lease: Lease) -> OrderStore:
        orders = OrderStore(pool, self._settings.venue_name, lease)
        await orders.recall_fees()
        return orders

    async def _want_direct_pairs(self, pool: Any) -> None:
        """Have the pairs listed that the strategies there are may be routed through, before their next plans come."""
        if self._settings.routing is RoutingPolicy.DIRECT_WHEN_CHEAPER:
            for assets in await traded_together(pool, self._settings.venue_name):
                self._listing.want(assets)

    def _reconciler(
        self, pool: Any, accounts: AccountStore, lease: Lease, orders: OrderStore, wake: Callable[[], None]
    ) -> Reconciler:
        settings = self._settings
        store = ReconciliationStore(pool, lease, settings.venue_name)
        late = LateProof(self._venue, store, orders)
        parts = Parts(self._venue, accounts, store, lease, late, self._listing.block, wake, self._listing.symbol_of)
        return Reconciler(parts, settings.venue_quote, settings.reconcile_every_s)

    @property
    def _lease_s(self) -> float:
        """Twice the venue's receive window at least: an order is only sent while the lease outlasts the window."""
        return max(self._settings.lease_s, 2 * self._venue.capabilities.receive_window_ms / 1000)

    def _limits(self) -> Limits:
        settings = self._settings
        return Limits(
            slippage_bps=Decimal(settings.slippage_bps),
            send_within=timedelta(milliseconds=settings.send_deadline_ms),
            quotes_wait_s=settings.quotes_wait_s,
            concurrent_plans=settings.concurrent_plans,
        )

    def _guard_limits(self) -> GuardLimits:
        settings = self._settings
        return GuardLimits(
            orders_per_minute=settings.guard_orders_per_minute,
            order_notional=settings.guard_order_notional,
            day_notional=settings.guard_day_notional,
            plan_turnover=settings.guard_plan_turnover,
            price_away_bps=Decimal(settings.guard_price_away_bps),
            trips_to_halt=settings.guard_trips_to_halt,
        )

    async def _serve_switch(self, switch: HaltSwitch) -> None:
        """Answer halts from before the account is ours, on a connection of their own, so that no plan or price can be
        in the way. Every executor hears every command (each is a queue of its own) and the first answer counts: one
        that stands by throws the switch of one that hangs.
        """
        settings = self._settings
        broker = make_broker(
            settings.nats_url,
            f"{NAME}-switch-{settings.instance}",
            user=settings.nats_user,
            password=settings.nats_password,
        )
        commands: dict[type[Message], Answer] = {HaltVenue: switch.on_halt, ResumeVenue: switch.on_resume_asked}
        serve(broker, subjects.halt_commands(settings.venue_name), f"{NAME}.{secrets.token_hex(4)}", commands)
        await broker.start()
        self._ending.append(broker.stop)
        self.health.watch(broker)
        await switch.load()

    def _stop(self, stop: Stop) -> None:
        self._broker.end(EXIT_STOP, str(stop))

    async def _until_answered(self, keeping: "asyncio.Task[None]", ask: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Ask the venue until it answers, while the lease is kept."""
        while True:
            if keeping.done():
                keeping.result()
            try:
                await ask()
                return
            except RetryLater as later:
                await asyncio.sleep(min(max(later.after_s, 0.1), 5.0))


async def _joined(task: "asyncio.Task[None]") -> None:
    await task


async def _cancelled(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])


def build_app(settings: Settings) -> Executor:
    """The executor for these settings; connects nothing yet."""
    return Executor(settings, ccxt_venue(settings))
