"""Is a strategy possible at a venue now, and what would happen first? Pure: the market and the wallet are arguments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from services.strategy_registry.amounts import refuse_untradable
from services.strategy_registry.market import Market
from shared.contracts.strategies import OrderForeseen
from shared.core import drift, minimums, planning
from shared.core.errors import Refused
from shared.core.matching import Side
from shared.core.money import ONE, ZERO, ceil_to_step, exact, plain
from shared.core.rules import Destination, leg_widths
from shared.core.strategy import MAX_AMOUNT_USDT, StrategyDefinition, warnings_of

_SMALLEST = Decimal(1).scaleb(-8)
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class CheckedPreview:
    """What a possible strategy would do first. Values and fees in the venue's quote currency."""

    warnings: tuple[str, ...]
    minimum_amount: Decimal
    value: Decimal
    estimated_fees: Decimal
    orders: tuple[OrderForeseen, ...]


def refuse_unknown_venue(venue: str, venues: Sequence[str]) -> None:
    """Raises Refused when ``venue`` is not one of the configured venues."""
    if venue not in venues:
        raise Refused.one("venue", venue, ", ".join(venues), "is not a configured venue")


def checked_preview(
    definition: StrategyDefinition, market: Market, wallet: Mapping[str, Decimal], slippage_bps: Decimal
) -> CheckedPreview:
    """Check a definition against the market and foresee its first orders.

    ``wallet``: balances of the spot wallet; too little of the funding asset is a warning here and a refusal at funding.
    Raises Refused with every problem, RetryLater when a price is stale or not known yet.
    """
    _refuse_untradable(definition, market)
    _refuse_start_in_cash(definition, market)
    value = funding_value(definition, market)
    minimum = _refuse_too_small(definition, market, value)
    orders, fees, dropped = _first_orders(definition, market, slippage_bps)
    small = _cycle_warning(definition, market)
    warnings = [*warnings_of(definition), *_wallet_warning(definition, wallet), *dropped, *small]
    return CheckedPreview(tuple(warnings), minimum, value, fees, orders)


@exact
def funding_value(definition: StrategyDefinition, market: Market) -> Decimal:
    """The amount's worth in the quote currency at bid, to 8 decimals.

    Raises Refused from 200,000 USDT on, RetryLater when the price is not known now.
    """
    price = ONE if definition.funding_asset == market.quote else market.quote_of(definition.funding_asset).bid
    value = definition.amount * price
    if value >= MAX_AMOUNT_USDT:
        allowed = f"more than 0 and less than {plain(MAX_AMOUNT_USDT)} USDT in value"
        message = f"is worth {plain(drift.shown(value))} USDT, which is too much"
        if definition.funding_asset == market.quote:
            message = "is too much"
        raise Refused.one("amount", plain(definition.amount), allowed, message)
    return value if price == ONE else value.quantize(_SMALLEST)


def _refuse_untradable(definition: StrategyDefinition, market: Market) -> None:
    """Refuse assets the venue cannot trade now; afterwards every asset has an instrument and a usable quote."""
    wanted = {"funding_asset": definition.funding_asset}
    wanted |= {f"targets.{asset}": asset for asset in definition.targets}
    if definition.auto_invest is not None:
        wanted["auto_invest.asset"] = definition.auto_invest.asset
    refuse_untradable(wanted, market)
    for asset in wanted.values():
        if asset != market.quote:
            market.quote_of(asset)


def _refuse_start_in_cash(definition: StrategyDefinition, market: Market) -> None:
    if definition.start is not None and definition.start.asset == market.quote:
        targets = ", ".join(asset for asset in definition.targets if asset != market.quote)
        raise Refused.one("start.asset", market.quote, targets, "has no price of its own")


@exact
def _refuse_too_small(definition: StrategyDefinition, market: Market, value: Decimal) -> Decimal:
    """The smallest possible amount in the funding asset. Raises Refused when the amount is less than that."""
    targets, asset = definition.targets, definition.funding_asset
    widths = leg_widths(definition.rule, targets)
    smallest = minimums.minimum_amount(targets, widths, market.instruments, market.quotes, market.quote)
    minimum = smallest.amount
    if asset != market.quote:
        minimum = ceil_to_step(smallest.amount / market.quote_of(asset).bid, _SMALLEST)
    if value >= smallest.amount:
        return minimum
    allowed = f"at least {plain(minimum)} {asset}"
    purchase = minimums.minimum_amount(targets, None, market.instruments, market.quotes, market.quote)
    if widths is not None and value >= purchase.amount:
        enough = minimums.smallest_threshold(value, targets, market.instruments, market.quotes, market.quote)
        if definition.rule.destination is Destination.HALFWAY:
            enough *= 2
        allowed += f" at this threshold, or a threshold of at least {plain(enough)} at this amount"
    message = f"is too small: {smallest.explanation}"
    raise Refused.one("amount", plain(definition.amount), allowed, message)


@exact
def _first_orders(
    definition: StrategyDefinition, market: Market, slippage_bps: Decimal
) -> tuple[tuple[OrderForeseen, ...], Decimal, list[str]]:
    """Sells of the funding asset, then purchases from the proceeds; with the fees, and warnings about legs left out."""
    wanted = planning.PlanningInput(
        targets_pct=definition.targets,
        holdings={definition.funding_asset: definition.amount},
        quotes=market.quotes,
        instruments=market.instruments,
        quote=market.quote,
        slippage_bps=slippage_bps,
    )
    sells = planning.sell_orders(wanted)
    holdings = {definition.funding_asset: definition.amount}
    for draft in sells.drafts:
        fee = market.instruments[draft.asset].taker_fee
        proceeds = draft.quantity * market.quotes[draft.asset].bid * (1 - fee)
        holdings[draft.asset] -= draft.quantity
        holdings[market.quote] = holdings.get(market.quote, ZERO) + proceeds
    sold = frozenset(draft.asset for draft in sells.drafts)
    buys = planning.buy_orders(replace(wanted, holdings=holdings, sold=sold))
    orders, fees = [], ZERO
    for draft in (*sells.drafts, *buys.drafts):
        quoted = market.quotes[draft.asset]
        price = quoted.bid if draft.side is Side.SELL else quoted.ask
        value = draft.quantity * price
        fees += value * market.instruments[draft.asset].taker_fee
        side = draft.side.value.lower()
        shown_value = drift.shown(value)
        orders.append(
            OrderForeseen(
                side=side,
                asset=draft.asset,
                symbol=draft.symbol,
                quantity=draft.quantity,
                price=price,
                value=shown_value,
            )
        )
    left_out = [f"no first order for {code.partition(':')[2]}: {code.partition(':')[0]}" for code in buys.dropped]
    return tuple(orders), drift.shown(fees), left_out


def _wallet_warning(definition: StrategyDefinition, wallet: Mapping[str, Decimal]) -> list[str]:
    asset = definition.funding_asset
    there = wallet.get(asset, ZERO)
    if there >= definition.amount:
        return []
    return [
        f"the wallet of {definition.venue} holds {plain(there)} {asset}, less than {plain(definition.amount)} {asset}: "
        "the strategy will be refused unless more is deposited before it is confirmed"
    ]


@exact
def _cycle_warning(definition: StrategyDefinition, market: Market) -> list[str]:
    """Says when one cycle of Auto-Invest is too little to buy anything. Raises Refused when it is too much."""
    auto_invest = definition.auto_invest
    if auto_invest is None:
        return []
    asset, quote = auto_invest.asset, market.quote
    value = auto_invest.amount * (ONE if asset == quote else market.quote_of(asset).bid)
    if value >= MAX_AMOUNT_USDT:
        allowed = f"less than {plain(MAX_AMOUNT_USDT)} USDT in value"
        raise Refused.one("auto_invest.amount", plain(auto_invest.amount), allowed, "is too much")
    smallest = minimums.smallest_cycle(definition.targets, market.instruments, market.quotes, quote)
    if asset != quote:
        smallest = max(smallest, minimums.smallest_leg(asset, market.instruments, market.quotes))
    if value >= smallest:
        return []
    least = plain(ceil_to_step(smallest, _CENT))
    return [
        f"auto_invest.amount {plain(auto_invest.amount)} {asset} is too little to be invested at once: below {least} "
        f"{quote} in value its money waits until later cycles have added enough"
    ]
