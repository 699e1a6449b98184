"""The ledger put together: consumers -> books -> journal and outbox in PostgreSQL -> relay; journal -> results."""

import logging
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any

from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_alarms import PostgresAlarms
from services.ledger.adapters.postgres_answers import PostgresAnswers
from services.ledger.adapters.postgres_heads import PostgresHeads
from services.ledger.adapters.postgres_projector import Projector
from services.ledger.adapters.postgres_reservations import AvailableAnswers
from services.ledger.adapters.signing_key import load_or_make_key
from services.ledger.books import Books
from services.ledger.handlers import Handlers
from services.ledger.heads import Signer
from services.ledger.market import Market
from services.ledger.proofs import Proofs
from services.ledger.settings import Settings
from services.ledger.stream_alarm import StreamAlarm
from shared.contracts import subjects
from shared.contracts.audit import ProveConsistency, ProveInclusion, ShowTreeHead
from shared.contracts.books import SweepDust
from shared.contracts.catalogue import LEDGER_COMMANDS, LEDGER_DEPOSITS, LEDGER_DIFFERENCES, LEDGER_FILLS, LEDGER_ORDERS
from shared.contracts.reconciliation import AcceptSuspense
from shared.contracts.reservations import ReportAvailable
from shared.contracts.results import ReportHistory, ReportHoldings, ReportResults
from shared.contracts.wire import Message
from shared.messaging.broker import make_broker
from shared.messaging.consuming import consume
from shared.messaging.database_postgres import create_pool
from shared.messaging.following import Follower
from shared.messaging.health import Health
from shared.messaging.outbox_postgres import OutboxRelay
from shared.messaging.requests import Answer, serve
from shared.messaging.stream_room import room_of

log = logging.getLogger(__name__)

SCHEMA = "ledger"


class LedgerApp:
    """A ``shared.messaging.runtime.App``."""

    name = "ledger"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._broker = make_broker(
            settings.nats_url,
            f"{self.name}-{settings.instance}",
            user=settings.nats_user,
            password=settings.nats_password,
        )
        self.health = Health(self._broker)
        self._journal: PostgresJournal | None = None
        self._background: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()

    async def start(self) -> None:
        """Connect and consume. Nothing is to be recovered: the journal is whole, what was not answered comes again.

        Raises RetryLater when the database does not answer.
        """
        settings = self._settings
        pool = await create_pool(settings.postgres_dsn, self.name, max_size=8)
        self._journal = PostgresJournal(pool, now=lambda: datetime.now(UTC))
        await self._journal.announce_totals()
        relay = OutboxRelay(pool, SCHEMA, self._broker)
        market = Market()
        prices = Follower(self._broker, "PRICE_SNAPSHOTS", [subjects.PRICE_SNAPSHOTS_ALL], market.take)
        projector = Projector(pool, market, mark_interval_s=settings.ledger_mark_interval_s)
        answers = PostgresAnswers(pool, market)

        def on_posted() -> None:
            relay.wake()
            projector.wake()

        books = Books(self._journal, group_size=settings.ledger_group_size, on_posted=on_posted)
        handlers = Handlers(books)
        consume(self._broker, LEDGER_FILLS, handlers.fills, in_flight=settings.ledger_fills_in_flight)
        consume(self._broker, LEDGER_ORDERS, handlers.orders, in_flight=settings.ledger_fills_in_flight)
        consume(self._broker, LEDGER_DEPOSITS, handlers.deposits)
        consume(self._broker, LEDGER_COMMANDS, handlers.commands)
        consume(self._broker, LEDGER_DIFFERENCES, handlers.differences)
        answered: dict[type[Message], Answer] = {
            AcceptSuspense: handlers.accept,
            SweepDust: handlers.sweep,
            ReportResults: answers.results,
            ReportHistory: answers.history,
            ReportHoldings: answers.holdings,
            ReportAvailable: AvailableAnswers(pool).available,
        }
        serve(self._broker, subjects.LEDGER_COMMANDS, self.name, answered)
        proofs = self._proofs(pool, relay)
        self.health.add("journal", self._journal.trouble)
        self.health.add("books", books.trouble)
        self.health.add("results", projector.trouble)
        self.health.add("tree heads", proofs.trouble)
        alarms = PostgresAlarms(pool, lambda: datetime.now(UTC), relay.wake)
        streams = StreamAlarm(lambda stream: room_of(self._broker.jetstream, stream), alarms.tell)
        self.health.show("streams_percent_full", streams.figures)
        self._background = (
            streams.run,
            books.run,
            relay.run,
            prices.run,
            projector.run,
            lambda: proofs.sign_every(settings.ledger_head_interval_s),
        )
        await self._broker.start()

    def _proofs(self, pool: Any, relay: OutboxRelay) -> Proofs:
        """The log's heads and proofs, and who answers for them. Raises Stop when the key cannot be used."""
        file = self._settings.ledger_signing_key_file
        if file is None:
            log.warning("no tree heads are signed: TRIMTAB_LEDGER_SIGNING_KEY_FILE is not set")
        signer = None if file is None else Signer(load_or_make_key(file))
        proofs = Proofs(PostgresHeads(pool, lambda: datetime.now(UTC), signer), relay.wake)
        answers: dict[type[Message], Answer] = {
            ShowTreeHead: proofs.show_head,
            ProveInclusion: proofs.prove_inclusion,
            ProveConsistency: proofs.prove_consistency,
        }
        serve(self._broker, subjects.AUDIT_COMMANDS, self.name, answers)
        return proofs

    async def stop(self) -> None:
        """Let go of NATS, then of the database."""
        await self._broker.stop()
        if self._journal is not None:
            await self._journal.pool.close()

    def background(self) -> Sequence[Coroutine[Any, Any, None]]:
        """The look at the streams, the committer, the relay, the follower of prices and the projector of results."""
        return [run() for run in self._background]


def build_app(settings: Settings) -> LedgerApp:
    """The ledger, not started yet."""
    return LedgerApp(settings)
