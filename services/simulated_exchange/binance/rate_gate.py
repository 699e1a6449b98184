"""How much may be asked, as Binance counts it: weight by address and minute, orders by account, 429, then 418.

Source: spot documents, "LIMITS" (rest-api.md): headers X-MBX-USED-WEIGHT-1M and X-MBX-ORDER-COUNT-..., Retry-After with
429 and 418, a ban for who goes on after 429, longer each time (2 minutes to 3 days).
"""

from dataclasses import dataclass, replace

from services.simulated_exchange.binance.errors import BinanceError

_MINUTE_MS, _TEN_SECONDS_MS, _DAY_MS = 60_000, 10_000, 86_400_000
LONGEST_BAN_S = 3 * 86_400


@dataclass(frozen=True, slots=True)
class RateRules:
    """Limits as exchangeInfo tells them. ``patience``: refusals in a minute before an address is banned.

    The defaults are a thousand times Binance's: a paper market passes months in a minute.
    """

    weight_per_minute: int = 6_000_000
    orders_per_10s: int = 100_000
    orders_per_day: int = 200_000_000
    patience: int = 10
    first_ban_s: int = 120

    def listed(self) -> list[dict[str, object]]:
        """As ``rateLimits`` of exchangeInfo."""
        rows = (
            ("REQUEST_WEIGHT", "MINUTE", 1, self.weight_per_minute),
            ("ORDERS", "SECOND", 10, self.orders_per_10s),
            ("ORDERS", "DAY", 1, self.orders_per_day),
        )
        return [
            {"rateLimitType": kind, "interval": interval, "intervalNum": number, "limit": limit}
            for kind, interval, number, limit in rows
        ]


class RateLimitedError(BinanceError):
    """Refused for asking too much; nothing was done. ``retry_after_s`` goes into a header."""

    def __init__(self, status: int, code: int, message: str, retry_after_s: int) -> None:
        super().__init__(code, message, status)
        self.retry_after_s = retry_after_s


@dataclass(slots=True)
class RateCounts:
    """What has been seen since the start, for the control API."""

    requests: int = 0
    refused: int = 0
    bans: int = 0
    while_banned: int = 0


class _Windows:
    """Used amounts by key in fixed windows of one length; only the current window is kept."""

    def __init__(self, length_ms: int) -> None:
        self._length_ms = length_ms
        self._index = -1
        self._used: dict[str, int] = {}

    def used(self, key: str, now_ms: int) -> int:
        index = now_ms // self._length_ms
        if index != self._index:
            self._index, self._used = index, {}
        return self._used.get(key, 0)

    def add(self, key: str, amount: int, now_ms: int) -> int:
        used = self.used(key, now_ms) + amount
        self._used[key] = used
        return used

    def left_s(self, now_ms: int) -> int:
        """Whole seconds to the next window, rounded up."""
        return -(-(self._length_ms - now_ms % self._length_ms) // 1000)


class RateGate:
    """Counts and refuses. Times are the wall clock in milliseconds."""

    def __init__(self, rules: RateRules) -> None:
        self.rules = rules
        self.counts = RateCounts()
        self._weight, self._refusals = _Windows(_MINUTE_MS), _Windows(_MINUTE_MS)
        self._orders_10s, self._orders_day = _Windows(_TEN_SECONDS_MS), _Windows(_DAY_MS)
        self._banned_until_ms: dict[str, int] = {}
        self._all_banned_until_ms = 0
        self._next_ban_s: dict[str, int] = {}

    def change(self, **limits: int) -> None:
        """Other limits from now on; what has been counted stays."""
        self.rules = replace(self.rules, **limits)

    def ban_all(self, seconds: int, now_ms: int) -> int:
        """Ban every address; returns until when."""
        self.counts.bans += 1
        self._all_banned_until_ms = now_ms + 1000 * seconds
        return self._all_banned_until_ms

    def weight_used(self, address: str, now_ms: int) -> int:
        """Weight used in the current minute."""
        return self._weight.used(address, now_ms)

    def admit(self, address: str, weight: int, now_ms: int) -> None:
        """Count a request's weight. Raises RateLimitedError."""
        self.counts.requests += 1
        until_ms = max(self._banned_until_ms.get(address, 0), self._all_banned_until_ms)
        if now_ms < until_ms:
            self.counts.while_banned += 1
            raise _banned(until_ms, now_ms)
        if self._weight.used(address, now_ms) + weight > self.rules.weight_per_minute:
            text = f"Too much request weight used; current limit is {self.rules.weight_per_minute} per 1 MINUTE."
            raise self._refused(address, -1003, text, self._weight.left_s(now_ms), now_ms)
        self._weight.add(address, weight, now_ms)

    def admit_order(self, address: str, account: str, now_ms: int) -> dict[str, str]:
        """Count an account's new order; the headers that tell the counts. Raises RateLimitedError."""
        ten, day = self._orders_10s, self._orders_day
        for windows, limit, span in (
            (ten, self.rules.orders_per_10s, "10 SECOND"),
            (day, self.rules.orders_per_day, "1 DAY"),
        ):
            if windows.used(account, now_ms) + 1 > limit:
                text = f"Too many new orders; current limit is {limit} orders per {span}."
                raise self._refused(address, -1015, text, windows.left_s(now_ms), now_ms)
        return {
            "X-MBX-ORDER-COUNT-10S": str(ten.add(account, 1, now_ms)),
            "X-MBX-ORDER-COUNT-1D": str(day.add(account, 1, now_ms)),
        }

    def orders_counted(self, account: str, now_ms: int) -> tuple[int, int]:
        """New orders of an account in the current ten seconds and in the current day."""
        return self._orders_10s.used(account, now_ms), self._orders_day.used(account, now_ms)

    def _refused(self, address: str, code: int, text: str, wait_s: int, now_ms: int) -> RateLimitedError:
        self.counts.refused += 1
        if self._refusals.add(address, 1, now_ms) <= self.rules.patience:
            return RateLimitedError(429, code, text, wait_s)
        ban_s = self._next_ban_s.get(address, self.rules.first_ban_s)
        self._next_ban_s[address] = min(2 * ban_s, LONGEST_BAN_S)
        self._banned_until_ms[address] = now_ms + 1000 * ban_s
        self.counts.bans += 1
        return _banned(self._banned_until_ms[address], now_ms)


def _banned(until_ms: int, now_ms: int) -> RateLimitedError:
    text = f"Way too much request weight used; IP banned until {until_ms}. Please use WebSocket Streams."
    return RateLimitedError(418, -1003, text, -(-(until_ms - now_ms) // 1000))
