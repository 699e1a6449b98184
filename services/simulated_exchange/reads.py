"""What an account is shown of itself: its orders, trades and balances, as they were a while ago where there is a lag.

Matching, cancelling and the control API know the present; only reading lags.
"""

import copy
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

from services.simulated_exchange.accounts import Account, Balance
from services.simulated_exchange.identity import RULE_SETS
from services.simulated_exchange.orders import (
    BalancesChanged,
    Cause,
    Order,
    OrderReported,
    Trade,
    VenueEvent,
    VenueRefusal,
)
from services.simulated_exchange.venue import Venue

Clock = Callable[[], int]


def monotonic_ms() -> int:
    """Milliseconds of a clock that never steps."""
    return time.monotonic_ns() // 1_000_000


class Reads:
    """Told of the venue's events, it remembers how things were for as long as they are to be shown so."""

    def __init__(self, venue: Venue, clock: Clock = monotonic_ms) -> None:
        self._venue = venue
        self._clock = clock
        self._open: dict[int, Order] = {}
        for account in venue.accounts.values():
            self._open |= {order.order_id: copy.copy(order) for order in venue.open_orders(account)}
        self._orders: dict[int, list[tuple[int, Order | None]]] = {}
        self._trades: dict[tuple[str, int], int] = {}
        self._shown = {number: account.copied_balances(account.balances) for number, account in venue.accounts.items()}
        self._changes: dict[int, deque[tuple[int, Mapping[str, Balance]]]] = {}
        venue.listen(self.tell)

    def tell(self, events: Sequence[VenueEvent]) -> None:
        """Take in what happened."""
        now = self._clock()
        for event in events:
            if isinstance(event, OrderReported):
                self._remember(event, now)
            elif isinstance(event, BalancesChanged):
                self._changes.setdefault(event.account_id, deque()).append((now, event.balances))
                self._settle(event.account_id)
        self._forget(now)

    # -- orders ---------------------------------------------------------------------------------------------------

    def find_order(self, account: Account, symbol: str, order_id: int | None, client_order_id: str) -> Order:
        """An order by id, else the newest one shown with a client id. Raises VenueRefusal."""
        if order_id is not None or RULE_SETS[self._venue.conditions.identity].queryable:
            for order in self._venue.matching_orders(account, symbol, order_id, client_order_id):
                shown = self._as_shown(order)
                if shown is not None:
                    return shown
        raise VenueRefusal(Cause.UNKNOWN_ORDER, client_order_id or str(order_id))

    def orders(self, account: Account, symbol: str) -> Iterator[Order]:
        """All orders of an account in a pair, newest first."""
        shown = (self._as_shown(order) for order in self._venue.orders(account, symbol))
        return (order for order in shown if order is not None)

    def open_orders(self, account: Account, symbol: str | None = None) -> list[Order]:
        """Resting orders of an account, oldest first."""
        candidates = {order.order_id: order for order in self._venue.open_orders(account, symbol)}
        for history in self._orders.values():
            latest = history[-1][1]
            assert latest is not None  # noqa: S101 - only the first entry may stand for "not there yet"
            if latest.account_id == account.account_id and symbol in {None, latest.symbol}:
                candidates[latest.order_id] = latest
        shown = (self._as_shown(candidates[number]) for number in sorted(candidates))
        return [order for order in shown if order is not None and order.is_open]

    def trades(self, account: Account, symbol: str, from_id: int | None = None) -> Iterator[Trade]:
        """Trades of an account in a pair: newest first, or oldest first from a trade id on."""
        horizon = self._clock() - self._venue.conditions.read_lag_ms
        for trade in self._venue.trades(account, symbol, from_id):
            if self._trades.get((symbol, trade.trade_id), horizon) <= horizon:
                yield trade

    def _as_shown(self, order: Order) -> Order | None:
        """An order as it was a lag ago; None when it was not there."""
        history = self._orders.get(order.order_id)
        if history is None:
            return order
        horizon = self._clock() - self._venue.conditions.read_lag_ms
        shown = history[0][1]
        for at, state in history[1:]:
            if at <= horizon:
                shown = state
        return shown

    def _remember(self, event: OrderReported, now: int) -> None:
        order = event.order
        before = self._open.pop(order.order_id, None)
        if order.is_open:
            self._open[order.order_id] = order
        if self._venue.conditions.read_lag_ms:
            self._orders.setdefault(order.order_id, [(now, before)]).append((now, order))
            if event.trade is not None:
                self._trades[order.symbol, event.trade.trade_id] = now

    def _forget(self, now: int) -> None:
        horizon = now - self._venue.conditions.read_lag_ms
        for number in [number for number, history in self._orders.items() if history[-1][0] <= horizon]:
            del self._orders[number]
        for key in [key for key, at in self._trades.items() if at <= horizon]:
            del self._trades[key]

    # -- balances -------------------------------------------------------------------------------------------------

    def balances(self, account: Account) -> Mapping[str, Balance]:
        """Balances of an account by asset."""
        self._settle(account.account_id)
        return self._shown.get(account.account_id, {})

    def _settle(self, account_id: int) -> None:
        """Show what is old enough to be shown."""
        horizon = self._clock() - self._venue.conditions.balance_lag_ms
        changes = self._changes.get(account_id, deque())
        while changes and changes[0][0] <= horizon:
            self._shown.setdefault(account_id, {}).update(changes.popleft()[1])
