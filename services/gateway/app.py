"""The gateway put together: views fed by the streams, commands to the registry, HTTP in front."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any

import uvicorn

from services.gateway.adapters.audit import AuditQuestions
from services.gateway.adapters.decisions import Decisions
from services.gateway.adapters.event_streams import EventStreams
from services.gateway.adapters.faucet import Faucets
from services.gateway.adapters.ledger import LedgerCommands
from services.gateway.adapters.notifications import Notifications
from services.gateway.adapters.registry import RegistryCommands
from services.gateway.adapters.switches import Switches
from services.gateway.backing import Backing
from services.gateway.handlers import build_http
from services.gateway.settings import Settings
from services.gateway.views import FOLLOWED, Views
from shared.contracts.wire import Message, Meta
from shared.core.errors import Stop
from shared.messaging.broker import make_broker
from shared.messaging.following import Follower
from shared.messaging.health import Health

_log = logging.getLogger(__name__)
_OPEN_CONNECTIONS = 512
_LONGEST_GOODBYE_S = 2


def build_app(settings: Settings) -> "GatewayApp":
    """The service, not yet started."""
    return GatewayApp(settings)


class GatewayApp:
    """Starts and stops the gateway. It keeps nothing: its views are rebuilt from the streams at every start."""

    name = "gateway"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._broker = make_broker(
            settings.nats_url,
            f"{self.name}-{settings.instance}",
            user=settings.nats_user,
            password=settings.nats_password,
        )
        self.health = Health(self._broker)
        self._views = Views()
        self._followers = [
            Follower(self._broker, stream, [subject], self._take) for stream, subject in FOLLOWED.items()
        ]
        self._faucets = Faucets(settings.faucets, settings.faucet_token.get_secret_value())
        self._backing = Backing(
            views=self._views,
            followers=self._followers,
            registry=RegistryCommands(self._broker),
            switches=Switches(self._broker),
            decisions=Decisions(self._broker),
            notifications=Notifications(self._broker),
            events=EventStreams(self._broker),
            faucets=self._faucets,
            ledger=LedgerCommands(self._broker),
            audit=AuditQuestions(self._broker),
            max_assets=settings.max_assets,
        )
        self._server: _Server | None = None
        self.port = 0
        """The TCP port, once started; of use when the setting is 0."""

    async def start(self) -> None:
        """Connect to NATS and listen; until the views have caught up, reads are answered with 503."""
        await self._broker.start()
        self.health.add("views", self._views_health)
        http = build_http(self._backing, self._settings.api_token.get_secret_value(), self.health)
        config = uvicorn.Config(
            http,
            host=self._settings.gateway_host,
            port=self._settings.gateway_port,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            limit_concurrency=_OPEN_CONNECTIONS,
            timeout_graceful_shutdown=_LONGEST_GOODBYE_S,
        )
        sock = config.bind_socket()
        self.port = sock.getsockname()[1]
        self._server = _Server(config, [sock])
        _log.info("http on %s:%d", self._settings.gateway_host, self.port)

    async def stop(self) -> None:
        """Let go of NATS; the HTTP server has ended with the background tasks."""
        await self._backing.decisions.close()
        await self._backing.notifications.close()
        await self._backing.ledger.close()
        await self._faucets.close()
        await self._broker.stop()

    def background(self) -> Sequence[Coroutine[Any, Any, Any]]:
        """The HTTP server and the views' followers."""
        if self._server is None:
            raise RuntimeError("start() comes first")
        return [self._server.run_here(), *(follower.run() for follower in self._followers)]

    def _take(self, _subject: str, message: Message, meta: Meta) -> None:
        self._views.take(message, meta)

    async def _views_health(self) -> str | None:
        behind = [one.label for one in self._followers if not one.caught_up.is_set()]
        return f"still reading: {', '.join(behind)}" if behind else None


class _Server(uvicorn.Server):
    """uvicorn inside our own runtime, which owns the signals."""

    def __init__(self, config: uvicorn.Config, sockets: list[Any]) -> None:
        super().__init__(config)
        self._sockets = sockets

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield

    async def run_here(self) -> None:
        """Serve until cancelled, then give open requests 2 s. Raises Stop when the server cannot start."""
        try:
            await self.serve(sockets=self._sockets)
        except SystemExit as failed:
            raise Stop("the HTTP server could not start") from failed
        except asyncio.CancelledError:
            if self.started:
                await self.shutdown(sockets=self._sockets)
            raise
