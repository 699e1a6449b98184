"""/strategies/{id}: what may be asked of a strategy that runs. Every answer is its state afterwards."""

from fastapi import APIRouter

from services.gateway.backing import Backing
from services.gateway.bodies import Body, Key, OptionalBody, is_strategy_id
from services.gateway.http_errors import NotFoundError
from services.gateway.lifecycle_bodies import addition_in, copy_in, edit_in, nothing_in, stop_action_in, withdrawal_in
from services.gateway.replies import PreviewReply, StrategyDetailReply
from services.gateway.request_schemas import ADDITION, STOP, WITHDRAWAL, clone_body, edit_body
from services.gateway.reviews import strategy_detail
from shared.contracts.lifecycle import (
    AddMoney,
    EditStrategy,
    PauseStrategy,
    RebalanceNow,
    ResumeStrategy,
    WithdrawMoney,
)
from shared.contracts.strategies import StopStrategy
from shared.contracts.wire import Message
from shared.core.strategy import parse_strategy

_EDIT = """Changes parts of the definition. `revision` is the one the edit was made for (`GET` tells it): when somebody
else has edited meanwhile, it is refused with 409 and nothing has changed."""
_ADD = """From the spot wallet into the strategy; it is then invested with the least trading: what is furthest below its
target is bought first, nothing is sold. `requests` of the answer tells how far it is."""
_WITHDRAW = """From the strategy to the spot wallet, with the least trading: idle cash first, then what is furthest
above its target. Principal and profit leave in proportion. Exactly one of `amount` and `percent`."""
_PAUSE = """It does nothing by itself any more: no rebalance, no take-profit or stop-loss, no Auto-Invest. A plan under
way is finished, withdrawals are still made."""
_STOP = """Ends the strategy and returns what it has to the wallet. The first stop counts: a later one that wants
something else is refused with 409."""
_CLONE = """A preview of a new strategy with the same document, but for the fields in the body; confirm it with
`POST /strategies`."""


def lifecycle_routes(backing: Backing) -> APIRouter:
    """The routes, answering from ``backing``."""
    router = APIRouter(prefix="/strategies/{strategy_id}", tags=["strategies"])
    edit_schema, clone_schema = edit_body(backing.max_assets), clone_body(backing.max_assets)
    _add_money_routes(router, backing)
    _add_pace_routes(router, backing)

    @router.patch("", summary="Edit it", description=_EDIT, openapi_extra=edit_schema)
    async def edit(strategy_id: str, body: Body, key: Key) -> StrategyDetailReply:
        refuse_other_ids(strategy_id)
        wanted = edit_in(body)
        command = EditStrategy(
            strategy_id=strategy_id, revision=wanted.revision, changes=wanted.changes, rebalance=wanted.rebalance
        )
        return await _changed(backing, command, key)

    @router.post("/stop", summary="End it, return what it has to the wallet", description=_STOP, openapi_extra=STOP)
    async def stop(strategy_id: str, body: OptionalBody, key: Key) -> StrategyDetailReply:
        refuse_other_ids(strategy_id)
        action = stop_action_in(body)
        return await _changed(
            backing, StopStrategy(strategy_id=strategy_id, reason="stopped_by_user", action=action), key
        )

    @router.post("/clone", summary="Preview a copy of it", description=_CLONE, openapi_extra=clone_schema)
    async def clone(strategy_id: str, body: OptionalBody, key: Key) -> PreviewReply:
        document = copy_in(body, backing.known(strategy_id).document)
        parse_strategy(document, max_assets=backing.max_assets)  # As for a preview: refused here as it was written.
        found = await backing.registry.preview(document, key)
        return PreviewReply(**found.model_dump())

    return router


def _add_money_routes(router: APIRouter, backing: Backing) -> None:
    """Money in, money out."""

    @router.post("/add", summary="Put money in", description=_ADD, openapi_extra=ADDITION)
    async def add(strategy_id: str, body: Body, key: Key) -> StrategyDetailReply:
        refuse_other_ids(strategy_id)
        wanted = addition_in(body)
        return await _changed(backing, AddMoney(strategy_id=strategy_id, amount=wanted.amount, asset=wanted.asset), key)

    @router.post("/withdraw", summary="Take money out", description=_WITHDRAW, openapi_extra=WITHDRAWAL)
    async def withdraw(strategy_id: str, body: Body, key: Key) -> StrategyDetailReply:
        refuse_other_ids(strategy_id)
        wanted = withdrawal_in(body)
        command = WithdrawMoney(
            strategy_id=strategy_id, amount=wanted.amount, percent=wanted.percent, asset=wanted.asset
        )
        return await _changed(backing, command, key)


def _add_pace_routes(router: APIRouter, backing: Backing) -> None:
    """When it does something: not at all, again, now."""

    @router.post("/pause", summary="Let it rest", description=_PAUSE)
    async def pause(strategy_id: str, body: OptionalBody, key: Key) -> StrategyDetailReply:
        refuse_other_ids(strategy_id)
        nothing_in(body)
        return await _changed(backing, PauseStrategy(strategy_id=strategy_id, reason="paused_by_user"), key)

    @router.post("/resume", summary="Go on after a pause")
    async def resume(strategy_id: str, body: OptionalBody, key: Key) -> StrategyDetailReply:
        refuse_other_ids(strategy_id)
        nothing_in(body)
        return await _changed(backing, ResumeStrategy(strategy_id=strategy_id), key)

    @router.post("/rebalance", summary="Bring every asset to its target now, whatever the rule says")
    async def rebalance(strategy_id: str, body: OptionalBody, key: Key) -> StrategyDetailReply:
        refuse_other_ids(strategy_id)
        nothing_in(body)
        return await _changed(backing, RebalanceNow(strategy_id=strategy_id), key)


async def _changed(backing: Backing, command: Message, key: str | None) -> StrategyDetailReply:
    state = await backing.registry.change(command, key)
    backing.learn(state)
    return strategy_detail(state, backing.views)


def refuse_other_ids(strategy_id: str) -> None:
    """Raises NotFoundError for what cannot be the id of a strategy; whether there is one the registry knows."""
    if not is_strategy_id(strategy_id):
        raise NotFoundError(f"there is no strategy {strategy_id[:80]}")
