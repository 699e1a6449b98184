"""What fees in a third asset may take: neither what is bought nor what is paid with, as in a discount for paying in the
venue's own coin. Pure.

The venue takes such a fee from what the account has free of that asset while orders of the same phase trade. A sale of
that asset must therefore leave what the others may cost, or the venue refuses it for want of a balance. For its own fee
nothing is left: an order that finds nothing free pays from what it receives.

    fee <= worth * f / p * (1 + room),  f: taker fee, p: bid of the fee's asset, without any discount
"""

from collections.abc import Collection
from dataclasses import replace
from decimal import Decimal

from shared.core.legs import PlanningInput, least_quantity
from shared.core.matching import BPS, Side
from shared.core.money import ONE, ZERO, ceil_to_step, exact, floor_to_step
from shared.core.planning import OrderDraft, Sizing

ROOM_BPS = Decimal(200)
"""How much dearer the asset that is traded may get, and how much cheaper that of the fee, before an order trades."""
_SMALLEST_AMOUNT = Decimal("1e-18")


@exact
def worst_fee(worth: Decimal, taker_fee: Decimal, price: Decimal) -> Decimal:
    """At most this much is taken for an order worth ``worth``, in the asset that has ``price``; rounded up to 18
    decimals. Both in the same currency, ``taker_fee`` a fraction.
    """
    return ceil_to_step(worth * taker_fee / price * (ONE + ROOM_BPS / BPS), _SMALLEST_AMOUNT)


@exact
def keep_fees(sizing: Sizing, planning: PlanningInput, in_vain: Collection[str] = ()) -> Sizing:
    """The sales of a phase, with that of ``planning.fee_asset`` small enough to leave what the others may cost.

    ``in_vain``: assets whose sale was tried before and brought nothing; it may never trade, so nothing is kept for it.
    What is left too small to sell is noted as "below_minimum:<asset>"; the fees once known, it can be sold after.
    """
    own = next((draft for draft in sizing.drafts if draft.asset == planning.fee_asset), None)
    if own is None or own.side is not Side.SELL:
        return sizing
    instrument, price = planning.instruments[own.asset], planning.quotes[own.asset].bid
    others = [draft for draft in sizing.drafts if draft is not own]
    fees = sum((_fee_of(planning, draft, price) for draft in others if draft.asset not in in_vain), ZERO)
    most = floor_to_step(max(ZERO, planning.holdings[own.asset] - fees), instrument.lot_step)
    if own.quantity <= most:
        return sizing
    if most < least_quantity(instrument, min(own.limit_price, price)):
        return Sizing(tuple(others), (*sizing.dropped, f"below_minimum:{own.asset}"))
    smaller = replace(own, quantity=most, value=most * price)
    return replace(sizing, drafts=tuple(smaller if draft is own else draft for draft in sizing.drafts))


def _fee_of(planning: PlanningInput, draft: OrderDraft, price: Decimal) -> Decimal:
    worth = max(draft.value, draft.quantity * draft.limit_price)
    return worst_fee(worth, planning.instruments[draft.asset].taker_fee, price)
