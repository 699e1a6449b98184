"""A live market told in Binance's messages, and the ways in which a venue can lie about it. Everything from a seed."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.services.price_feed.scripted_venue import clock, quote

T_MS = 1_767_229_200_000  # 2026-01-01T01:00Z
STEP_MS = 50
START = {"BTC": 60_000.0, "ETH": 2_500.0, "SOL": 150.0, "ADA": 0.35, "DOGE": 0.12, "ONE": 0.0155}
"""More than 2.3 times apart, each two: nearer ones cannot be told from each other by their price alone."""


def symbol_of(asset: str) -> str:
    """The pair's name."""
    return f"{asset}USDT"


@dataclass(slots=True)
class TrueMarket:
    """Prices that wander by ``step`` a tick (a fraction, uniform) and drift by ``drift`` a tick; one asset a tick."""

    seed: int
    step: float
    drift: dict[str, float] = field(default_factory=dict)
    prices: dict[str, float] = field(default_factory=lambda: dict(START))
    number: int = 0
    ms: int = T_MS

    def ticks(self) -> Iterator[tuple[str, list[str]]]:
        """For ever: the asset that moved and the venue's messages, ``STEP_MS`` of market time after those before."""
        dice = random.Random(self.seed)
        assets = tuple(self.prices)
        while True:
            self.number += 1
            self.ms += STEP_MS
            asset = assets[self.number % len(assets)]
            self.prices[asset] *= 1 + dice.uniform(-self.step, self.step) + self.drift.get(asset, 0.0)
            yield asset, [*self._times(), self.message(asset)]

    def _times(self) -> list[str]:
        """Once a second, the time of every pair."""
        if self.ms % 1_000:
            return []
        return [clock(symbol_of(asset), self.ms, text(price)) for asset, price in self.prices.items()]

    def message(self, asset: str, times: float = 1.0) -> str:
        """The quote of an asset, multiplied."""
        price = self.prices[asset] * times
        return quote(symbol_of(asset), text(price * 0.9999), text(price * 1.0001), self.number)


def text(price: float) -> str:
    """As a venue writes prices."""
    return f"{price:.10f}"


Lie = Callable[[TrueMarket, str, random.Random], str]


def _price(word: object) -> Lie:
    def lie(market: TrueMarket, asset: str, dice: random.Random) -> str:
        told = json.loads(market.message(asset))
        told["data"][dice.choice("ba")] = word
        return json.dumps(told)

    return lie


def _times(factor: float) -> Lie:
    return lambda market, asset, _: market.message(asset, factor)


def _crossed(market: TrueMarket, asset: str, _: random.Random) -> str:
    price = market.prices[asset]
    return quote(symbol_of(asset), text(price * 1.01), text(price * 0.99), market.number)


def _other_symbol(market: TrueMarket, asset: str, dice: random.Random) -> str:
    other = dice.choice([each for each in market.prices if each != asset])
    return market.message(asset).replace(symbol_of(asset), symbol_of(other))


def _unknown_symbol(market: TrueMarket, asset: str, _: random.Random) -> str:
    return market.message(asset).replace(symbol_of(asset), "MTGOXUSDT")


def _one_side(market: TrueMarket, asset: str, dice: random.Random) -> str:
    price = market.prices[asset]
    bid, ask = (price / 10, price) if dice.random() < 0.5 else (price, price * 10)
    return quote(symbol_of(asset), text(bid), text(ask), market.number)


def _time(shift_ms: int) -> Lie:
    return lambda market, asset, _: clock(symbol_of(asset), market.ms + shift_ms, text(market.prices[asset] * 1000))


def _cut(market: TrueMarket, asset: str, dice: random.Random) -> str:
    whole = market.message(asset)
    return whole[: dice.randrange(len(whole))]


def _old_number(market: TrueMarket, asset: str, _: random.Random) -> str:
    price = market.prices[asset] * 1.5
    return quote(symbol_of(asset), text(price), text(price), 1)


LIES: dict[str, Lie] = {
    "zero": _price("0.00000000"),
    "negative": _price("-1.5"),
    "nan": _price("NaN"),
    "infinite": _price("Infinity"),
    "1e400": _price("1e400"),
    "empty": _price(""),
    "null": _price(None),
    "a number": _price(1.5),
    "crossed": _crossed,
    "unknown symbol": _unknown_symbol,
    "another symbol": _other_symbol,
    "x10": _times(10),
    "x0.1": _times(0.1),
    "x1000": _times(1000),
    "x0.001": _times(0.001),
    "x3": _times(3),
    "one side x10": _one_side,
    "a day ahead": _time(86_400_000),
    "a year ahead": _time(365 * 86_400_000),
    "an hour behind": _time(-3_600_000),
    "old number": _old_number,
    "cut short": _cut,
    "web page": lambda *_: "<html>502 Bad Gateway</html>",
}
