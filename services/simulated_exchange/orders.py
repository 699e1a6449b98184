"""Orders, trades and what happened to them: the venue's own words, independent of any dialect."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from services.simulated_exchange.accounts import Balance
from shared.core.matching import Side
from shared.core.money import ZERO


class OrderType(StrEnum):
    """Kinds of orders, as Binance spells them."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    LIMIT_MAKER = "LIMIT_MAKER"


class TimeInForce(StrEnum):
    """Good till cancelled, immediate or cancel, fill or kill."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"


class OrderStatus(StrEnum):
    """State of an order, as Binance spells it."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"


OPEN_STATUSES = (OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED)


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order as asked for. Exactly one of ``quantity`` (base) and ``quote_quantity`` is set; market: no price."""

    symbol: str
    client_order_id: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: Decimal | None = None
    quote_quantity: Decimal | None = None
    price: Decimal | None = None


@dataclass(slots=True)
class Order:
    """An accepted order. Amounts in base (``quantity``, ``executed``) and quote; times in market milliseconds."""

    order_id: int
    account_id: int
    symbol: str
    client_order_id: str
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    created_ms: int
    updated_ms: int
    status: OrderStatus = OrderStatus.NEW
    executed: Decimal = ZERO
    quote_executed: Decimal = ZERO

    @property
    def is_open(self) -> bool:
        """Whether it still rests in the book."""
        return self.status in OPEN_STATUSES

    @property
    def remaining(self) -> Decimal:
        """Base quantity not traded yet."""
        return self.quantity - self.executed


@dataclass(frozen=True, slots=True)
class Trade:
    """One fill of one order. ``trade_id`` increases per symbol and is never given twice."""

    trade_id: int
    account_id: int
    symbol: str
    order_id: int
    side: Side
    price: Decimal
    quantity: Decimal
    quote_quantity: Decimal
    commission: Decimal
    commission_asset: str
    is_maker: bool
    time_ms: int


@dataclass(frozen=True, slots=True)
class Deposit:
    """Money that came in (``amount`` > 0) or went out (< 0), once per ``deposit_id``."""

    deposit_id: str
    account_id: int
    asset: str
    amount: Decimal
    time_ms: int


class Change(StrEnum):
    """What an execution report is about."""

    NEW = "NEW"
    TRADE = "TRADE"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"


@dataclass(frozen=True, slots=True)
class OrderReported:
    """An order changed: ``order`` is a copy as of this change; ``cancel_id`` is the canceller's client id."""

    order: Order
    change: Change
    trade: Trade | None = None
    cancel_id: str = ""


@dataclass(frozen=True, slots=True)
class BalancesChanged:
    """Balances of some assets of an account changed to these."""

    account_id: int
    balances: Mapping[str, Balance]


@dataclass(frozen=True, slots=True)
class Deposited:
    """A deposit was credited, or a withdrawal paid out."""

    deposit: Deposit


@dataclass(frozen=True, slots=True)
class RowBecameCurrent:
    """The market moved to a row: ``symbols`` have a new price, in the order to be told."""

    row: int
    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MarketStoodStill:
    """Nothing moved for a while; current quotes are worth repeating. Market time has not changed."""


VenueEvent = OrderReported | BalancesChanged | Deposited | RowBecameCurrent | MarketStoodStill


class Cause(StrEnum):
    """Why the venue says no."""

    UNKNOWN_SYMBOL = "unknown symbol"
    UNKNOWN_ASSET = "unknown asset"
    MARKET_CLOSED = "market is closed"
    FILTER = "filter failure"
    DUPLICATE_ORDER = "duplicate order"
    INSUFFICIENT_BALANCE = "insufficient balance"
    WOULD_TAKE = "would take"
    UNKNOWN_ORDER = "unknown order"


class VenueRefusal(Exception):  # noqa: N818 - a refusal is an answer, not a failure
    """The venue's answer is no; nothing changed. ``detail`` is the filter's name or the offending value."""

    def __init__(self, cause: Cause, detail: str = "") -> None:
        super().__init__(f"{cause}: {detail}" if detail else str(cause))
        self.cause = cause
        self.detail = detail
