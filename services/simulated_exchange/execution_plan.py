"""What an order would do to the book as it stands, before anything is booked."""

from dataclasses import dataclass
from decimal import Decimal

from services.simulated_exchange.listing import Listing
from services.simulated_exchange.orders import Cause, NewOrder, OrderType, TimeInForce, VenueRefusal
from shared.core.matching import BPS, Fill, Side, fills_for_quantity, fills_for_quote, notional
from shared.core.money import MONEY_CONTEXT, ZERO


@dataclass(frozen=True, slots=True)
class Planned:
    """Fills in order; ``quantity`` of the order in base; whether the rest stays; asset and free amount needed."""

    fills: tuple[Fill, ...]
    quantity: Decimal
    rests: bool
    needed: tuple[str, Decimal]


def plan_fills(new: NewOrder, listing: Listing, on_top_bps: Decimal = ZERO) -> Planned:
    """Walk the book for an order that passed the filters.

    A quote quantity too small for one lot step is refused as LOT_SIZE (VenueRefusal); a fill-or-kill order that
    cannot be met in full gets no fill. ``on_top_bps``: commission that comes on top of what is spent.
    """
    levels = listing.book().against(new.side)
    if new.quantity is None:
        fills = fills_for_quote(levels, new.quote_quantity or ZERO, listing.instrument.lot_step)
        if not fills:
            raise VenueRefusal(Cause.FILTER, "LOT_SIZE")
        quantity = sum((fill.quantity for fill in fills), ZERO)
    else:
        quantity = new.quantity
        fills = fills_for_quantity(new.side, levels, quantity, new.price)
    if new.time_in_force is TimeInForce.FOK and sum((fill.quantity for fill in fills), ZERO) < quantity:
        fills = ()
    rests = new.order_type is not OrderType.MARKET and new.time_in_force is TimeInForce.GTC
    asset, spent = _needed(new, listing, fills, quantity)
    return Planned(fills, quantity, rests, (asset, MONEY_CONTEXT.multiply(spent, 1 + on_top_bps / BPS)))


def _needed(new: NewOrder, listing: Listing, fills: tuple[Fill, ...], quantity: Decimal) -> tuple[str, Decimal]:
    instrument = listing.instrument
    if new.side is Side.SELL:
        return instrument.base, quantity
    if new.price is not None:
        return instrument.quote, MONEY_CONTEXT.multiply(new.price, quantity)
    return instrument.quote, notional(fills)
