"""Which quotes are believed. Pure: state per symbol in, a reason out; no clock.

A refused quote is dropped and counted under its reason; the last good quote stays. Text is compared as floats first,
which is safe: float() is monotone, so a strict order of floats is a strict order of the exact numbers, and only equal
floats of different texts need a Decimal.
"""

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

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
    TIME_BACKWARDS = "time_backwards"
    TIME_JUMP = "time_jump"


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """``jump_factor``: how far bid or ask may be from the last good one. A quote beyond it is believed as the last of
    ``confirmations`` quotes in a row, each within ``agreement_factor`` of the one before it.

    The default of 5 lets listings and daily history pass (up to +-60 % a tick); misplaced decimal points do not.
    """

    jump_factor: float = 5.0
    confirmations: int = 3
    agreement_factor: float = 1.5


@dataclass(slots=True)
class _Level:
    """What is known of one symbol: the last good texts and values, and a level that awaits confirmation."""

    bid_text: str = ""
    ask_text: str = ""
    bid: float = 0.0
    ask: float = 0.0
    order: int = 0
    at_ms: int = 0
    candidate_bid: float = 0.0
    candidate_ask: float = 0.0
    candidates: int = 0
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

    def connected(self) -> None:
        """The venue was connected anew: its numbering may have begun again."""
        for level in self._levels.values():
            level.order = 0

    def count(self, reason: str) -> None:
        """Count one refusal."""
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def admit(self, symbol: str, bid: object, ask: object, order: int = 0, at_ms: int = 0) -> Reason | None:
        """None if the quote is believed, else why not (already counted)."""
        reason = self._judge(symbol, bid, ask, order, at_ms)
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

    def _judge(self, symbol: str, bid: object, ask: object, order: int, at_ms: int) -> Reason | None:
        level = self._levels.get(symbol)
        if level is None:
            return Reason.UNKNOWN_SYMBOL
        if order and order < level.order:
            return Reason.OUT_OF_ORDER
        if at_ms and at_ms < level.at_ms:
            return Reason.TIME_BACKWARDS
        if bid != level.bid_text or ask != level.ask_text:
            reason = self._judge_prices(level, bid, ask)
            if reason is not None:
                return reason
        level.candidates = 0
        level.order = order or level.order
        level.at_ms = at_ms or level.at_ms
        return None

    def _judge_prices(self, level: _Level, bid_text: object, ask_text: object) -> Reason | None:
        if type(bid_text) is not str or type(ask_text) is not str:
            return Reason.UNPARSABLE
        if not _PLAIN_PRICE.fullmatch(bid_text) or not _PLAIN_PRICE.fullmatch(ask_text):
            return _why_not_plain(bid_text, ask_text)
        bid, ask = float(bid_text), float(ask_text)
        if bid == 0.0 or ask == 0.0:
            return Reason.ZERO
        if bid > ask or (bid == ask and bid_text != ask_text and Decimal(bid_text) > Decimal(ask_text)):
            return Reason.CROSSED
        far = level.bid > 0.0 and not _near(bid, ask, (level.bid, level.ask), self.limits.jump_factor)
        if far and not self._confirmed(level, bid, ask):
            return Reason.JUMP
        level.bid_text, level.ask_text, level.bid, level.ask = bid_text, ask_text, bid, ask
        return None

    def _confirmed(self, level: _Level, bid: float, ask: float) -> bool:
        agrees = level.candidates > 0 and _near(
            bid, ask, (level.candidate_bid, level.candidate_ask), self.limits.agreement_factor
        )
        level.candidates = level.candidates + 1 if agrees else 1
        level.candidate_bid, level.candidate_ask = bid, ask
        return level.candidates >= self.limits.confirmations


def _near(bid: float, ask: float, reference: tuple[float, float], factor: float) -> bool:
    reference_bid, reference_ask = reference
    return (
        reference_bid <= bid * factor
        and bid <= reference_bid * factor
        and reference_ask <= ask * factor
        and ask <= reference_ask * factor
    )


def _remember_trade(level: _Level, last: object) -> None:
    """Until there is a good quote, the last trade is what the first one is measured against."""
    if not level.bid_text and type(last) is str and _PLAIN_PRICE.fullmatch(last):
        level.bid = level.ask = float(last)


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
