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
    """Not done, and nothing will be until someone acts (key, permission, ban)."""


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
class VenueCapabilities:
    """Facts about a dialect that the executor's proofs rest on; ``rates``: what may be asked, per key and address.

    ``receive_window_ms``: a request is refused when it arrives later than this after its timestamp. ``read_lag_ms``:
    how long a placed order may be missing from reads. ``absence_reads``: agreeing readings before absence is believed.
    ``client_id_scope``: where the venue keeps client order ids unique ("open_orders", "day", "none"): never a reason to
    resend. ``client_id_max_length``: of characters [a-z0-9]. ``fills_in_reply``: an order's reply carries its fills.
    ``order_kinds``: what it takes; a style that needs another is traded as the default.
    """

    dialect: str
    errors: ErrorTable
    client_id_scope: str
    client_id_max_length: int
    receive_window_ms: int
    read_lag_ms: int
    absence_reads: int = 3
    fills_in_reply: bool = False
    has_user_stream: bool = False
    rates: RateLimits = UNLISTED_RATES
    order_kinds: frozenset[OrderKind] = frozenset({OrderKind.IOC})
