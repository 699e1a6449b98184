"""One budget of requests per key and address: what a venue allows as data, and the account of what was used. Pure.

A venue counts in fixed windows of its own clock and tells its count with each reply; the larger of its count and ours
is believed. Whoever goes on after a refusal is banned, so a refusal makes everything wait, and a ban ends when the
venue said so, not earlier. Times are milliseconds of a clock that never goes back and is close to the venue's.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_MINUTE_MS, _TEN_SECONDS_MS, _DAY_MS = 60_000, 10_000, 86_400_000
_REFUSED, _BANNED = 429, 418
_SHORTEST_BAN_MS = 120_000
_BANNED_UNTIL = re.compile(r"banned until (\d{13})")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a call costs. ``settles``: it finds out about or ends what is at the venue, so it may use the reserve."""

    weight: int
    settles: bool = False
    is_order: bool = False


@dataclass(frozen=True, slots=True)
class RateLimits:
    """A venue's limits. ``costs`` by "METHOD /path", or its beginning and "*"; ``reserve_pct`` of the weight is kept
    for calls that settle, ``headroom_pct`` of the orders is left unused, because two clocks never agree.
    """

    weight_per_minute: int
    orders_per_10s: int
    orders_per_day: int
    costs: Mapping[str, Cost] = field(default_factory=dict)
    other: Cost = Cost(10)
    reserve_pct: int = 20
    headroom_pct: int = 10

    def cost(self, call: str) -> Cost:
        """The cost of a call; one that is not listed costs more than most."""
        if call in self.costs:
            return self.costs[call]
        beginnings = (name for name in self.costs if name.endswith("*") and call.startswith(name[:-1]))
        return self.costs.get(max(beginnings, key=len, default=""), self.other)


class _Window:
    """What was used in the current window of one length."""

    def __init__(self, length_ms: int, limit: int) -> None:
        self.limit = limit
        self.length_ms = length_ms
        self._index = -1
        self._used = 0

    def used(self, now_ms: int) -> int:
        """Used so far in the window of ``now_ms``."""
        return self._used if now_ms // self.length_ms == self._index else 0

    def add(self, amount: int, now_ms: int) -> None:
        """Use some."""
        self._used = self.used(now_ms) + amount
        self._index = now_ms // self.length_ms

    def at_least(self, used: int, now_ms: int) -> None:
        """The venue's own count."""
        self.add(max(0, used - self.used(now_ms)), now_ms)

    def wait_ms(self, amount: int, share_pct: int, now_ms: int) -> int:
        """How long until ``amount`` fits into a share of the limit; one that never fits goes alone into a window."""
        used = self.used(now_ms)
        if used + amount <= self.limit * share_pct // 100 or not used:
            return 0
        return self.length_ms - now_ms % self.length_ms


class RateBudget:
    """What may be asked now: ``wait_ms`` right before a request, ``take`` when it goes out, ``observe`` its reply."""

    def __init__(self, limits: RateLimits) -> None:
        self._limits = limits
        self._weight = _Window(_MINUTE_MS, limits.weight_per_minute)
        self._orders = (_Window(_TEN_SECONDS_MS, limits.orders_per_10s), _Window(_DAY_MS, limits.orders_per_day))
        self.silent_until_ms = 0

    def wait_ms(self, call: str, now_ms: int) -> int:
        """0 when the call may go out now, else how long to wait at least."""
        if now_ms < self.silent_until_ms:
            return self.silent_until_ms - now_ms
        cost = self._limits.cost(call)
        share_pct = 100 if cost.settles else 100 - self._limits.reserve_pct
        wait_ms = self._weight.wait_ms(cost.weight, share_pct, now_ms)
        if cost.is_order:
            orders_pct = 100 - self._limits.headroom_pct
            wait_ms = max(wait_ms, *(window.wait_ms(1, orders_pct, now_ms) for window in self._orders))
        return wait_ms

    def take(self, call: str, now_ms: int) -> None:
        """The call goes out."""
        cost = self._limits.cost(call)
        self._weight.add(cost.weight, now_ms)
        if cost.is_order:
            for window in self._orders:
                window.add(1, now_ms)

    def observe(self, headers: Mapping[str, str], now_ms: int) -> None:
        """Believe the venue's counts where they are higher than ours."""
        counts = {name.lower(): int(value) for name, value in headers.items() if str(value).isdecimal()}
        self._weight.at_least(counts.get("x-mbx-used-weight-1m", 0), now_ms)
        for window, name in zip(self._orders, ("10s", "1d"), strict=True):
            window.at_least(counts.get(f"x-mbx-order-count-{name}", 0), now_ms)

    def refused(self, status: int, headers: Mapping[str, str], text: str, now_ms: int) -> bool:
        """A reply with this status came: after 429 and 418 nothing goes out until the venue said. True when so.

        Without its word: to the end of the minute after 429, two minutes (its shortest ban) after 418.
        """
        if status not in {_REFUSED, _BANNED}:
            return False
        stated = [now_ms + _MINUTE_MS - now_ms % _MINUTE_MS] if status == _REFUSED else [now_ms + _SHORTEST_BAN_MS]
        wait = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
        until = _BANNED_UNTIL.search(text)
        told = [now_ms + 1000 * int(wait)] if str(wait).isdecimal() else []
        told += [int(until[1])] if until is not None else []
        self.stay_silent(max(told or stated))
        return True

    def stay_silent(self, until_ms: int) -> None:
        """Let nothing go out before that; an earlier end changes nothing."""
        self.silent_until_ms = max(self.silent_until_ms, until_ms)

    def learn(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The venue's limits as it lists them now (``rateLimits`` of exchangeInfo); what is not understood is left."""
        windows = {
            ("REQUEST_WEIGHT", "MINUTE", 1): self._weight,
            ("ORDERS", "SECOND", 10): self._orders[0],
            ("ORDERS", "DAY", 1): self._orders[1],
        }
        for row in rows:
            window = windows.get((row.get("rateLimitType"), row.get("interval"), row.get("intervalNum")))  # type: ignore[arg-type]
            limit = row.get("limit")
            if window is not None and isinstance(limit, int) and limit > 0:
                window.limit = limit
