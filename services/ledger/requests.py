"""What the ledger is asked to post: nine messages, each with an id of its own and a digest of what must not differ.

A message may come any number of times. The id says whether it is a repeat, the digest whether it is the same: it covers
everything that decides the movement of money, and nothing that may differ between two reports of one fact (times,
counters).
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import cached_property

from shared.contracts.books import FundStrategy, ReleaseStrategy, SweepDust, WithdrawFromStrategy
from shared.contracts.orders import DepositObserved, OrderChanged, OrderFilled
from shared.contracts.reconciliation import AcceptSuspense, BalanceDiffered
from shared.contracts.wire import Meta
from shared.core.double_entry import (
    Trade,
    dust_account,
    fees_account,
    strategy_account,
    suspense_account,
    venue_account,
)
from shared.core.double_entry import wallet_account as wallet_of
from shared.core.money import plain

Transfer = FundStrategy | WithdrawFromStrategy | ReleaseStrategy
Reconciliation = BalanceDiffered | AcceptSuspense
Body = OrderFilled | OrderChanged | DepositObserved | Transfer | Reconciliation | SweepDust

_VENUE_ACCOUNTS = (wallet_of, venue_account, fees_account, suspense_account, dust_account)


class Kind(StrEnum):
    """The kinds of journal entries, and the reservation, which moves no money and so makes none."""

    DEPOSIT = "deposit"
    FUND = "fund"
    FILL = "fill"
    WITHDRAW = "withdraw"
    RELEASE = "release"
    SUSPENSE = "suspense"
    ACCEPT = "accept"
    SWEEP = "sweep"
    RESERVE = "reserve"


_KINDS: Mapping[type[Body], Kind] = {
    OrderFilled: Kind.FILL,
    OrderChanged: Kind.RESERVE,
    DepositObserved: Kind.DEPOSIT,
    FundStrategy: Kind.FUND,
    WithdrawFromStrategy: Kind.WITHDRAW,
    ReleaseStrategy: Kind.RELEASE,
    BalanceDiffered: Kind.SUSPENSE,
    AcceptSuspense: Kind.ACCEPT,
    SweepDust: Kind.SWEEP,
}


@dataclass(frozen=True)
class Request:
    """One message to be posted, with what it came with. ``is_last_try``: what is still short goes to suspense."""

    body: Body
    meta: Meta
    is_last_try: bool = False

    @property
    def kind(self) -> Kind:
        """Which kind of entry it becomes."""
        return _KINDS[type(self.body)]

    @property
    def has_entry(self) -> bool:
        """Whether it becomes a journal entry; a word on an order only moves what is reserved."""
        return not isinstance(self.body, OrderChanged)

    @property
    def strategy_id(self) -> str:
        """The strategy that takes part; "" when none does."""
        return "" if isinstance(self.body, DepositObserved | Reconciliation | SweepDust) else self.body.strategy_id

    @property
    def transfer_id(self) -> str:
        """The id of a transfer command; "" for facts."""
        return self.body.transfer_id if isinstance(self.body, Transfer) else ""

    @property
    def transaction_id(self) -> str:
        """The journal entry it becomes: acceptances and sweeps are named by their message, the others by their ids."""
        match self.body:
            case OrderFilled():
                return f"fill:{self.body.venue}:{self.body.trade_id}"
            case OrderChanged():
                return f"order:{self.body.client_order_id}:{self.body.version}"
            case DepositObserved():
                return f"deposit:{self.body.venue}:{self.body.deposit_id}"
            case FundStrategy() | WithdrawFromStrategy() | ReleaseStrategy():
                return f"transfer:{self.body.transfer_id}"
            case BalanceDiffered():
                return f"difference:{self.body.venue}:{self.body.difference_id}"
            case AcceptSuspense():
                return f"accept:{self.body.venue}:{self.meta.message_id}"
            case SweepDust():
                return f"sweep:{self.body.venue}:{self.meta.message_id}"

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over the kind and the fields that decide the movement of money, length-prefixed."""
        digest = hashlib.sha256()
        for value in (self.kind, *_deciding_fields(self.body)):
            text = (plain(value) if isinstance(value, Decimal) else str(value)).encode()
            digest.update(b"%d:" % len(text))
            digest.update(text)
        return digest.digest()

    @property
    def accounts(self) -> tuple[str, ...]:
        """Every account it may touch or must read."""
        venue = self.body.venue
        shared_accounts = tuple(account(venue) for account in _VENUE_ACCOUNTS)
        return (*shared_accounts, strategy_account(self.strategy_id)) if self.strategy_id else shared_accounts


def trade_of(fill: OrderFilled) -> Trade:
    """The trade in a fill message, for the core."""
    return Trade(
        venue=fill.venue,
        strategy_id=fill.strategy_id,
        side=fill.side,
        base=fill.base,
        quote=fill.quote,
        quantity=fill.quantity,
        quote_quantity=fill.quote_quantity,
        fee=fill.fee,
        fee_asset=fill.fee_asset,
    )


def _deciding_fields(body: Body) -> Sequence[object]:
    match body:
        case OrderFilled():
            side = body.side.lower()
            amounts = (body.quantity, body.quote_quantity, body.fee, body.price)
            valued = (body.valued_in, body.quote_price) if body.valued_in else ()
            what = (body.base, body.quote, body.fee_asset, *amounts, *valued)
            return (body.venue, body.trade_id, body.strategy_id, side, *what)
        case OrderChanged():
            taken = (part for taken in sorted(body.may_take.items()) for part in taken)
            return (body.venue, body.strategy_id, body.client_order_id, body.version, body.state, *taken)
        case DepositObserved():
            return (body.venue, body.deposit_id, body.asset, body.amount)
        case FundStrategy():
            money = (body.asset, body.amount, body.value_usdt)
            return (body.venue, body.transfer_id, body.strategy_id, *money)
        case WithdrawFromStrategy():
            wanted = (body.asset, body.amount, body.percent, body.fills_required, body.quote)
            prices = (part for priced in sorted(body.prices.items()) for part in priced)
            return (body.venue, body.transfer_id, body.strategy_id, *wanted, *prices)
        case ReleaseStrategy():
            # What was kept before there was dust is named as it was.
            sold = (body.sold_into,) if body.sold_into else ()
            return (body.venue, body.transfer_id, body.strategy_id, body.fills_required, *sold)
        case BalanceDiffered():
            return (body.venue, body.difference_id, body.asset, body.amount)
        case AcceptSuspense() | SweepDust():
            return (body.venue, body.asset, body.amount)
