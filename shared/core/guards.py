"""Guards right before sending, independent of whatever decided and sized the orders. Pure: tally in, verdict out.

They bound what a mistake can cost: a runaway loop, a wrong unit, a wrong price, a strategy that turns over without end
(Knight Capital, 2012: the limits were not on the way to the market). A guard never makes an order smaller, it withholds
it; several phases in a row with a withheld order mean that something is wrong, and the venue is halted.
"""

from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import TypeGuard

from shared.core.market import Quote
from shared.core.matching import Side
from shared.core.money import ONE, ZERO, exact, plain

SECONDS_KEPT = 60
DAYS_KEPT = 8
_BPS = Decimal(10_000)
_MS = 1000


class Guard(StrEnum):
    """What was exceeded."""

    ORDERS_PER_MINUTE = "orders_per_minute"
    ORDER_NOTIONAL = "order_notional"
    DAY_NOTIONAL = "day_notional"
    PLAN_TURNOVER = "plan_turnover"
    PRICE_AWAY = "price_away"
    NO_QUOTE = "no_quote"


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """What is let through, for one venue account; notionals in its quote currency.

    ``plan_turnover``: what one plan may trade, as a multiple of its portfolio's value. ``price_away_bps``: limit price
    from the touch it takes, in either direction. ``trips_to_halt``: with more phases in a row than this, halt.
    """

    orders_per_minute: int
    order_notional: Decimal
    day_notional: Decimal
    plan_turnover: Decimal
    price_away_bps: Decimal
    trips_to_halt: int


@dataclass(frozen=True, slots=True)
class Valued:
    """How an order on a direct pair is valued: what it takes one unit of the pair's quote asset to be worth in the
    account's quote currency, and the last good quote of that asset now, None without.
    """

    price: Decimal
    quote: Quote | None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """An order about to be sent. ``quote``: the last good one now, None without; ``traded_before``: what its plan has
    traded, and may still trade by the orders sent before this one, in quote currency; ``plan_value``: its portfolio's.
    ``valued``: of an order on a direct pair, None for one against the quote currency.
    """

    side: Side
    quantity: Decimal
    limit_price: Decimal
    quote: Quote | None
    traded_before: Decimal
    plan_value: Decimal
    market_day: date
    valued: Valued | None = None


@dataclass(frozen=True, slots=True)
class Trip:
    """A guard that withheld an order, with what was asked and what is allowed."""

    guard: Guard
    given: str
    allowed: str

    def __str__(self) -> str:
        return f"guard:{self.guard.value}: {self.given}, allowed {self.allowed}"


@dataclass(frozen=True, slots=True)
class Tally:
    """What an account has sent lately: orders by second (of any steady clock), notional by market day, and phases in a
    row in which a guard tripped. Only the newest seconds and days are kept.
    """

    by_second: tuple[tuple[int, int], ...] = ()
    by_day: tuple[tuple[date, Decimal], ...] = ()
    trips_in_a_row: int = 0

    def orders_lately(self, now_ms: int) -> int:
        """Orders of the last 60 s; those of the second that is just leaving still count."""
        oldest = now_ms // _MS - SECONDS_KEPT
        return sum(count for second, count in self.by_second if second >= oldest)

    def notional_of(self, day: date) -> Decimal:
        """What was sent on a market day, less what is known not to have traded."""
        return next((notional for known, notional in self.by_day if known == day), ZERO)


@exact
def notional_of(order: Outgoing) -> Decimal:
    """The most an order can be worth in the account's quote currency: a sale is worth the bid even when its limit is
    far below.
    """
    price = order.limit_price if order.quote is None else max(order.limit_price, order.quote.bid)
    return order.quantity * price * (ONE if order.valued is None else order.valued.price)


@exact
def judge(limits: GuardLimits, tally: Tally, order: Outgoing, now_ms: int) -> Trip | None:
    """Why the order must not be sent, None when it may be. ``now_ms``: on the clock of ``tally``."""
    quote = order.quote
    if not _is_good(quote) or (order.valued is not None and not _is_good(order.valued.quote)):
        return Trip(Guard.NO_QUOTE, "no good quote to compare the price with", "one")
    touch = quote.ask if order.side is Side.BUY else quote.bid
    away_bps = abs(order.limit_price - touch) * _BPS / touch
    if order.valued is not None and order.valued.quote is not None:
        bid = order.valued.quote.bid
        away_bps = max(away_bps, abs(order.valued.price - bid) * _BPS / bid)
    notional = notional_of(order)
    day = tally.notional_of(order.market_day) + notional
    turnover, most_turnover = order.traded_before + notional, limits.plan_turnover * order.plan_value
    lately = tally.orders_lately(now_ms) + 1
    checks = (
        (Guard.PRICE_AWAY, away_bps, limits.price_away_bps, "bps from the touch"),
        (Guard.ORDER_NOTIONAL, notional, limits.order_notional, "in one order"),
        (Guard.PLAN_TURNOVER, turnover, most_turnover, "traded by one plan"),
        (Guard.DAY_NOTIONAL, day, limits.day_notional, f"on {order.market_day}"),
        (Guard.ORDERS_PER_MINUTE, Decimal(lately), Decimal(limits.orders_per_minute), "orders in a minute"),
    )
    for guard, given, allowed, what in checks:
        if not given <= allowed:
            return Trip(guard, f"{_short(given)} {what}", f"at most {_short(allowed)}")
    return None


@exact
def after_sent(tally: Tally, order: Outgoing, now_ms: int) -> Tally:
    """The tally with an order that is being sent."""
    second = now_ms // _MS
    counts = dict(tally.by_second)
    counts[second] = counts.get(second, 0) + 1
    kept = tuple(sorted((at, count) for at, count in counts.items() if at >= second - SECONDS_KEPT))
    return replace(tally, by_second=kept, by_day=_days(tally, order.market_day, notional_of(order)))


@exact
def after_ended(tally: Tally, day: date, untraded: Decimal) -> Tally:
    """The tally once an order has ended with so much of its notional not traded."""
    known = tally.notional_of(day)
    return replace(tally, by_day=_days(tally, day, -min(known, untraded))) if known else tally


def after_phase(tally: Tally, *, has_tripped: bool) -> Tally:
    """The tally after all orders of a phase were let through, or not."""
    return replace(tally, trips_in_a_row=tally.trips_in_a_row + 1 if has_tripped else 0)


def must_halt(limits: GuardLimits, tally: Tally) -> bool:
    """Whether too many phases in a row had an order withheld."""
    return tally.trips_in_a_row > limits.trips_to_halt


def _is_good(quote: Quote | None) -> TypeGuard[Quote]:
    return quote is not None and 0 < quote.bid <= quote.ask


def _days(tally: Tally, day: date, change: Decimal) -> tuple[tuple[date, Decimal], ...]:
    """The days with one changed and put last; those not touched for longest are forgotten."""
    others = tuple(pair for pair in tally.by_day if pair[0] != day)
    return (*others, (day, tally.notional_of(day) + change))[-DAYS_KEPT:]


def _short(number: Decimal) -> str:
    return plain(number.quantize(Decimal("0.01")) if abs(number) < 10**30 else number.to_integral_value())
