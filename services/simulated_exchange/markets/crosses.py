"""Pairs of two assets of a market, priced as their prices against USDT say: "ETH/BTC" stands at ETH / BTC.

They are columns of the source like any other asset, under that name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from services.simulated_exchange.markets.instruments import QUOTE, derive_instrument
from services.simulated_exchange.markets.source import PriceRange, PriceSource
from services.simulated_exchange.venue_rules import VenueRules
from shared.core.errors import Refused
from shared.core.market import Instrument, is_pair_name, pair_name
from shared.core.matching import BookShape
from shared.core.money import MONEY_CONTEXT, exact

_FINEST_TICK = -8
_DIGITS = 5


class WithCrosses:
    """A source and some pairs of its assets. Raises Refused for a pair of assets that it does not have."""

    def __init__(self, source: PriceSource, pairs: Sequence[tuple[str, str]]) -> None:
        self._source = source
        for base, quote in pairs:
            if base == quote or not {base, quote} <= set(source.assets):
                allowed = f"pairs of two of {', '.join(source.assets)}"
                raise Refused.one("exchange_cross_pairs", pair_name(base, quote), allowed, "cannot be priced here")
        self._columns = [(source.assets.index(base), source.assets.index(quote)) for base, quote in pairs]
        self._names = tuple(pair_name(*pair) for pair in pairs)

    @property
    def name(self) -> str:
        """For people."""
        return self._source.name

    @property
    def fingerprint(self) -> str:
        """The source's, and the pairs."""
        return f"{self._source.fingerprint}:{','.join(self._names)}"

    @property
    def assets(self) -> tuple[str, ...]:
        """The source's, then the pairs."""
        return (*self._source.assets, *self._names)

    @property
    def rows_total(self) -> int | None:
        """The source's."""
        return self._source.rows_total

    def time_ms(self, row: int) -> int:
        """The source's."""
        return self._source.time_ms(row)

    def price(self, row: int, column: int) -> Decimal | None:
        """Of a pair: what one of its base is worth of its quote; None while either has no price."""
        own = column - len(self._source.assets)
        if own < 0:
            return self._source.price(row, column)
        base, quote = (self._source.price(row, each) for each in self._columns[own])
        return None if base is None or quote is None else MONEY_CONTEXT.divide(base, quote)

    def row_at(self, time_ms: int) -> int:
        """The source's."""
        return self._source.row_at(time_ms)

    def ranges(self) -> dict[str, PriceRange]:
        """The source's, and of each pair what follows from them."""
        known = self._source.ranges()
        found = dict(known)
        for name in self._names:
            base, quote = name.split("/")
            if base in known and quote in known:
                found[name] = _range_of(known[base], known[quote])
        return found


def pair_of(rules: VenueRules, asset: str, ranges: Mapping[str, PriceRange]) -> tuple[Instrument, BookShape]:
    """The trading rules of a column of the source, against USDT or of a pair, and the shape of its book."""
    if is_pair_name(asset):
        return _cross_of(rules, asset, ranges)
    return _against_usdt(rules, asset, ranges), rules.shape


@exact
def _cross_of(rules: VenueRules, name: str, ranges: Mapping[str, PriceRange]) -> tuple[Instrument, BookShape]:
    """Steps of quantities as against USDT; a tick of five digits at the middle price, 8 decimals at the finest; amounts
    of USDT at the middle price of the quote asset.
    """
    base, quote = name.split("/")
    worth = _middle(ranges[quote])
    tick_exponent = max(_middle(ranges[name]).adjusted() + 1 - _DIGITS, _FINEST_TICK)
    instrument = replace(
        _against_usdt(rules, base, ranges),
        symbol=f"{base}{quote}",
        quote=quote,
        tick_size=Decimal(1).scaleb(tick_exponent),
        min_notional=Decimal(1).scaleb((rules.min_notional / worth).adjusted()),
    )
    shape = replace(rules.shape, spread_bps=rules.cross_spread_bps, level_notional=rules.shape.level_notional / worth)
    return instrument, shape


def _against_usdt(rules: VenueRules, asset: str, ranges: Mapping[str, PriceRange]) -> Instrument:
    return derive_instrument(
        asset,
        ranges[asset],
        min_notional=rules.min_notional,
        taker_fee_bps=rules.fees.taker_bps,
        coarsest_lot_exponent=rules.coarsest_lot_exponent,
    )


@exact
def _range_of(base: PriceRange, quote: PriceRange) -> PriceRange:
    return PriceRange(base.low / quote.high, base.high / quote.low)


@exact
def _middle(prices: PriceRange) -> Decimal:
    return (prices.low * prices.high).sqrt()


def parse_pairs(text: str) -> tuple[tuple[str, str], ...]:
    """The pairs of a setting: "ETH/BTC,SOL/BTC". Raises Refused for anything else."""
    pairs = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        base, slash, quote = name.partition("/")
        if not (base and slash and quote) or QUOTE in {base, quote} or "/" in quote:
            allowed = "pairs as in ETH/BTC, divided by commas, without USDT"
            raise Refused.one("exchange_cross_pairs", name, allowed, "is not a pair of two assets")
        pairs.append((base, quote))
    return tuple(dict.fromkeys(pairs))
