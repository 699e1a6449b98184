"""Life of one order intent: states, legal transitions as a table, and the state that evidence from a venue leads to.

An intent is committed before anything is sent, so "intended" found after a restart means "perhaps sent". Unknown is not
failed: only the venue's own word, or proven absence, ends an order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType


class OrderState(StrEnum):
    """Where an intent stands."""

    INTENDED = "intended"
    """Committed; about to be sent by the process that committed it."""
    WITHHELD = "withheld"
    """Never sent: a guard refused it right before sending (deadline, lease, expiry). The sender itself knows."""
    UNKNOWN = "unknown"
    """Perhaps sent, outcome not known."""
    OPEN = "open"
    """The venue has it and may still fill it."""
    FILLED = "filled"
    """All of it traded."""
    PARTIALLY_FILLED = "partially_filled"
    """Some of it traded, the rest has ended."""
    UNFILLED = "unfilled"
    """Ended at the venue (cancelled, expired) without a trade."""
    REJECTED = "rejected"
    """The venue definitively refused it."""
    ABSENT = "absent"
    """Proven never to have reached the venue's books."""


_S = OrderState
_ENDS = frozenset({_S.FILLED, _S.PARTIALLY_FILLED, _S.UNFILLED})

ORDER_TRANSITIONS: Mapping[OrderState, frozenset[OrderState]] = MappingProxyType(
    {
        _S.INTENDED: _ENDS | {_S.WITHHELD, _S.UNKNOWN, _S.OPEN, _S.REJECTED},
        _S.UNKNOWN: _ENDS | {_S.OPEN, _S.REJECTED, _S.ABSENT},
        _S.OPEN: _ENDS | {_S.UNKNOWN},
        # What follows an end is the venue's later word: a late fill is booked whatever was believed before.
        _S.PARTIALLY_FILLED: frozenset({_S.FILLED}),
        _S.UNFILLED: frozenset({_S.PARTIALLY_FILLED, _S.FILLED}),
        _S.REJECTED: _ENDS | {_S.UNKNOWN, _S.OPEN},
        _S.ABSENT: _ENDS | {_S.UNKNOWN, _S.OPEN},
        _S.FILLED: frozenset(),
        _S.WITHHELD: frozenset(),
    }
)

UNSETTLED: frozenset[OrderState] = frozenset({_S.INTENDED, _S.UNKNOWN, _S.OPEN})
"""States in which money may still move: the next phase of a plan must wait for them to end."""


@dataclass(frozen=True, slots=True)
class VenueReport:
    """What a venue says of an order: whether it may still trade, how much has, and whether it was refused."""

    is_open: bool
    executed_quantity: Decimal
    is_rejected: bool = False


def may_become(current: OrderState, to: OrderState) -> bool:
    """Whether the step is in ``ORDER_TRANSITIONS``; staying is always allowed."""
    return to is current or to in ORDER_TRANSITIONS[current]


def reported_state(quantity: Decimal, booked_quantity: Decimal, report: VenueReport) -> OrderState:
    """The state a venue's report leads to, given the quantity of its fills that are booked.

    While fills are missing (executed > booked) the order cannot end: it stays open or unknown until they are fetched.
    More booked than reported is a stale or lagging report: what is booked counts.
    """
    executed = max(report.executed_quantity, booked_quantity)
    if executed >= quantity:
        return _S.FILLED if booked_quantity >= quantity else _S.UNKNOWN
    if report.is_open:
        return _S.OPEN
    if booked_quantity < executed:
        return _S.UNKNOWN
    if executed > 0:
        return _S.PARTIALLY_FILLED
    return _S.REJECTED if report.is_rejected else _S.UNFILLED


def state_after_fill(current: OrderState, quantity: Decimal, booked_quantity: Decimal) -> OrderState:
    """The state after a fill was booked without any word on the order itself.

    All filled: filled. Else an unsettled order stays as it is, and an end that claimed fewer fills is corrected.
    """
    if booked_quantity >= quantity:
        return _S.FILLED if may_become(current, _S.FILLED) else current
    if booked_quantity > 0 and current in {_S.UNFILLED, _S.REJECTED, _S.ABSENT}:
        return _S.PARTIALLY_FILLED
    return current
