"""What a strategy's style makes of the next phase of a plan: its orders and their kind, or how long to wait. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from services.order_executor.records import OrderRecord, PlanRecord
from shared.core.matching import Book
from shared.core.order_styles import DEFAULT_STYLING, OrderKind, OrderStyle, Styling
from shared.core.planning import OrderDraft, PlanningInput, Sizing
from shared.core.situation import EXIT
from shared.core.styled_orders import (
    Resting,
    Slicing,
    Vicinity,
    at_own_side,
    at_the_touch,
    may_rest,
    sliced,
    why_ended,
)


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is to be sent before ``until`` (wall clock)."""

    until: datetime


@dataclass(frozen=True, slots=True)
class Phase:
    """Orders that go out together, all on one side. ``is_sliced``: some of them are parts of larger ones."""

    drafts: tuple[OrderDraft, ...]
    kind: OrderKind = OrderKind.IOC
    is_sliced: bool = False


@dataclass(frozen=True, slots=True)
class Occasion:
    """When and where a phase is to go out. ``kinds``: what the venue takes; ``books``: as far as they are known."""

    now: datetime
    kinds: frozenset[OrderKind]
    cycle: int
    books: Mapping[str, Book | None] = field(default_factory=dict)


def styling_of(record: PlanRecord) -> Styling:
    """The style in force: the default once somebody waits for the plan's end (a hold, a seal); an exit never rests."""
    styling = record.plan.styling
    if record.hurried or (styling.style is OrderStyle.MAKER and record.plan.kind == EXIT):
        return DEFAULT_STYLING
    return styling


def styled(
    record: PlanRecord,
    planning: PlanningInput,
    default: Sizing,
    resize: Callable[[PlanningInput], Sizing],
    occasion: Occasion,
) -> Phase | Wait:
    """The phase that the style makes of ``default`` (not empty); ``resize`` sizes the same side by another input.

    A style that the venue does not offer, or that sizes to nothing, leaves the default as it is.
    """
    styling, side = styling_of(record), default.drafts[0].side
    otherwise = Phase(default.drafts)
    if styling.style is OrderStyle.MARKET and OrderKind.MARKET in occasion.kinds:
        drafts = resize(at_the_touch(planning)).drafts
        return Phase(drafts, OrderKind.MARKET) if drafts else otherwise
    if styling.style is OrderStyle.MAKER and OrderKind.MAKER in occasion.kinds:
        rested = [resting(order) for order in record.orders if order.kind is OrderKind.MAKER]
        if not may_rest(styling, side, rested, occasion.now):
            return otherwise
        drafts = resize(at_own_side(planning, side)).drafts
        return Phase(drafts, OrderKind.MAKER) if drafts else otherwise
    if styling.style is OrderStyle.TWAP:
        return _slices(record, planning, default, styling, occasion)
    return otherwise


def _slices(
    record: PlanRecord, planning: PlanningInput, default: Sizing, styling: Styling, occasion: Occasion
) -> Phase | Wait:
    sizing = record.sizing
    slicing = Slicing(occasion.cycle, sizing.sliced_at if sizing is not None else None, occasion.books)
    due = slicing.due_at(styling.every)
    # The purchases of a cycle go out with its sales: they are paid by them.
    if due is not None and sizing is not None and occasion.cycle > sizing.cycle and occasion.now < due:
        return Wait(due)
    drafts = tuple(sliced(draft, planning.instruments[draft.asset], styling, slicing) for draft in default.drafts)
    return Phase(drafts, is_sliced=drafts != default.drafts)


def resting(order: OrderRecord) -> Resting:
    """What the core needs of a maker order."""
    return Resting(order.side, order.limit_price, order.send_deadline, order.epoch)


def why_cancelled(order: OrderRecord, record: PlanRecord, vicinity: Vicinity) -> str:
    """Why a resting order of the plan is to be cancelled now, "" while it may stay."""
    styling = styling_of(record)
    if styling.style is not OrderStyle.MAKER:
        return vicinity.ending or "the plan is waited for"
    rested = [resting(other) for other in record.orders if other.kind is OrderKind.MAKER]
    sent = [other.sent_at for other in rested if other.side is order.side]
    return why_ended(resting(order), styling, min(sent), vicinity)
