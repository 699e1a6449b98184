"""/strategies: preview, create, list, show, stop, decisions."""

from typing import Annotated

from fastapi import APIRouter, Query

from services.gateway.backing import Backing
from services.gateway.bodies import Body, Key, is_strategy_id, preview_id_in
from services.gateway.decision_times import moment_in
from services.gateway.http_errors import NotFoundError
from services.gateway.replies import (
    DecisionReply,
    DecisionsReply,
    PreviewReply,
    StrategiesReply,
    StrategyDetailReply,
)
from services.gateway.reviews import strategy_brief, strategy_detail
from shared.contracts.evaluations import DecisionRecorded
from shared.contracts.strategies import StrategyChanged
from shared.contracts.strategy_schema import strategy_schema
from shared.core.errors import Refused
from shared.core.explanations import explain
from shared.core.strategy import StrategyStatus, parse_strategy

DecisionsLimit = Annotated[int, Query(ge=1, le=500)]
Moment = Annotated[str, Query(max_length=64, description="Market time: only what answers for this moment.")]
_CONFIRM_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "title": "Confirmation",
                    "additionalProperties": False,
                    "required": ["preview_id"],
                    "properties": {"preview_id": {"type": "string"}},
                }
            }
        },
    }
}


def _document_body(max_assets: int) -> dict[str, object]:
    """What OpenAPI says about the body of a preview: the schema of strategies itself."""
    schema = strategy_schema(max_assets, of_files=False)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def strategy_routes(backing: Backing) -> APIRouter:
    """The routes, answering from ``backing``."""
    router = APIRouter(prefix="/strategies", tags=["strategies"])
    views, registry, document_body = backing.views, backing.registry, _document_body(backing.max_assets)

    def known(strategy_id: str) -> StrategyChanged:
        strategy = views.strategies.get(strategy_id) if is_strategy_id(strategy_id) else None
        if strategy is None:
            raise NotFoundError(f"there is no strategy {strategy_id[:80]}")
        return strategy

    @router.post("/preview", summary="Check a strategy and see its first orders", openapi_extra=document_body)
    async def preview(body: Body, key: Key) -> PreviewReply:
        parse_strategy(body, max_assets=backing.max_assets)  # Refuses here what can be a strategy nowhere, as written.
        found = await registry.preview(body, key)
        return PreviewReply(**found.model_dump())

    @router.post("", status_code=201, summary="Start the strategy of a preview", openapi_extra=_CONFIRM_BODY)
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
        backing.refuse_until_caught_up()
        return strategy_detail(known(strategy_id), views)

    @router.post("/{strategy_id}/stop", summary="Sell all, return the money to the wallet, close")
    async def stop(strategy_id: str, key: Key) -> StrategyDetailReply:
        if not is_strategy_id(strategy_id):
            raise NotFoundError(f"there is no strategy {strategy_id[:80]}")
        changed = await registry.stop(strategy_id, key)
        backing.learn(changed)
        return strategy_detail(changed, views)

    @router.get("/{strategy_id}/decisions", summary="Why it did or did not trade, newest first")
    async def decisions(strategy_id: str, limit: DecisionsLimit = 50, at: Moment = "") -> DecisionsReply:
        backing.refuse_until_caught_up()
        known(strategy_id)
        return await _decisions(backing, strategy_id, at, limit)

    return router


async def _decisions(backing: Backing, strategy_id: str, at: str, limit: int) -> DecisionsReply:
    if at:
        found = (await backing.decisions.at(strategy_id, moment_in(at)))[:limit]
    else:
        found = await backing.decisions.newest(strategy_id, limit)
    return DecisionsReply(strategy_id=strategy_id, decisions=[_decision(one) for one in found])


def _decision(recorded: DecisionRecorded) -> DecisionReply:
    sentence = explain(recorded.code, recorded.inputs)
    return DecisionReply(**recorded.model_dump(exclude={"strategy_id"}), sentence=sentence)
