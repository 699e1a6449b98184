"""Routes: one order on a direct pair in place of a sale and a purchase through the quote currency. Pure, exact.

A plan that sells A and buys B pays fee and half the spread twice. Where the venue lists a pair of A and B, one order
there pays them once. Terms, for one unit of A, at the quotes given, f = taker fee (taken from what is received; where a
purchase's fee comes on top, its price rises by it instead):

    legs    L = bid_A * (1 - f_A) * (1 - f_B) / ask_B            B that the two legs bring
    pair A/B (sell)   D = bid * (1 - f)         at a price p: p * (1 - f)
    pair B/A (buy)    D = (1 - f) / ask         at a price p: (1 - f) / p

The direct pair is taken when D > L, and its limit is never beyond the price at which D = L: whatever it trades at, it
is not dearer than the two legs at their touches. So a wrong quote of the direct pair alone costs nothing: too good a
price is a limit that nothing meets, too bad a one is not used.

What a route saves belongs to all targets: of the A that is not needed any more, its own share stays A, and the share
of B is moved there with the rest.

Costs are told in basis points of the value at mid prices: 1 - D / M and 1 - L / M with M = mid_A / mid_B.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from shared.core.legs import PlanningInput, target_share, tradable
from shared.core.market import Instrument, Quote
from shared.core.matching import BPS, Side
from shared.core.money import ONE, ZERO, ceil_to_step, exact, floor_to_step
from shared.core.planning import OrderDraft

_DIRECT = "direct:"
_TENTH = Decimal("0.1")


class RoutingPolicy(StrEnum):
    """Which pairs a deployment trades: all that save costs, or only those against the quote currency."""

    DIRECT_WHEN_CHEAPER = "direct_when_cheaper"
    QUOTE_ONLY = "quote_only"


@dataclass(frozen=True, slots=True)
class DirectPair:
    """A pair of two assets of which neither is the plan's quote currency; its ``quote`` is in ``instrument.quote``."""

    instrument: Instrument
    quote: Quote

    @property
    def assets(self) -> frozenset[str]:
        """Its two assets."""
        return frozenset({self.instrument.base, self.instrument.quote})


@dataclass(frozen=True, slots=True)
class DirectDraft:
    """An order on a direct pair: ``quantity`` in its base, ``limit_price`` in its quote.

    ``takes`` of the sold asset and ``brings`` of the bought one at the touch, fees included; ``takes_at_most`` at the
    limit. Costs in basis points of the value at mid prices.
    """

    pair: Instrument
    side: Side
    quantity: Decimal
    limit_price: Decimal
    sold: str
    bought: str
    takes: Decimal
    takes_at_most: Decimal
    brings: Decimal
    direct_bps: Decimal
    legs_bps: Decimal


@dataclass(frozen=True, slots=True)
class Routed:
    """The direct orders, and what is left of the sales against the quote currency."""

    direct: tuple[DirectDraft, ...]
    sells: tuple[OrderDraft, ...]


@dataclass(frozen=True, slots=True)
class _Route:
    """A direct pair that is cheaper for selling one asset and buying another."""

    pair: DirectPair
    sell: OrderDraft
    buy: OrderDraft
    limit: Decimal
    brought: Decimal  # D: of what is bought, for one unit of what is sold
    by_legs: Decimal  # L

    @property
    def side(self) -> Side:
        return Side.SELL if self.pair.instrument.base == self.sell.asset else Side.BUY

    @property
    def saved(self) -> Decimal:
        """Share of what is sold that the legs would take beyond it to bring as much."""
        return self.brought / self.by_legs - 1

    @property
    def rank(self) -> tuple[Decimal, str]:
        """What saves most comes first."""
        return -self.brought / self.by_legs, self.pair.instrument.symbol


@dataclass(frozen=True, slots=True)
class _Sale:
    """What is still to be sold of an asset, and what of it is held beside what direct orders may take."""

    quantity: Decimal
    held: Decimal


@exact
def routed(
    planning: PlanningInput, sells: Sequence[OrderDraft], buys: Sequence[OrderDraft], pairs: Sequence[DirectPair]
) -> Routed:
    """Sales and the purchases they are to pay for, with all that is cheaper on a direct pair moved there.

    ``buys``: what would be bought from the proceeds. Direct orders take from each asset no more than its sale at the
    touch, and at their limits no more than is held; they bring no more of each than its purchase and its share of what
    is saved; the pair's filters hold. What they leave of a sale is left out when it is too small for an order. What is
    not routed, or does not trade, goes through the quote currency. The slippage bound of ``planning`` holds for direct
    limits too.
    """
    open_sales = {draft.asset: _Sale(draft.quantity, planning.holdings[draft.asset]) for draft in sells}
    to_buy = {draft.asset: draft.quantity * planning.instruments[draft.asset].buying_keeps for draft in buys}
    by_assets: dict[frozenset[str], list[DirectPair]] = {}
    for pair in pairs:
        by_assets.setdefault(pair.assets, []).append(pair)
    found = (
        _route(planning, sell, buy, pair)
        for sell in sells
        for buy in buys
        for pair in by_assets.get(frozenset({sell.asset, buy.asset}), ())
    )
    direct = []
    for route in sorted((route for route in found if route is not None), key=lambda route: route.rank):
        sale = open_sales[route.sell.asset]
        draft = _sized(planning, route, sale, to_buy[route.buy.asset])
        if draft is not None:
            direct.append(draft)
            kept = draft.takes * route.saved * target_share(planning, draft.sold)
            held = sale.held - draft.takes_at_most
            open_sales[draft.sold] = _Sale(min(max(ZERO, sale.quantity - draft.takes - kept), held), held)
            to_buy[draft.bought] = max(ZERO, to_buy[draft.bought] - draft.brings)
    routed_assets = {draft.sold for draft in direct}
    rest = [_rest(planning, sell, open_sales[sell.asset]) if sell.asset in routed_assets else sell for sell in sells]
    return Routed(tuple(direct), tuple(draft for draft in rest if draft is not None))


@exact
def quotes_agree(quote: Quote) -> bool:
    """Whether a quote can be reckoned with: above zero, not crossed."""
    return ZERO < quote.bid <= quote.ask


def _route(planning: PlanningInput, sell: OrderDraft, buy: OrderDraft, pair: DirectPair) -> _Route | None:
    """The route when it is cheaper at the touch, with a limit at which it is not dearer; None else."""
    listed, quote = pair.instrument, pair.quote
    sold, bought = tradable(planning, sell.asset), tradable(planning, buy.asset)
    if sold is None or bought is None or not listed.tradable or not quotes_agree(quote):
        return None
    by_legs = planning.quotes[sell.asset].bid * (1 - sold.taker_fee) * bought.buying_keeps
    by_legs /= planning.quotes[buy.asset].ask * bought.buying_costs
    slip = planning.slippage_bps / BPS
    if listed.base == sell.asset:
        kept = 1 - listed.taker_fee
        brought = quote.bid * kept
        limit = ceil_to_step(max(by_legs / kept, quote.bid * (1 - slip)), listed.tick_size)
        is_met = limit <= quote.bid
    else:
        rate = listed.buying_keeps / listed.buying_costs
        brought = rate / quote.ask
        limit = floor_to_step(min(rate / by_legs, quote.ask * (1 + slip)), listed.tick_size)
        is_met = limit >= quote.ask
    return _Route(pair, sell, buy, limit, brought, by_legs) if is_met and brought > by_legs else None


def _sized(planning: PlanningInput, route: _Route, sale: _Sale, to_buy: Decimal) -> DirectDraft | None:
    """The order of a route, as large as both sides and the filters allow; None when that is too small."""
    listed, limit = route.pair.instrument, route.limit
    if route.side is Side.SELL:
        takes = at_most = ONE
        brings = route.pair.quote.bid * (1 - listed.taker_fee)
        smallest_price = limit
    else:
        takes, at_most = route.pair.quote.ask * listed.buying_costs, limit * listed.buying_costs
        brings = listed.buying_keeps
        smallest_price = route.pair.quote.ask
    wanted = to_buy * (1 + route.saved * target_share(planning, route.buy.asset))
    most = min(sale.quantity / takes, sale.held / at_most, wanted / brings, listed.max_quantity)
    quantity = floor_to_step(max(most, ZERO), listed.lot_step)
    if quantity <= 0 or quantity < listed.min_quantity or quantity * smallest_price < listed.min_notional:
        return None
    mids = planning.quotes[route.sell.asset].mid / planning.quotes[route.buy.asset].mid
    return DirectDraft(
        pair=listed,
        side=route.side,
        quantity=quantity,
        limit_price=limit,
        sold=route.sell.asset,
        bought=route.buy.asset,
        takes=quantity * takes,
        takes_at_most=quantity * at_most,
        brings=quantity * brings,
        direct_bps=(1 - route.brought / mids) * BPS,
        legs_bps=(1 - route.by_legs / mids) * BPS,
    )


def _rest(planning: PlanningInput, sell: OrderDraft, sale: _Sale) -> OrderDraft | None:
    """What is left of a sale, None when the venue would not take it."""
    listed = planning.instruments[sell.asset]
    rest = floor_to_step(sale.quantity, listed.lot_step)
    touch = sell.value / sell.quantity
    smallest = max(listed.min_quantity, listed.min_notional / min(sell.limit_price, touch))
    return replace(sell, quantity=rest, value=rest * touch) if rest > 0 and rest >= smallest else None


@exact
def worth_quoted(pair: Instrument, quotes: Mapping[str, Quote]) -> Decimal:
    """What one unit of the pair's quote asset is worth in the plan's quote currency: its bid. Raises KeyError."""
    return quotes[pair.quote].bid


def route_in_words(draft: DirectDraft, quote: str) -> str:
    """The route and the costs compared: "direct:BTC to ETH on ETHBTC at 12.0 bps instead of 24.0 bps through USDT"."""
    direct, legs = (bps.quantize(_TENTH) for bps in (draft.direct_bps, draft.legs_bps))
    return (
        f"{_DIRECT}{draft.sold} to {draft.bought} on {draft.pair.symbol} at {direct} bps "
        f"instead of {legs} bps through {quote}"
    )


def routes_in(detail: str) -> tuple[str, ...]:
    """The routes named among the notes of an order or of a plan's end (divided by commas), without their mark."""
    return tuple(note.removeprefix(_DIRECT) for note in detail.split(",") if note.startswith(_DIRECT))
