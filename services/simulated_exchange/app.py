"""Composition root: store, market, venue, dialects and server put together."""

import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from services.simulated_exchange.adapters.sqlite import Store
from services.simulated_exchange.bigone.errors import error_body as bigone_error_body
from services.simulated_exchange.bigone.routes import bigone_routes
from services.simulated_exchange.binance.errors import error_body as binance_error_body
from services.simulated_exchange.binance.rate_gate import RateGate, RateRules
from services.simulated_exchange.binance.routes import binance_routes
from services.simulated_exchange.desk import Desk
from services.simulated_exchange.faults.control import FaultControl
from services.simulated_exchange.faults.plan import FaultPlan
from services.simulated_exchange.faults.requests import faulty_requests
from services.simulated_exchange.handlers import Control, control_guard, healthz
from services.simulated_exchange.identity import IdentityName
from services.simulated_exchange.maintenance import maintained
from services.simulated_exchange.markets.crosses import WithCrosses, parse_pairs
from services.simulated_exchange.markets.files import load_prices
from services.simulated_exchange.markets.source import PriceSource
from services.simulated_exchange.markets.synthetic import SyntheticMarket
from services.simulated_exchange.reads import Reads
from services.simulated_exchange.replay import Replay
from services.simulated_exchange.settings import Settings
from services.simulated_exchange.settlement import Fees
from services.simulated_exchange.venue import Venue
from services.simulated_exchange.venue_rules import ReplayState, VenueRules
from shared.core.errors import Stop
from shared.core.matching import BookShape, PriceBand
from shared.messaging.ending import EXIT_STOP, end_process
from shared.messaging.health import Health

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024
_BIGONE_SYSTEM_ERROR = 10011


class ExchangeApp:
    """The running service. ``port`` is known after ``start``."""

    name = "simulated_exchange"

    def __init__(self, settings: Settings, store: Store, venue: Venue) -> None:
        self.health = Health()
        self.venue = venue
        self.port = 0
        self._settings = settings
        self._store = store
        self._replay = Replay(venue)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. The venue stands where it stood: being built was its recovery."""
        settings, faults = self._settings, FaultPlan()
        guard = control_guard(settings.exchange_control_token.get_secret_value())
        error_body = bigone_error_body if is_bigone(settings) else binance_error_body
        closed = error_body(_BIGONE_SYSTEM_ERROR if is_bigone(settings) else 1, "System is under maintenance.")
        server = web.Application(
            middlewares=[_end_on_stop, guard, faulty_requests(faults, error_body), maintained(self.venue, closed)],
            client_max_size=MAX_BODY_BYTES,
        )
        rules = RateRules(settings.exchange_weight_per_minute, settings.exchange_orders_per_10s)
        gate = RateGate(rules)
        control = Control(self.venue, self._replay, gate)
        desk = Desk(self.venue, Reads(self.venue), gate, faults)
        if is_bigone(settings):
            by_cost = settings.exchange_market_buy_amount == "quote"
            server.add_routes(bigone_routes(desk, buys_by_cost=by_cost))
        else:
            server.add_routes(binance_routes(desk))
        server.add_routes([*control.routes(), *FaultControl(self.venue, faults).routes(), web.get("/healthz", healthz)])
        self._runner = web.AppRunner(server, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._settings.exchange_host, self._settings.exchange_port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        market = self.venue.source.name
        log.info(
            "listening on %s:%d, market %s at row %d", *self._runner.addresses[0][:2], market, self.venue.state.row
        )

    async def stop(self) -> None:
        """Close connections and the store. Nothing is lost by not getting here."""
        if self._runner is not None:
            await self._runner.cleanup()
        self._store.close()

    def background(self) -> Sequence[Coroutine[Any, Any, Any]]:
        """The market's clock."""
        return [self._run_market()]

    async def _run_market(self) -> None:
        try:
            await self._replay.run()
        except Stop as stop:
            end_process(EXIT_STOP, str(stop))


@web.middleware
async def _end_on_stop(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Stop as stop:
        # Memory may be ahead of the file: nobody, this caller included, may get an answer made from it.
        end_process(EXIT_STOP, str(stop))
        raise


def is_bigone(settings: Settings) -> bool:
    """Whether the venue speaks BigONE's dialect."""
    return settings.exchange_dialect == "bigone"


def build_app(settings: Settings) -> ExchangeApp:
    """Open the state folder, read the market and build the venue. Raises Refused for a bad file or folder."""
    prices = load_prices(settings.exchange_prices_file) if settings.exchange_prices_file else None
    store = Store(settings.exchange_state_dir)
    try:
        venue = _build_venue(settings, store, prices)
    except BaseException:
        # Nobody else knows of the store yet: left open, it would keep its folder locked.
        store.close()
        raise
    return ExchangeApp(settings, store, venue)


def _build_venue(settings: Settings, store: Store, prices: PriceSource | None) -> Venue:
    source: PriceSource = prices or SyntheticMarket(
        settings.exchange_seed, settings.exchange_row_step_s, store.checkpoints()
    )
    if pairs := parse_pairs(settings.exchange_cross_pairs):
        source = WithCrosses(source, pairs)
    allowed = "the folder of the same market, or an empty one"
    store.remember_once("market", source.fingerprint, "exchange_state_dir", allowed)
    allowed = "the folder of the same dialect, or an empty one"
    store.remember_once("dialect", settings.exchange_dialect, "exchange_state_dir", allowed)
    rules = VenueRules(
        shape=BookShape(
            spread_bps=settings.exchange_spread_bps,
            level_spacing_bps=settings.exchange_level_spacing_bps,
            level_notional=settings.exchange_depth_usdt,
            levels=settings.exchange_depth_levels,
        ),
        fees=Fees(
            settings.exchange_maker_fee_bps,
            settings.exchange_taker_fee_bps,
            settings.exchange_discount_asset,
            settings.exchange_discount_pct,
        ),
        min_notional=settings.exchange_min_notional,
        band=PriceBand(),
        # BigONE: ids count as used for a day, and steps are numbers of decimals.
        identity=IdentityName.DAY if is_bigone(settings) else IdentityName.BINANCE,
        coarsest_lot_exponent=0 if is_bigone(settings) else None,
        cross_spread_bps=settings.exchange_cross_spread_bps,
    )
    start = ReplayState(0, 0, settings.exchange_start_paused, settings.exchange_rows_per_second)
    venue = Venue(store, source, rules, start)
    if settings.exchange_api_key:
        venue.add_account(settings.exchange_api_key, settings.exchange_api_secret.get_secret_value())
    return venue
