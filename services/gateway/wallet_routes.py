"""/wallets and /venues: money that no strategy holds, and what a venue offers."""

import uuid

from fastapi import APIRouter

from services.gateway.backing import Backing
from services.gateway.bodies import Body, Key, deposit_in
from services.gateway.decision_times import moment_in
from services.gateway.http_errors import NotFoundError
from services.gateway.reconciliation_routes import movement_in
from services.gateway.replies import (
    DepositReply,
    InstrumentReply,
    InstrumentsReply,
    PriceReply,
    PricesReply,
    SweptReply,
    WalletReply,
    WalletsReply,
)
from services.gateway.request_schemas import DEPOSIT, SWEEP
from services.gateway.results_routes import Moment, WalletsThenReply, wallets_at


def wallet_routes(backing: Backing) -> APIRouter:
    """The wallet routes, answering from ``backing``."""
    router = APIRouter(prefix="/wallets", tags=["wallets"])
    views = backing.views

    @router.get("", summary="The wallet of every venue, now or at a market time")
    async def wallets(at: Moment = "") -> WalletsReply | WalletsThenReply:
        backing.refuse_until_caught_up()
        if at:
            return await wallets_at(backing, moment_in(at))
        return WalletsReply(wallets=[_wallet(venue, backing) for venue in views.venues()])

    @router.get("/{venue}", summary="The wallet of one venue")
    async def wallet(venue: str) -> WalletReply:
        backing.refuse_until_caught_up()
        if venue not in views.venues():
            raise NotFoundError(f"nothing is known of a venue {venue[:80]}")
        return _wallet(venue, backing)

    @router.post("/{venue}/deposits", status_code=202, summary="Paper money", openapi_extra=DEPOSIT)
    async def deposit(venue: str, body: Body, key: Key) -> DepositReply:
        wanted = deposit_in(body)
        deposit_id = wanted.deposit_id or key or uuid.uuid4().hex
        await backing.faucets.deposit(venue, deposit_id, wanted.asset, wanted.amount)
        return DepositReply(id=deposit_id, venue=venue, asset=wanted.asset, amount=wanted.amount)

    @router.post("/{venue}/dust/sweep", summary="Give dust to the wallet", openapi_extra=SWEEP)
    async def sweep(venue: str, body: Body, key: Key) -> SweptReply:
        backing.refuse_until_caught_up()
        if venue not in views.venues():
            raise NotFoundError(f"nothing is known of a venue {venue[:80]}")
        asset, amount = movement_in(body, "at most what is there as dust")
        done = await backing.ledger.sweep(venue, asset, amount, key)
        return SweptReply(**done.model_dump())

    return router


def venue_routes(backing: Backing) -> APIRouter:
    """The venue routes, answering from ``backing``."""
    router = APIRouter(prefix="/venues", tags=["venues"])
    views = backing.views

    @router.get("/{venue}/instruments", summary="What can be traded, by which rules")
    async def instruments(venue: str) -> InstrumentsReply:
        backing.refuse_until_caught_up()
        listed = views.instruments.get(venue)
        if listed is None:
            raise NotFoundError(f"the instruments of {venue[:80]} are not known")
        rows = [InstrumentReply(**one.model_dump()) for one in listed.instruments]
        return InstrumentsReply(venue=venue, quote=listed.quote, instruments=rows)

    @router.get("/{venue}/prices", summary="The newest quotes")
    async def prices(venue: str) -> PricesReply:
        backing.refuse_until_caught_up()
        seen = views.prices.get(venue)
        if seen is None:
            raise NotFoundError(f"the prices of {venue[:80]} are not known")
        stale = frozenset(seen.snapshot.stale)
        rows = [
            PriceReply(asset=one.asset, bid=one.bid, ask=one.ask, at=one.at, stale=one.asset in stale)
            for one in seen.snapshot.quotes
        ]
        return PricesReply(
            venue=venue, market_time=seen.snapshot.market_time, published_at=seen.published_at, prices=rows
        )

    return router


def _wallet(venue: str, backing: Backing) -> WalletReply:
    wallet, books = backing.views.wallets.get(venue), backing.views.books.get(venue)
    dust = {} if books is None else books.dust
    if wallet is None:
        return WalletReply(venue=venue, version=0, balances={}, dust=dust)
    return WalletReply(venue=venue, version=wallet.version, balances=wallet.balances, dust=dust)
