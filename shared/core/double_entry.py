"""Double entry per asset: money is only ever moved from one account to another, never made or destroyed.

A posting moves a positive amount of one asset from a source to a destination; a transaction is a set of postings that
happen together. Whatever is posted, the balances of all accounts sum to zero in every asset. The other side of
everything that enters or leaves is the venue's own account, which is negative by that.

What a venue holds for us is, per asset, wallet + strategies + dust + suspense. Suspense is signed: above zero it is
money that is there and that nobody has claimed; below zero it is money that is gone (or was never there) and that
somebody must bear. So a fact is never refused for lack of money, and nobody's own balance is ever below zero.

Source of the method: double-entry bookkeeping as in TigerBeetle ("Two-phase transfers", "Currency exchange") and
Formance (numscript postings: source, destination, asset, amount).
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

from shared.core.errors import Refused
from shared.core.money import MAX_DECIMALS, MAX_DIGITS, ZERO, plain

# Sums of money are exact or they are refused: 56 digits (38 before the point, 18 after) and room for carries.
EXACT_SUMS = Context(prec=80, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])

_VENUE = "venue:"
_SUSPENSE = "suspense:"
_MAX_ASSET_LENGTH = 32

Changes = Mapping[tuple[str, str], Decimal]
"""Change of balance by (account, asset)."""


def wallet_account(venue: str) -> str:
    """The spot wallet of a venue account: money that belongs to no strategy."""
    return f"wallet:{venue}"


def strategy_account(strategy_id: str) -> str:
    """What one strategy holds."""
    return f"strategy:{strategy_id}"


def venue_account(venue: str) -> str:
    """The other side of every deposit and trade; its balance is minus what the venue owes us, so it may be negative."""
    return f"{_VENUE}{venue}"


def fees_account(venue: str) -> str:
    """What the venue has taken as commission."""
    return f"fees:{venue}"


def suspense_account(venue: str) -> str:
    """What nobody has explained or borne yet: above zero a surplus at the venue, below zero what is missing there."""
    return f"{_SUSPENSE}{venue}"


def dust_account(venue: str) -> str:
    """What exits could not sell: below the venue's minimum, or not listed any more. It stays the user's own."""
    return f"dust:{venue}"


def may_be_negative(account: str) -> bool:
    """Whether an account may owe: only a venue's own, and its suspense."""
    return account.startswith((_VENUE, _SUSPENSE))


@dataclass(frozen=True, slots=True)
class Posting:
    """``amount`` (> 0) of ``asset`` moves from ``source`` to ``destination``. Raises Refused when it is no movement."""

    source: str
    destination: str
    asset: str
    amount: Decimal

    def __post_init__(self) -> None:
        if not self.asset or len(self.asset) > _MAX_ASSET_LENGTH or not self.asset.isprintable():
            allowed = f"1 to {_MAX_ASSET_LENGTH} printable characters"
            raise Refused.one("asset", self.asset, allowed, "is not an asset")
        if not self.source or not self.destination or self.source == self.destination:
            raise Refused.one("destination", self.destination, f"not {self.source!r}", "must be another account")
        if not self.amount.is_finite() or self.amount <= 0:
            raise Refused.one("amount", str(self.amount), "more than 0", "is not an amount that can be moved")
        if not fits(self.amount):
            allowed = f"at most {MAX_DIGITS} digits, {MAX_DECIMALS} of them decimals"
            raise Refused.one("amount", plain(self.amount), allowed, "cannot be kept exactly")


@dataclass(frozen=True, slots=True)
class Transaction:
    """Postings that happen together or not at all.

    ``transaction_id`` is a function of what is posted ("fill:<venue>:<trade id>"), so that a repeat names the same one.
    ``strategy_id`` is empty when no strategy takes part. Raises Refused without postings.
    """

    transaction_id: str
    kind: str
    venue: str
    strategy_id: str
    postings: tuple[Posting, ...]

    def __post_init__(self) -> None:
        if not self.postings:
            raise Refused.one("postings", "none", "at least one", f"transaction {self.transaction_id} moves nothing")


@dataclass(frozen=True, slots=True)
class Trade:
    """One fill as the venue booked it: ``side`` "buy" or "sell" (any case), ``quantity`` in base, fee in its own asset.

    A negative ``fee`` is a rebate.
    """

    venue: str
    strategy_id: str
    side: str
    base: str
    quote: str
    quantity: Decimal
    quote_quantity: Decimal
    fee: Decimal
    fee_asset: str


def fits(amount: Decimal) -> bool:
    """Whether an amount can be kept and sent exactly: at most 38 digits, 18 of them decimals, without end zeros."""
    _, digits, exponent = amount.as_tuple()
    if not isinstance(exponent, int):
        return False
    if -exponent <= MAX_DECIMALS and len(digits) + max(0, exponent) <= MAX_DIGITS:
        return True
    text = plain(amount).lstrip("-")
    return len(text.replace(".", "").lstrip("0")) <= MAX_DIGITS and len(text.partition(".")[2]) <= MAX_DECIMALS


def postings_of_fill(trade: Trade) -> tuple[Posting, ...]:
    """The movements of a fill: what is given to the venue, what is received from it, and the fee.

    buy: strategy -> venue quote_quantity of quote; venue -> strategy quantity of base; strategy -> fees the fee.
    sell: strategy -> venue quantity of base; venue -> strategy quote_quantity of quote; the same fee.
    A rebate comes from the venue. A leg of zero (a quote amount below the venue's smallest unit) moves nothing.
    Raises Refused for another side, a quantity that is not positive, or a negative quote quantity.
    """
    side = trade.side.lower()
    if side not in {"buy", "sell"}:
        raise Refused.one("side", trade.side, "buy or sell", "is not a side")
    if trade.quantity <= 0:
        raise Refused.one("quantity", plain(trade.quantity), "more than 0", "a fill moves something")
    if trade.quote_quantity < 0:
        raise Refused.one("quote_quantity", plain(trade.quote_quantity), "0 or more", "a fill's value is not negative")
    strategy, venue = strategy_account(trade.strategy_id), venue_account(trade.venue)
    base, quote = (trade.base, trade.quantity), (trade.quote, trade.quote_quantity)
    given, received = (quote, base) if side == "buy" else (base, quote)
    movements = [(strategy, venue, *given), (venue, strategy, *received)]
    if trade.fee >= 0:
        movements.append((strategy, fees_account(trade.venue), trade.fee_asset, trade.fee))
    else:
        movements.append((venue, strategy, trade.fee_asset, trade.fee.copy_negate()))
    return tuple(Posting(*movement) for movement in movements if movement[3] != 0)


@dataclass(frozen=True, slots=True)
class Cover:
    """What a fill may be taken from, by asset: of the strategy that traded, and of the wallet (for the fee only)."""

    strategy: Mapping[str, Decimal]
    wallet: Mapping[str, Decimal]


def covered(postings: Iterable[Posting], trade: Trade, cover: Cover) -> tuple[Posting, ...]:
    """The movements of a fill with each taken from who can bear it; the amounts are the same in all.

    A fee the strategy does not hold (the asset of a fee discount) is borne by the wallet, and what the wallet does not
    hold either by suspense. What was given to the venue and the strategy does not hold is taken from suspense.
    """
    strategy, wallet = strategy_account(trade.strategy_id), wallet_account(trade.venue)
    suspense, fees = suspense_account(trade.venue), fees_account(trade.venue)
    held = {strategy: dict(cover.strategy), wallet: dict(cover.wallet)}
    found: list[Posting] = []
    for posting in postings:
        if posting.destination == strategy:
            own = held[strategy]
            own[posting.asset] = EXACT_SUMS.add(own.get(posting.asset, ZERO), posting.amount)
            found.append(posting)
            continue
        rest = posting.amount
        for bearer in (strategy, wallet) if posting.destination == fees else (strategy,):
            taken = min(rest, held[bearer].get(posting.asset, ZERO))
            if taken > 0:
                held[bearer][posting.asset] = EXACT_SUMS.subtract(held[bearer][posting.asset], taken)
                rest = EXACT_SUMS.subtract(rest, taken)
                found.append(Posting(bearer, posting.destination, posting.asset, taken))
        if rest > 0:
            found.append(Posting(suspense, posting.destination, posting.asset, rest))
    return tuple(found)


def in_suspense(postings: Iterable[Posting], trade: Trade) -> tuple[Posting, ...]:
    """The movements of a fill of which the strategy must have no part (it was never funded, or is closed)."""
    owner = {strategy_account(trade.strategy_id): suspense_account(trade.venue)}
    return tuple(
        Posting(owner.get(p.source, p.source), owner.get(p.destination, p.destination), p.asset, p.amount)
        for p in postings
    )


def postings_of_difference(venue: str, asset: str, amount: Decimal) -> tuple[Posting, ...]:
    """The venue holds ``amount`` more (below zero: less) than the books: venue -> suspense, or back.

    Raises Refused for zero.
    """
    if amount < 0:
        return (Posting(suspense_account(venue), venue_account(venue), asset, amount.copy_negate()),)
    return (Posting(venue_account(venue), suspense_account(venue), asset, amount),)


def postings_of_acceptance(venue: str, asset: str, amount: Decimal) -> tuple[Posting, ...]:
    """``amount`` in suspense becomes the wallet's, a surplus as its gain and what is missing as its loss.

    Raises Refused for zero.
    """
    if amount < 0:
        return (Posting(wallet_account(venue), suspense_account(venue), asset, amount.copy_negate()),)
    return (Posting(suspense_account(venue), wallet_account(venue), asset, amount),)


def postings_of_deposit(venue: str, asset: str, amount: Decimal) -> tuple[Posting, ...]:
    """Money from outside: venue -> wallet. Raises Refused when ``amount`` is not positive."""
    return (Posting(venue_account(venue), wallet_account(venue), asset, amount),)


def postings_of_fund(venue: str, strategy_id: str, asset: str, amount: Decimal) -> tuple[Posting, ...]:
    """Money put into a strategy: wallet -> strategy. Raises Refused when ``amount`` is not positive."""
    return (Posting(wallet_account(venue), strategy_account(strategy_id), asset, amount),)


def postings_of_release(
    venue: str, strategy_id: str, holdings: Mapping[str, Decimal], dust: Collection[str] = ()
) -> tuple[Posting, ...]:
    """Everything a strategy holds goes back: strategy -> wallet, one posting per asset, in alphabetical order.

    The assets in ``dust`` go to the dust account.
    """
    source, wallet, rest = strategy_account(strategy_id), wallet_account(venue), dust_account(venue)
    return tuple(
        Posting(source, rest if asset in dust else wallet, asset, amount)
        for asset, amount in sorted(holdings.items())
        if amount
    )


def postings_of_sweep(venue: str, asset: str, amount: Decimal) -> tuple[Posting, ...]:
    """Dust becomes the wallet's: dust -> wallet. Raises Refused when ``amount`` is not positive."""
    return (Posting(dust_account(venue), wallet_account(venue), asset, amount),)


def changes_of(postings: Iterable[Posting]) -> dict[tuple[str, str], Decimal]:
    """Net change of every balance the postings touch, by (account, asset); exact."""
    changes: dict[tuple[str, str], Decimal] = {}
    for posting in postings:
        given, taken = (posting.source, posting.asset), (posting.destination, posting.asset)
        changes[given] = EXACT_SUMS.subtract(changes.get(given, ZERO), posting.amount)
        changes[taken] = EXACT_SUMS.add(changes.get(taken, ZERO), posting.amount)
    return changes


def unbalanced(changes: Changes) -> dict[str, Decimal]:
    """Assets whose changes (or balances) do not sum to zero, with what is over; empty when the books balance."""
    totals: dict[str, Decimal] = {}
    for (_, asset), amount in changes.items():
        totals[asset] = EXACT_SUMS.add(totals.get(asset, ZERO), amount)
    return {asset: total for asset, total in totals.items() if total}
