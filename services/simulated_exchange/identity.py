"""Rule sets for client order ids: what "the same id again" means at different venues.

Sources: Binance spot "New order" (newClientOrderId is unique among open orders); Kraken "Client order identifiers"
(cl_ord_id is unique among a client's open orders); OKX error 51016 (clOrdId duplicated; taken here as for ever, the
strictest reading). Ages are in market time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from services.simulated_exchange.orders import NewOrder, Order

_FOR_EVER = None
_DAY_MS = 86_400_000


class IdentityName(StrEnum):
    """Names of the rule sets."""

    BINANCE = "binance"
    KRAKEN = "kraken"
    OKX = "okx"
    DAY = "24h"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class IdentityRules:
    """``refuses_open``: an id of an open order is refused, in the same pair only where ``within_pair``.

    ``remembers``: ids of orders of any state and pair are refused too. ``remembers_ms``: up to that age of the order;
    None: for ever. ``queryable``: an order may be asked for and cancelled by its client id.
    """

    refuses_open: bool
    within_pair: bool = False
    remembers: bool = False
    remembers_ms: int | None = _FOR_EVER
    queryable: bool = True


RULE_SETS = {
    IdentityName.BINANCE: IdentityRules(refuses_open=True, within_pair=True),
    IdentityName.KRAKEN: IdentityRules(refuses_open=True),
    IdentityName.OKX: IdentityRules(refuses_open=True, remembers=True),
    IdentityName.DAY: IdentityRules(refuses_open=True, remembers=True, remembers_ms=_DAY_MS),
    IdentityName.NONE: IdentityRules(refuses_open=False, queryable=False),
}


def is_duplicate(
    rules: IdentityRules, new: NewOrder, open_orders: list[Order], latest: Callable[[], Order | None], now_ms: int
) -> bool:
    """Whether an id counts as used: by one of the account's open orders, or by the latest order that had it."""
    if not rules.refuses_open:
        return False
    for order in open_orders:
        same_place = not rules.within_pair or order.symbol == new.symbol
        if same_place and order.client_order_id == new.client_order_id:
            return True
    if not rules.remembers:
        return False
    last = latest()
    return last is not None and (rules.remembers_ms is None or now_ms - last.created_ms < rules.remembers_ms)
