"""User data: execution reports and balances, pushed to whoever subscribed to the account.

Two ways to subscribe: over the websocket API (events are wrapped with the subscription's id) and by listen key (events
come bare, or with the key as the stream's name on a combined connection).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from services.simulated_exchange.accounts import Account, Balance
from services.simulated_exchange.binance.connection import Connection
from services.simulated_exchange.binance.numbers import text
from services.simulated_exchange.orders import (
    BalancesChanged,
    Change,
    Deposited,
    OrderReported,
    VenueEvent,
)
from services.simulated_exchange.venue import Venue
from shared.core.money import ZERO


@dataclass(frozen=True, slots=True)
class _Subscription:
    connection: Connection
    before: bytes
    after: bytes


class UserStreams:
    """Subscriptions by account."""

    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._by_account: dict[int, list[_Subscription]] = {}

    def subscribe(self, connection: Connection, account: Account, subscription_id: int) -> None:
        """Websocket API: events wrapped as {"subscriptionId": n, "event": {...}}."""
        before = b'{"subscriptionId":%d,"event":' % subscription_id
        self._add(account, _Subscription(connection, before, b"}"))

    def subscribe_key(self, connection: Connection, listen_key: str) -> bool:
        """By listen key. False when no account has it."""
        for account in self._venue.accounts.values():
            if account.listen_key == listen_key:
                wrapped = b'{"stream":"%b","data":' % listen_key.encode() if connection.combined else b""
                self._add(account, _Subscription(connection, wrapped, b"}" if wrapped else b""))
                return True
        return False

    def unsubscribe(self, connection: Connection, subscription_id: int | None) -> None:
        """End one websocket API subscription of a connection, or all of them."""
        prefix = b"" if subscription_id is None else b'{"subscriptionId":%d,' % subscription_id
        for account_id, subscriptions in self._by_account.items():
            self._by_account[account_id] = [
                subscription
                for subscription in subscriptions
                if subscription.connection is not connection or not subscription.before.startswith(prefix)
            ]

    def tell(self, events: Sequence[VenueEvent]) -> None:
        """Send what events mean for the accounts concerned."""
        for event in events:
            if isinstance(event, OrderReported):
                self._send(event.order.account_id, execution_report(event))
            elif isinstance(event, BalancesChanged):
                self._send(event.account_id, account_position(event.balances, self._venue.market_ms))
            elif isinstance(event, Deposited):
                deposit = event.deposit
                update = {
                    "e": "balanceUpdate",
                    "E": deposit.time_ms,
                    "a": deposit.asset,
                    "d": text(deposit.amount),
                    "T": deposit.time_ms,
                }
                self._send(deposit.account_id, update)

    def _add(self, account: Account, subscription: _Subscription) -> None:
        self._by_account.setdefault(account.account_id, []).append(subscription)

    def _send(self, account_id: int, event: dict[str, object]) -> None:
        subscriptions = self._by_account.get(account_id)
        if subscriptions:
            payload = orjson.dumps(event)
            for subscription in subscriptions:
                subscription.connection.send(subscription.before + payload + subscription.after)


def execution_report(event: OrderReported) -> dict[str, object]:
    """executionReport of one change of an order; E and T are market time."""
    order, trade = event.order, event.trade
    time = trade.time_ms if trade else order.updated_ms
    cancelled = event.change is Change.CANCELED
    return {
        "e": "executionReport",
        "E": time,
        "s": order.symbol,
        "c": event.cancel_id if cancelled else order.client_order_id,
        "S": order.side,
        "o": order.order_type,
        "f": order.time_in_force,
        "q": text(order.quantity),
        "p": text(order.price),
        "P": text(ZERO),
        "F": text(ZERO),
        "g": -1,
        "C": order.client_order_id if cancelled else "",
        "x": event.change,
        "X": order.status,
        "r": "NONE",
        "i": order.order_id,
        "l": text(trade.quantity if trade else ZERO),
        "z": text(order.executed),
        "L": text(trade.price if trade else ZERO),
        "n": text(trade.commission) if trade else "0",
        "N": trade.commission_asset if trade else None,
        "T": time,
        "t": trade.trade_id if trade else -1,
        "I": order.order_id,
        "w": order.is_open,
        "m": trade.is_maker if trade else False,
        "M": trade is not None,
        "O": order.created_ms,
        "Z": text(order.quote_executed),
        "Y": text(trade.quote_quantity if trade else ZERO),
        "Q": text(order.quote_quantity),
        "W": order.created_ms,
        "V": "NONE",
    }


def account_position(balances: Mapping[str, Balance], time_ms: int) -> dict[str, object]:
    """outboundAccountPosition with the new balances of some assets."""
    return {
        "e": "outboundAccountPosition",
        "E": time_ms,
        "u": time_ms,
        "B": [{"a": name, "f": text(balance.free), "l": text(balance.locked)} for name, balance in balances.items()],
    }
