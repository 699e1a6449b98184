"""/strategies: preview, create, list, show, decisions."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query

from services.gateway.backing import Backing
from services.gateway.bodies import Body, Key, preview_id_in
from services.gateway.decision_times import moment_in
from services.gateway.replies import (
    DecisionReply,
    DecisionsReply,
    PreviewReply,
    StrategiesReply,
    StrategyDetailReply,
)
from services.gateway.request_schemas import CONFIRMATION, document_body
from services.gateway.results_routes import with_final_profit
from services.gateway.reviews import strategy_brief, strategy_detail
from shared.contracts.evaluations import DecisionRecorded
from shared.core.errors import Refused
from shared.core.explanations import explain
from shared.core.strategy import StrategyStatus, parse_strategy

DecisionsLimit = Annotated[int, Query(ge=1, le=500)]
Moment = Annotated[str, Query(max_length=64, description="Market time: only what answers for this moment.")]


def strategy_routes(backing: Backing) -> APIRouter:
    """The routes, answering from ``backing``."""
    router = APIRouter(prefix="/strategies", tags=["strategies"])
    views, registry, strategy_body = backing.views, backing.registry, document_body(backing.max_assets)

    @router.post("/preview", summary="Check a strategy and see its first orders", openapi_extra=strategy_body)
    async def preview(body: Body, key: Key) -> PreviewReply:
        parse_strategy(body, max_assets=backing.max_assets)  # Refuses here what can be a strategy nowhere, as written.
        found = await registry.preview(body, key)
        return PreviewReply(**found.model_dump())

    @router.post("", status_code=201, summary="Start the strategy of a preview", openapi_extra=CONFIRMATION)
    async def create(body: Body, key: Key) -> StrategyDetailReply:
        changed = await registry.confirm(preview_id_in(body), key)
        backing.learn(changed)
        return strategy_detail(changed, views)

    @router.get("", summary="Strategies, newest first")
    async def strategies(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        after: Annotated[str, Query(max_length=64)] = "",
        status: Annotated[list[StrategyStatus] | None, Query()] = None,
    ) -> StrategiesReply:
        backing.refuse_until_caught_up()
        if after and after not in views.strategies:
            raise Refused.one("after", after, "the `next` of the page before", "is not the id of a strategy")
        page, following = views.strategies_after(after, limit, frozenset(status or ()))
        return StrategiesReply(strategies=[strategy_brief(one, views) for one in page], next=following)

    @router.get("/{strategy_id}", summary="One strategy in full")
    async def strategy(strategy_id: str) -> StrategyDetailReply:
        detail = strategy_detail(backing.known(strategy_id), views)
        if detail.status is StrategyStatus.CLOSED and detail.profit is None:
            return await with_final_profit(backing, detail)
        return detail

    @router.get("/{strategy_id}/decisions", summary="Why it did or did not trade, newest first")
    async def decisions(strategy_id: str, limit: DecisionsLimit = 50, at: Moment = "") -> DecisionsReply:
        backing.known(strategy_id)
        return await _decisions(backing, strategy_id, at, limit)

    return router


async def _decisions(backing: Backing, strategy_id: str, at: str, limit: int) -> DecisionsReply:
    if at:
        found = (await backing.decisions.at(strategy_id, moment_in(at)))[:limit]
    else:
        found = await backing.decisions.newest(strategy_id, limit)
    routes = await backing.decisions.routes(strategy_id) if any(one.plan_id for one in found) else {}
    told = [_decision(one, routes.get(one.plan_id, ())) for one in found]
    return DecisionsReply(strategy_id=strategy_id, decisions=told)


def _decision(recorded: DecisionRecorded, routes: Sequence[str]) -> DecisionReply:
    sentence = explain(recorded.code, recorded.inputs)
    if routes:
        sentence += f" Traded directly: {'; '.join(routes)}."
    return DecisionReply(**recorded.model_dump(exclude={"strategy_id"}), sentence=sentence)
