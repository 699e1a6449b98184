"""The journal as plain-text accounting: Beancount books the lots by itself, and comes to the same gains. Pure.

A strategy is an account that books by the chosen method. What it buys is written with its total cost; what it sells or
pays out is written with `{}`, so that Beancount chooses the lots, and the gain is left to be computed. Fees are where
the results have them: in the cost, in the proceeds, or (in a third asset) a lot given for nothing. Wallets, suspense
and fees that a strategy did not bear are kept in units, without cost.
"""

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal

from services.ledger.facts import QUOTE_UNLESS_TOLD, JournalEntry
from services.ledger.requests import Kind
from shared.contracts.books import FundStrategy, WithdrawFromStrategy
from shared.contracts.orders import OrderFilled
from shared.core.double_entry import EXACT_SUMS, changes_of, strategy_account
from shared.core.errors import Refused
from shared.core.lots import Method, share_of
from shared.core.money import MAX_DECIMALS, ONE, ZERO

_BOOKING = {Method.FIFO: "FIFO", Method.LIFO: "LIFO", Method.HIFO: "HIFO"}
_ROOTS = {"wallet": "Assets:Wallet", "strategy": "Assets:Strategy", "venue": "Equity:Venue", "fees": "Expenses:Fees"}
_SUSPENSE = "Assets:Suspense"


class BeancountText:
    """Turns entries into text, one after the other; accounts are opened where they are first used."""

    def __init__(self, method: Method) -> None:
        """Raises Refused for a method that Beancount cannot book (average)."""
        if method not in _BOOKING:
            raise Refused.one("method", method, ", ".join(_BOOKING), "cannot be booked by Beancount")
        self._booking = _BOOKING[method]
        self._opened: set[str] = set()

    def head(self) -> str:
        """The options; before everything else."""
        return (
            'option "title" "Trimtab"\n'
            f'option "operating_currency" "{QUOTE_UNLESS_TOLD}"\n'
            'option "inferred_tolerance_default" "*:0.0000000001"\n'
        )

    def entry(self, entry: JournalEntry, payouts: Mapping[str, Decimal]) -> str:
        """One entry; ``payouts``: the worth of what was paid out of a strategy, by asset, in the quote currency."""
        lines = list(self._lines(entry, payouts))
        accounts = {line.split()[0] for line in lines} - self._opened
        self._opened |= accounts
        opening = [self._open(account) for account in sorted(accounts)]
        title = f'{entry.market_time.date()} * "{entry.kind}" "{entry.transaction_id}"'
        notes = [f"  sequence: {entry.sequence}", f'  time: "{entry.market_time.isoformat()}"']
        return "\n".join(["", *opening, title, *notes, *(f"  {line}" for line in lines), ""])

    def _open(self, account: str) -> str:
        booking = f' "{self._booking}"' if account.startswith("Assets:Strategy:") else ""
        return f"1970-01-01 open {account}{booking}"

    def _lines(self, entry: JournalEntry, payouts: Mapping[str, Decimal]) -> Iterator[str]:
        own = strategy_account(entry.strategy_id)
        moved = changes_of(entry.postings)
        changes = {asset: change for (of, asset), change in sorted(moved.items()) if of == own and change}
        if entry.strategy_id and changes:
            yield from _of_strategy(entry, changes, payouts)
        is_transfer = entry.kind in {Kind.FUND, Kind.WITHDRAW, Kind.RELEASE}
        for made in () if is_transfer else entry.postings:
            if own not in {made.source, made.destination}:
                yield f"{_account(made.source)} -{_units(made.asset, made.amount)}"
                yield f"{_account(made.destination)} {_units(made.asset, made.amount)}"


def _of_strategy(entry: JournalEntry, changes: Mapping[str, Decimal], payouts: Mapping[str, Decimal]) -> Iterable[str]:
    match entry.kind:
        case Kind.FILL:
            return _trade(entry, changes)
        case Kind.FUND:
            worth = FundStrategy.model_validate_json(entry.request).value_usdt
            return _put_in(entry, changes, worth)
        case Kind.WITHDRAW:
            quote = WithdrawFromStrategy.model_validate_json(entry.request).quote
            return _paid_out(entry, changes, payouts, quote)
        case _:
            return _paid_out(entry, changes, payouts, QUOTE_UNLESS_TOLD)


def _trade(entry: JournalEntry, changes: Mapping[str, Decimal]) -> Iterator[str]:
    fill = OrderFilled.model_validate_json(entry.request)
    if fill.valued_in:
        yield from _exchange(entry, fill, changes)
        return
    account, paid = _account(strategy_account(entry.strategy_id)), changes.get(fill.quote, ZERO)
    has_gain = changes.get(fill.base, ZERO) <= 0 or paid > 0
    for asset, change in changes.items():
        if asset == fill.quote:
            yield f"{account} {_units(asset, change)}"
        elif change > 0:
            cost = max(paid.copy_negate(), ZERO) if asset == fill.base else ZERO
            yield f"{account} {_units(asset, change)} {{{{{_units(fill.quote, cost)}}}}}"
        else:
            has_gain = True
            yield f"{account} {_units(asset, change)} {{}}"
    if has_gain:
        yield _gains(entry)


def _exchange(entry: JournalEntry, fill: OrderFilled, changes: Mapping[str, Decimal]) -> Iterator[str]:
    """One asset for another: what comes costs what the pair's quote asset moved by is worth, and a fee in money."""
    account = _account(strategy_account(entry.strategy_id))
    worth = share_of(changes.get(fill.quote, ZERO).copy_abs(), fill.quote_price, ONE)
    cost_of_traded = EXACT_SUMS.subtract(worth, changes.get(fill.measure, ZERO))
    for asset, change in changes.items():
        if asset == fill.measure:
            yield f"{account} {_units(asset, change)}"
        elif change > 0:
            cost = cost_of_traded if asset in {fill.base, fill.quote} else ZERO
            yield f"{account} {_units(asset, change)} {{{{{_units(fill.measure, cost)}}}}}"
        else:
            yield f"{account} {_units(asset, change)} {{}}"
    yield _gains(entry)


def _put_in(entry: JournalEntry, changes: Mapping[str, Decimal], worth: Decimal) -> Iterator[str]:
    account, wallet = _account(strategy_account(entry.strategy_id)), _account(f"wallet:{entry.venue}")
    for asset, change in changes.items():
        is_quote, total = asset == QUOTE_UNLESS_TOLD, _units(QUOTE_UNLESS_TOLD, worth)
        yield f"{wallet} -{_units(asset, change)}{'' if is_quote else f' @@ {total}'}"
        yield f"{account} {_units(asset, change)}{'' if is_quote else f' {{{{{total}}}}}'}"


def _paid_out(
    entry: JournalEntry, changes: Mapping[str, Decimal], payouts: Mapping[str, Decimal], quote: str
) -> Iterator[str]:
    account, wallet = _account(strategy_account(entry.strategy_id)), _account(f"wallet:{entry.venue}")
    for asset, change in changes.items():
        is_quote, total = asset == quote, _units(quote, payouts.get(asset, ZERO))
        yield f"{account} {_units(asset, change)}{'' if is_quote else ' {}'}"
        yield f"{wallet} {_units(asset, change.copy_abs())}{'' if is_quote else f' @@ {total}'}"
    if set(changes) - {quote}:
        yield _gains(entry)


def _gains(entry: JournalEntry) -> str:
    return f"Income:Gains:{_component(entry.strategy_id)}"


def _account(name: str) -> str:
    of, _, owner = name.partition(":")
    return f"{_ROOTS.get(of, _SUSPENSE)}:{_component(owner)}"


def _component(name: str) -> str:
    """A part of an account's name: letters, digits and dashes, anything else by its number."""
    return "X-" + "".join(c if c.isascii() and (c.isalnum() or c == "-") else f"-{ord(c):x}-" for c in name)


def _units(asset: str, amount: Decimal) -> str:
    """All decimals, because Beancount computes a gain with as many as are written.

    An asset's name that Beancount cannot read as it is (1INCH, A) is put behind `C.`.
    """
    is_name = asset[:1].isalpha() and len(asset) > 1 and asset.isascii() and asset.isalnum() and asset.isupper()
    return f"{amount:.{MAX_DECIMALS}f} {asset if is_name else f'C.{asset}'}"
