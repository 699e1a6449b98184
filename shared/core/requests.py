"""What a running strategy was asked to do: rebalance now, spend new money, make money available. One plan for each.

Whatever the rule says: no band, no interval, no cooldown and no cost guard keeps a request waiting, and an instrument
that is halted only keeps its own asset out. A plan is made even when nothing needs to be traded: the executor's word on
it is what the registry goes on with. Where the money goes to and comes from: ``shared.core.funding``.
"""

from collections.abc import Mapping
from decimal import Decimal

from shared.core.drift import Valuation, Valued, shown_text, without_price
from shared.core.funding import Money, invest_aim, withdraw_aim
from shared.core.matching import Side
from shared.core.money import HUNDRED, ONE, ZERO, exact, plain
from shared.core.reasons import Reason, code_of
from shared.core.rules import DEFAULT_COOLDOWN
from shared.core.situation import INVEST, REBALANCE, WITHDRAW, Request, RequestKind
from shared.core.triggers import aim_texts, cooling
from shared.core.verdicts import Decision, Hold, Look


def decide_request(look: Look) -> Decision | None:
    """The plan for the first request, or what it waits for; None when nothing is asked for.

    While money is on its way in nothing else is begun: what has arrived, but is not told of yet, would be spent by the
    rebalance rule.
    """
    situation = look.situation
    strategy = situation.strategy
    request = strategy.request
    if request is None:
        return look.hold(Reason.MONEY_ARRIVING) if strategy.money_arriving else None
    if look.position.version < request.position_version:
        return look.hold(Reason.AWAITING_POSITION)
    if situation.last_closed_answers == request.request_id:  # so every order came to nothing, or the plan expired
        waits = cooling(look, DEFAULT_COOLDOWN)
        if waits is not None:
            return waits
    if request.kind is RequestKind.REBALANCE:
        return look.plan(REBALANCE, Reason.REBALANCE_NOW.value, answers=request.request_id)
    unusable = unusable_price_of(look, request.asset)
    if unusable is not None:
        return unusable
    return _spent(look, request) if request.kind is RequestKind.INVEST else _made_available(look, request)


def unusable_price_of(look: Look, asset: str) -> Hold | None:
    """The hold while the price of an asset, which need not be one of the strategy's, cannot be relied on."""
    market = look.market
    if without_price((asset,), market.quotes, market.quote):
        return look.hold(Reason.MISSING_PRICE, asset)
    return look.hold(Reason.STALE_PRICE, asset) if asset in market.stale and asset != market.quote else None


def _spent(look: Look, request: Request) -> Decision:
    amount = request.amount or ZERO
    aim = invest_aim(look.valuation, _money(look, request.asset, amount))
    worth = _worth(amount, _line_of(look, request.asset).bid)
    figures = {"asset": request.asset, "amount": plain(amount), "worth": shown_text(worth)}
    return look.plan(
        INVEST,
        code_of(Reason.NEW_MONEY, request.asset),
        figures | aim_texts(look, aim),
        aim,
        request.request_id,
        _only(Side.BUY, aim, look, request.asset),
    )


def _made_available(look: Look, request: Request) -> Decision:
    line = _line_of(look, request.asset)
    amount = request.amount
    if amount is None:
        amount = _share(look.valuation.total, request.percent or ZERO, line.bid)
    aim = withdraw_aim(look.valuation, _money(look, request.asset, amount), line)
    wanted = f"{plain(request.percent)} %" if request.percent is not None else f"{plain(amount)} {request.asset}"
    figures = {"asset": request.asset, "wanted": wanted, "worth": shown_text(_worth(amount, line.bid))}
    return look.plan(
        WITHDRAW,
        code_of(Reason.WITHDRAWAL, request.asset),
        figures | aim_texts(look, aim),
        aim,
        request.request_id,
        _only(Side.SELL, aim, look, request.asset),
    )


def _money(look: Look, asset: str, amount: Decimal) -> Money:
    market = look.market
    fixed = frozenset(line.asset for line in look.valuation.lines if not market.can_trade(line.asset))
    return Money(asset, amount, market.quote, fixed if market.can_trade(asset) else fixed | {asset})


def _only(side: Side, aim: Valuation, look: Look, asset: str) -> Mapping[str, Side]:
    """One way for all but the money's own asset, which is sold when it arrives and bought to be paid out."""
    both = asset if asset != look.market.quote else ""
    return {line.asset: side for line in aim.lines if line.asset != both}


def _line_of(look: Look, asset: str) -> Valued:
    """The asset's line, with nothing in it for one that is neither held nor a target."""
    for line in look.valuation.lines:
        if line.asset == asset:
            return line
    if asset == look.market.quote:
        return Valued(asset, ZERO, ONE, ONE, ZERO, ZERO)
    quote = look.market.quotes[asset]
    return Valued(asset, ZERO, quote.bid, quote.ask, ZERO, ZERO)


@exact
def _worth(amount: Decimal, bid: Decimal) -> Decimal:
    return amount * bid


@exact
def _share(total: Decimal, percent: Decimal, bid: Decimal) -> Decimal:
    return total * percent / HUNDRED / bid
