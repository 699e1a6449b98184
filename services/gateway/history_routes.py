"""What a strategy was, is and will be: versions, its file, the dates of Auto-Invest; and what people should hear of."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from services.gateway.backing import Backing
from services.gateway.bodies import Body, is_strategy_id
from services.gateway.history_replies import (
    CalendarReply,
    FieldChangeReply,
    NotificationReply,
    NotificationsReply,
    VersionReply,
    VersionsReply,
)
from services.gateway.invest_calendar import calendar_of, remarks_on
from services.gateway.lifecycle_bodies import DEFAULT_DATES, MAX_DATES, calendar_in
from services.gateway.lifecycle_routes import refuse_other_ids
from services.gateway.request_schemas import calendar_body
from services.gateway.reviews import market_time_of
from services.gateway.strategy_file import MEDIA_TYPES, file_text, wanted_format
from services.gateway.wording import change_sentence
from shared.contracts.lifecycle import NotificationRaised, VersionKept
from shared.contracts.strategies import StrategyChanged
from shared.contracts.wire import Meta
from shared.core.auto_invest import AutoInvest, AutoInvestStatus
from shared.core.auto_invest_documents import parse_auto_invest
from shared.core.errors import Refused
from shared.core.strategy import StrategyStatus, strategy_document

MAX_NOTIFICATIONS = 500
MAX_VERSIONS = 200

_ENDED = frozenset({StrategyStatus.EXITING, StrategyStatus.CLOSED, StrategyStatus.REFUSED, StrategyStatus.FAILED})
_FILE_RESPONSES: dict[int | str, dict[str, object]] = {
    200: {
        "description": "The strategy file: `trimtab strategy import` and POST /strategies/preview take it back.",
        "content": {
            MEDIA_TYPES["yaml"]: {"schema": {"type": "string"}},
            MEDIA_TYPES["json"]: {"schema": {"type": "object"}},
        },
    }
}
Count = Annotated[int, Query(ge=1, le=MAX_DATES, description="How many dates.")]
Limit = Annotated[int, Query(ge=1, le=MAX_NOTIFICATIONS)]


def history_routes(backing: Backing) -> APIRouter:
    """The routes below /strategies, answering from ``backing``."""
    router = APIRouter(prefix="/strategies", tags=["strategies"])

    @router.post("/calendar", summary="Dates of an Auto-Invest", openapi_extra=calendar_body(backing.max_assets))
    async def calendar(body: Body) -> CalendarReply:
        wanted = calendar_in(body)
        auto_invest = parse_auto_invest(wanted.auto_invest, "USDT")
        since = wanted.since or datetime.now(UTC)
        if auto_invest is None:
            return CalendarReply(since=since, dates=[], remarks=["It has no Auto-Invest."])
        return _calendar(auto_invest, since, since, wanted.count)

    @router.get("/{strategy_id}/versions", summary="Who changed what and when, newest first")
    async def versions(
        strategy_id: str,
        before: Annotated[int, Query(ge=0, description="Only versions below it; 0: from the newest.")] = 0,
        limit: Annotated[int, Query(ge=1, le=MAX_VERSIONS)] = 50,
    ) -> VersionsReply:
        refuse_other_ids(strategy_id)
        found = await backing.registry.versions(strategy_id, before, limit)
        kept = [_version(one) for one in found.versions]
        return VersionsReply(strategy_id=strategy_id, versions=kept, next=found.following)

    @router.get(
        "/{strategy_id}/file",
        summary="Its strategy file, as YAML or JSON",
        response_class=Response,
        responses=_FILE_RESPONSES,
    )
    async def file(
        strategy_id: str,
        format: Annotated[str, Query(description="yaml or json; goes before Accept.")] = "",  # noqa: A002
        accept: Annotated[str, Header(max_length=1000)] = "",
    ) -> Response:
        strategy = backing.known(strategy_id)
        form = wanted_format(format, accept)
        # In the order of a strategy file, whatever the order in which it was stored.
        document = strategy_document(strategy.definition())
        text = file_text(document, form, f"revision {strategy.revision} of {strategy.strategy_id}")
        headers = {"Content-Disposition": f'attachment; filename="{strategy.strategy_id}.{form}"', "Vary": "Accept"}
        return Response(text, media_type=MEDIA_TYPES[form], headers=headers)

    @router.get("/{strategy_id}/calendar", summary="The next dates of its Auto-Invest")
    async def dates(strategy_id: str, count: Count = DEFAULT_DATES) -> CalendarReply:
        return _calendar_of(backing.known(strategy_id), backing, count)

    return router


def notification_routes(backing: Backing) -> APIRouter:
    """The route /notifications, answering from ``backing``."""
    router = APIRouter(prefix="/notifications", tags=["notifications"])

    @router.get("", summary="What people should hear of, newest first")
    async def notifications(
        strategy: Annotated[str, Query(description="Only of this strategy.")] = "", limit: Limit = 50
    ) -> NotificationsReply:
        if strategy and not is_strategy_id(strategy):
            raise Refused.one("strategy", strategy, "the id of a strategy", "is not the id of a strategy")
        found = await backing.notifications.newest(strategy, limit)
        return NotificationsReply(notifications=[_notification(raised, meta, backing) for raised, meta in found])

    return router


def _calendar(auto_invest: AutoInvest, since: datetime, after: datetime, count: int) -> CalendarReply:
    schedule = auto_invest.schedule
    found = calendar_of(schedule, since, after, count) if schedule is not None else []
    remarks = remarks_on(schedule, has_drawdown=auto_invest.drawdown is not None)
    return CalendarReply(since=since, dates=found, remarks=remarks)


def _calendar_of(strategy: StrategyChanged, backing: Backing, count: int) -> CalendarReply:
    """From where its Auto-Invest stands; of one that has not begun, as if it began now."""
    definition, progress = strategy.definition(), strategy.auto_invest
    now = market_time_of(definition.venue, backing.views) or datetime.now(UTC)
    since = progress.since if progress is not None else now
    if definition.auto_invest is None:
        return CalendarReply(since=since, dates=[], remarks=["It has no Auto-Invest."])
    if strategy.status in _ENDED:
        return CalendarReply(since=since, dates=[], remarks=[f"It is {strategy.status.value}: no cycle will come."])
    after = max(filter(None, (now, progress.settled_until if progress is not None else None)))
    found = _calendar(definition.auto_invest, since, after, count)
    remarks = list(found.remarks)
    if progress is None:
        remarks.append("It has not begun: dates are as if the strategy became active now.")
    elif progress.status is not AutoInvestStatus.RUNNING:
        remarks.append(f"Auto-Invest is {progress.status.value}: these are the dates if it went on.")
    elif strategy.status is StrategyStatus.PAUSED:
        remarks.append("The strategy is paused: these are the dates if it went on.")
    return found.model_copy(update={"remarks": remarks})


def _version(kept: VersionKept) -> VersionReply:
    state = kept.state
    return VersionReply(
        version=state.version,
        revision=state.revision,
        recorded_at=kept.recorded_at,
        changed_by=state.changed_by,
        change=state.change,
        sentence=change_sentence(state, [one.field for one in kept.fields]),
        status=state.status,
        reason=state.reason,
        exit_reason=state.exit_reason,
        inputs=state.inputs,
        fields=[FieldChangeReply(**one.model_dump()) for one in kept.fields],
        causation_id=kept.causation_id,
    )


def _notification(raised: NotificationRaised, meta: Meta, backing: Backing) -> NotificationReply:
    strategy = backing.views.strategies.get(raised.strategy_id)
    name = str(strategy.document["name"]) if strategy is not None else ""
    return NotificationReply(id=meta.message_id, raised_at=meta.occurred_at, strategy_name=name, **raised.model_dump())
