"""Orders and fills, as the executor recorded them."""

from typing import ClassVar

from shared.contracts.wire import Amount, Message, Timestamp
from shared.core.money import ONE


class OrderChanged(Message):
    """An order intent's full state after a change; ``state`` is one of ``shared.core.orders.OrderState``.

    ``kind``: "ioc", "market" (``limit_price`` is then the touch it was sized at) or "maker". An order on a direct pair
    says in ``detail`` what its route costs, and what the one through the quote currency would. ``version`` counts the
    order's changes from 1 (0: told before changes were counted). ``may_take``: what it may take at most of what the
    strategy holds, by asset, fees as far as they are known; told with the intent only, and never changes.
    """

    TYPE: ClassVar[str] = "trimtab.order.changed"

    client_order_id: str
    plan_id: str
    strategy_id: str
    venue: str
    symbol: str
    side: str
    quantity: Amount
    limit_price: Amount
    state: str
    filled_quantity: Amount
    venue_order_id: str = ""
    detail: str = ""
    kind: str = "ioc"
    version: int = 0
    may_take: dict[str, Amount] = {}


class OrderFilled(Message):
    """One trade at the venue. ``trade_id`` is unique at the venue: "<symbol>:<venue's trade id>".

    ``quantity`` in ``base``, ``quote_quantity`` in ``quote`` (exactly what the venue booked), ``fee`` in ``fee_asset``.
    ``fill_number``: the strategy's fills counted from 1, in the order the executor booked them.
    On a direct pair ``valued_in`` names the currency that the strategy is measured in, and ``quote_price`` is what one
    unit of ``quote`` was worth in it when the order was made; else "" and 1.
    """

    TYPE: ClassVar[str] = "trimtab.order.filled"

    trade_id: str
    fill_number: int
    client_order_id: str
    plan_id: str
    strategy_id: str
    venue: str
    symbol: str
    base: str
    quote: str
    side: str
    quantity: Amount
    price: Amount
    quote_quantity: Amount
    fee: Amount
    fee_asset: str
    market_time: Timestamp
    received_at: Timestamp
    valued_in: str = ""
    quote_price: Amount = ONE

    @property
    def measure(self) -> str:
        """The currency that the strategy is measured in."""
        return self.valued_in or self.quote


class DepositObserved(Message):
    """Money that arrived in the venue account from outside (or was there at the first connection)."""

    TYPE: ClassVar[str] = "trimtab.deposit.observed"

    deposit_id: str
    venue: str
    asset: str
    amount: Amount
    market_time: Timestamp
