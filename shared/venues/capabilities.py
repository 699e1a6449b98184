"""What a venue can do and what its errors mean, as data: one row per dialect, no code per venue above the adapter."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from shared.core.order_styles import OrderKind
from shared.venues.rate_limits import RateLimits

UNLISTED_RATES = RateLimits(weight_per_minute=600, orders_per_10s=10, orders_per_day=10_000)
"""Slow enough for any venue."""


class Verdict(StrEnum):
    """What an error tells about the request that got it."""

    REFUSE = "refuse"
    """Definitively not done, and the same request would be refused again."""
    RETRY = "retry"
    """Definitively not done; a new attempt may succeed later."""
    UNKNOWN = "unknown"
    """Perhaps done: ask before anything is sent again."""
    STOP = "stop"
    """Not done, and nothing will be until someone acts (key, permission, account)."""
    RATE_LIMITED = "rate_limited"
    """Not done; too many requests: the venue wants to be left alone for a while."""
    BANNED = "banned"
    """Not done; the key or the address is shut out for a time: whoever asks on makes it longer."""


class Scope(StrEnum):
    """Where a venue keeps client order ids unique: never a reason to send anything again."""

    OPEN_ORDERS = "open_orders"
    DAY = "day"
    EVER = "ever"
    UNSTATED = "unstated"


class FeeAsset(StrEnum):
    """What a venue takes its commission in."""

    STATED = "stated"
    """Each trade says: base, quote or a third asset."""
    RECEIVED = "received"
    """What the order brings: base for a buy, quote for a sell."""
    QUOTE = "quote"
    """Always the quote currency, on top of what a buy costs."""


class MarketBuy(StrEnum):
    """What the amount of a market buy means."""

    BASE = "base"
    QUOTE = "quote"
    CHOICE = "choice"
    """A parameter says which."""
    CONTRADICTORY = "contradictory"
    """Sources disagree: never to be used."""


@dataclass(frozen=True, slots=True)
class VenueError:
    """An error as the venue sent it: HTTP status, its own code (None: unreadable body) and text."""

    http_status: int
    code: int | str | None
    message: str
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """Verdicts in order of precedence: by text (a code may cover several cases), code, HTTP status, else UNKNOWN."""

    by_text: Mapping[str, Verdict] = field(default_factory=dict)
    by_code: Mapping[int | str, Verdict] = field(default_factory=dict)
    by_http_status: Mapping[int, Verdict] = field(default_factory=dict)

    def verdict(self, error: VenueError) -> Verdict:
        """What ``error`` means. A 5xx never gets a definite verdict, whatever its body says."""
        if error.http_status >= 500:  # the venue itself states that the outcome is unknown
            return Verdict.UNKNOWN
        for text, verdict in self.by_text.items():
            if text.lower() in error.message.lower():
                return verdict
        if error.code is not None and error.code in self.by_code:
            return self.by_code[error.code]
        return self.by_http_status.get(error.http_status, Verdict.UNKNOWN)


@dataclass(frozen=True, slots=True)
class ClientIds:
    """How a venue treats client order ids. Ours are 28 characters [0-9a-z] (``shared.core.identity``).

    ``scope``: where they are unique. ``max_length`` of the characters it takes. ``as_uuid``: the id goes out as a UUID
    derived from ours. ``queryable``: an order can be asked for by it; else the recent orders are looked through.
    """

    scope: Scope
    max_length: int
    queryable: bool = True
    as_uuid: bool = False


@dataclass(frozen=True, slots=True)
class VenueCapabilities:
    """Facts about a dialect that the executor's proofs rest on; ``rates``: what may be asked, per key and address.

    ``receive_window_ms``: a request is refused when it arrives later than this after its timestamp; ``late_ms``: how
    much later it may still be accepted where that could not be verified. ``read_lag_ms``: how long a placed order may
    be missing from reads. ``absence_reads``: agreeing readings before absence is believed. ``fills_in_reply``: an
    order's reply carries its fills. ``in_order``: requests must arrive in the order of their nonces, so one at a time.
    ``clock_codes``: errors that say that our clock is off. ``limited_s``, ``banned_s``: how long to be silent after a
    refusal of that kind that states no time. ``reads_deposits``: what arrives from outside can be told apart.
    ``order_kinds``: what orders it takes; a style that needs another is traded as the default.
    """

    dialect: str
    errors: ErrorTable
    client_ids: ClientIds
    receive_window_ms: int
    read_lag_ms: int
    late_ms: int = 0
    absence_reads: int = 3
    fills_in_reply: bool = False
    has_user_stream: bool = False
    in_order: bool = False
    has_sandbox: bool = False
    needs_passphrase: bool = False
    reads_deposits: bool = True
    fee_asset: FeeAsset = FeeAsset.STATED
    market_buy: MarketBuy = MarketBuy.CHOICE
    clock_codes: frozenset[int | str] = frozenset()
    limited_s: float = 10.0
    banned_s: float = 600.0
    rates: RateLimits = UNLISTED_RATES
    order_kinds: frozenset[OrderKind] = frozenset({OrderKind.IOC})

    @property
    def doubt_ms(self) -> int:
        """After its send deadline, how long an order may still turn up: window, unverified lateness, read lag."""
        return self.receive_window_ms + self.late_ms + self.read_lag_ms

    def pause_s(self, verdict: Verdict) -> float:
        """How long the venue wants to be left alone where it does not say; 0 unless the verdict says so."""
        return {Verdict.RATE_LIMITED: self.limited_s, Verdict.BANNED: self.banned_s}.get(verdict, 0.0)
