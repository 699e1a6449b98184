"""Which quotes are believed. Pure: state per symbol in, a reason out; time is an argument.

A refused quote is dropped and counted under its reason; the last good quote stays, and is in doubt if the refused one
could have been news (``DOUBTFUL``). Text is compared as floats first, which is safe: float() is monotone, so a strict
order of floats is a strict order of the exact numbers, and only equal floats of different texts need a Decimal.
"""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from services.price_feed.venue_events import QuoteReceived

_PLAIN_PRICE = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,18})?")


class Reason(StrEnum):
    """Why a quote was refused."""

    UNPARSABLE = "unparsable"
    NOT_FINITE = "not_finite"
    ZERO = "zero"
    NEGATIVE = "negative"
    CROSSED = "crossed"
    UNKNOWN_SYMBOL = "unknown_symbol"
    JUMP = "jump"
    OUT_OF_ORDER = "out_of_order"
    TIME_FROZEN = "time_frozen"
    TIME_BACKWARDS = "time_backwards"
    TIME_JUMP = "time_jump"


DOUBTFUL = frozenset(
    {
        Reason.UNPARSABLE,
        Reason.NOT_FINITE,
        Reason.ZERO,
        Reason.NEGATIVE,
        Reason.CROSSED,
        Reason.JUMP,
        Reason.TIME_FROZEN,
    }
)
"""Refusals that leave it unknown what the price is now. An older or foreign message says nothing about the newest."""


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """How far bid or ask may be from the last good one: ``jump_factor``, and within ``quick_ms`` of market time after
    it only the square root of that. A quote beyond is believed as the last of ``confirmations`` quotes in a row, each
    within ``agreement_factor`` of the one before it, over ``quick_confirm_ms`` of market time, or ``confirm_ms`` when
    it is beyond ``jump_factor``. One quote near the old level ends the row: a market has one price.

    The default of 5 lets listings and daily history pass (up to +-60 % a tick); misplaced decimal points do not, and
    another symbol's price rarely does within the same ten seconds (more than 2.2 times). ``frozen_ms``: how far market
    time may go on under a symbol whose prices move at one and the same event time.
    """

    jump_factor: float = 5.0
    confirmations: int = 3
    agreement_factor: float = 1.5
    quick_ms: int = 10_000
    quick_confirm_ms: int = 2_000
    confirm_ms: int = 30_000
    frozen_ms: int = 3_000

    @property
    def quick_factor(self) -> float:
        """How far within ``quick_ms``."""
        return math.sqrt(self.jump_factor)


@dataclass(slots=True)
class _Level:
    """What is known of one symbol: the last good texts and values, and a level that awaits confirmation."""

    bid_text: str = ""
    ask_text: str = ""
    bid: float = 0.0
    ask: float = 0.0
    order: int = 0
    at_ms: int = 0
    believed_ms: int = 0
    candidate_bid: float = 0.0
    candidate_ask: float = 0.0
    candidates: int = 0
    candidate_since_ms: int = 0
    renumbered: int = 0
    renumbered_order: int = 0
    renumbered_since_ms: int = 0
    clock_ms: int = 0


@dataclass(slots=True)
class QuoteGuard:
    """Judges every quote of one venue; ``refused`` counts by reason since the start."""

    limits: GuardLimits = field(default_factory=GuardLimits)
    refused: dict[str, int] = field(default_factory=dict)
    _levels: dict[str, _Level] = field(default_factory=dict)

    def follow(self, symbols: Collection[str]) -> None:
        """Accept quotes of these symbols from now on, and of no others. Known levels stay."""
        self._levels = {symbol: self._levels.get(symbol) or _Level() for symbol in symbols}

    @property
    def symbols(self) -> Collection[str]:
        """The symbols whose quotes are accepted."""
        return self._levels.keys()

    def connected(self) -> None:
        """The venue was connected anew: its numbering may have begun again."""
        for level in self._levels.values():
            level.order = 0

    def count(self, reason: str) -> None:
        """Count one refusal."""
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def knows(self, symbol: str) -> bool:
        """Whether the symbol is followed; one that is not is counted."""
        if symbol in self._levels:
            return True
        self.count(Reason.UNKNOWN_SYMBOL)
        return False

    def admit(self, quote: QuoteReceived, now_ms: int = 0) -> Reason | None:
        """None if the quote is believed at market time ``now_ms``, else why not (already counted)."""
        level = self._levels.get(quote.symbol)
        reason = Reason.UNKNOWN_SYMBOL if level is None else self._judge(level, quote, now_ms)
        if reason is not None:
            self.count(reason)
        return reason

    def tick(self, symbol: str, at_ms: int, last: object) -> Reason | None:
        """A venue's clock reading for a symbol, with its last trade; the first quote is measured against that price."""
        level = self._levels.get(symbol)
        reason = Reason.UNKNOWN_SYMBOL if level is None else None
        if level is not None:
            if at_ms < level.clock_ms:
                reason = Reason.TIME_BACKWARDS
            else:
                level.clock_ms = at_ms
                _remember_trade(level, last)
        if reason is not None:
            self.count(reason)
        return reason

    def _judge(self, level: _Level, quote: QuoteReceived, now_ms: int) -> Reason | None:
        _, bid, ask, order, at_ms = quote
        if order and order < level.order and not self._is_renumbered(level, order, now_ms):
            return Reason.OUT_OF_ORDER
        if at_ms and at_ms < level.at_ms:
            return Reason.TIME_BACKWARDS
        if bid != level.bid_text or ask != level.ask_text:
            if at_ms and at_ms == level.at_ms and now_ms - at_ms > self.limits.frozen_ms:
                return Reason.TIME_FROZEN
            reason = self._judge_prices(level, bid, ask, now_ms)
            if reason is not None:
                return reason
        level.candidates = level.renumbered = 0
        level.order = order or level.order
        level.at_ms = at_ms or level.at_ms
        level.believed_ms = now_ms
        return None

    def _is_renumbered(self, level: _Level, order: int, now_ms: int) -> bool:
        """One wrong, huge number must not shut a symbol up for ever: lower ones that rise, for long enough, count."""
        if not level.renumbered or order < level.renumbered_order:
            level.renumbered, level.renumbered_since_ms = 0, now_ms
        level.renumbered += 1
        level.renumbered_order = order
        is_long = now_ms - level.renumbered_since_ms >= self.limits.quick_confirm_ms
        return is_long and level.renumbered >= self.limits.confirmations

    def _judge_prices(self, level: _Level, bid_text: object, ask_text: object, now_ms: int) -> Reason | None:
        if type(bid_text) is not str or type(ask_text) is not str:
            return Reason.UNPARSABLE
        if not _PLAIN_PRICE.fullmatch(bid_text) or not _PLAIN_PRICE.fullmatch(ask_text):
            return _why_not_plain(bid_text, ask_text)
        bid, ask = float(bid_text), float(ask_text)
        if bid == 0.0 or ask == 0.0:
            return Reason.ZERO
        if bid > ask or (bid == ask and bid_text != ask_text and Decimal(bid_text) > Decimal(ask_text)):
            return Reason.CROSSED
        if (
            level.bid > 0.0
            and not self._is_near(level, bid, ask, now_ms)
            and not self._confirmed(level, bid, ask, now_ms)
        ):
            return Reason.JUMP
        level.bid_text, level.ask_text, level.bid, level.ask = bid_text, ask_text, bid, ask
        return None

    def _is_near(self, level: _Level, bid: float, ask: float, now_ms: int) -> bool:
        is_quick = now_ms - level.believed_ms < self.limits.quick_ms
        factor = self.limits.quick_factor if is_quick else self.limits.jump_factor
        return _near(bid, ask, (level.bid, level.ask), factor)

    def _confirmed(self, level: _Level, bid: float, ask: float, now_ms: int) -> bool:
        agrees = level.candidates > 0 and _near(
            bid, ask, (level.candidate_bid, level.candidate_ask), self.limits.agreement_factor
        )
        if not agrees:
            level.candidates, level.candidate_since_ms = 0, now_ms
        level.candidates += 1
        level.candidate_bid, level.candidate_ask = bid, ask
        is_far = not _near(bid, ask, (level.bid, level.ask), self.limits.jump_factor)
        wait_ms = self.limits.confirm_ms if is_far else self.limits.quick_confirm_ms
        return level.candidates >= self.limits.confirmations and now_ms - level.candidate_since_ms >= wait_ms


def is_plain_price(text: object) -> bool:
    """Whether it is text in plain decimal digits."""
    return type(text) is str and _PLAIN_PRICE.fullmatch(text) is not None


def _near(bid: float, ask: float, reference: tuple[float, float], factor: float) -> bool:
    reference_bid, reference_ask = reference
    return (
        reference_bid <= bid * factor
        and bid <= reference_bid * factor
        and reference_ask <= ask * factor
        and ask <= reference_ask * factor
    )


def _remember_trade(level: _Level, last: object) -> None:
    """Until there is a good quote, the last trade, of whatever age, is what the first one is measured against."""
    if not level.bid_text and is_plain_price(last):
        level.bid = level.ask = float(str(last))


def _why_not_plain(*texts: str) -> Reason:
    for text in texts:
        if _PLAIN_PRICE.fullmatch(text):
            continue
        try:
            value = float(text)
        except ValueError:
            return Reason.UNPARSABLE
        if not math.isfinite(value):
            return Reason.NOT_FINITE
        return Reason.NEGATIVE if value < 0 else Reason.UNPARSABLE
    return Reason.UNPARSABLE
