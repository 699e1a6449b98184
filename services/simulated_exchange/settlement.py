"""Turning fills into trades and balances of an account. Memory only: the caller saves what it returns."""

from dataclasses import dataclass
from decimal import Decimal

from services.simulated_exchange.accounts import Account
from services.simulated_exchange.conditions import FeeFrom
from services.simulated_exchange.listing import Listing, PublicTrade
from services.simulated_exchange.orders import Order, OrderStatus, OrderType, Trade
from shared.core.market import Instrument
from shared.core.matching import Commission, Fill, Side, balance_changes, commission_on, discounted_commission
from shared.core.money import MONEY_CONTEXT, ZERO


@dataclass(frozen=True, slots=True)
class Fees:
    """Commission by role, in basis points of what is received; less where it is paid in ``discount_asset``."""

    maker_bps: Decimal
    taker_bps: Decimal
    discount_asset: str = ""
    discount_pct: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Charge:
    """How a fill is charged: its fee, the price of the discount asset where the account pays in that (else 0), and
    what it is taken from otherwise."""

    fee_bps: Decimal
    fees: Fees
    discount_price: Decimal = ZERO
    fee_from: FeeFrom = "received"


def locks_balance(order: Order) -> bool:
    """Whether an order holds balance while it is open: every order with a price does."""
    return order.order_type is not OrderType.MARKET


def locked_amount(order: Order, quantity: Decimal, instrument: Instrument) -> tuple[str, Decimal]:
    """Asset and amount that back ``quantity`` of a limit order: quote at its limit for a buy, base for a sell."""
    if order.side is Side.BUY:
        return instrument.quote, MONEY_CONTEXT.multiply(order.price, quantity)
    return instrument.base, quantity


def _commission(account: Account, order: Order, instrument: Instrument, fill: Fill, charge: Charge) -> Commission:
    """From where the charge says while there is enough of it, the fill itself included; else from what is received."""
    fees, received = charge.fees, commission_on(fill, order.side, instrument, charge.fee_bps)
    if charge.discount_price:
        asset = fees.discount_asset
        wanted = discounted_commission(fill, charge.fee_bps, asset, charge.discount_price, fees.discount_pct)
    elif charge.fee_from == "received":
        return received
    else:
        receiver = Side.BUY if charge.fee_from == "base" else Side.SELL
        wanted = commission_on(fill, receiver, instrument, charge.fee_bps)
    change = balance_changes(fill, order.side, instrument, Commission(wanted.asset, ZERO))[wanted.asset]
    return wanted if MONEY_CONTEXT.add(account.free(wanted.asset), change) >= wanted.amount else received


def settle_fill(account: Account, order: Order, listing: Listing, fill: Fill, charge: Charge, *, maker: bool) -> Trade:
    """Book one fill on order and account at the listing's market time; what it locked is released first."""
    instrument = listing.instrument
    if locks_balance(order):
        asset, amount = locked_amount(order, fill.quantity, instrument)
        account.lock(asset, -amount)
    commission = _commission(account, order, instrument, fill, charge)
    for asset, change in balance_changes(fill, order.side, instrument, commission).items():
        account.add_free(asset, change)
    value = MONEY_CONTEXT.multiply(fill.price, fill.quantity)
    order.executed = MONEY_CONTEXT.add(order.executed, fill.quantity)
    order.quote_executed = MONEY_CONTEXT.add(order.quote_executed, value)
    order.status = OrderStatus.PARTIALLY_FILLED if order.executed < order.quantity else OrderStatus.FILLED
    trade = Trade(
        trade_id=listing.next_trade_id(),
        account_id=account.account_id,
        symbol=order.symbol,
        order_id=order.order_id,
        side=order.side,
        price=fill.price,
        quantity=fill.quantity,
        quote_quantity=value,
        commission=commission.amount,
        commission_asset=commission.asset,
        is_maker=maker,
        time_ms=order.updated_ms,
    )
    buyer_is_maker = maker if order.side is Side.BUY else not maker
    listing.recent.append(PublicTrade(trade.trade_id, fill.price, fill.quantity, trade.time_ms, buyer_is_maker))
    return trade
