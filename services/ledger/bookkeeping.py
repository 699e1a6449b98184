"""Posting, as a pure function of the pages read and the requests given: no database, no clock.

Every request ends in one of four ways: posted (or settled), already posted (no effect), NotCovered (the money it moves
is not there yet), or Refused (it can never be posted as it is). Whatever the order of arrival, the same requests lead
to the same balances.

A fill is a fact. What it moves and nobody has is taken from suspense: a missing fee at once (after the wallet), missing
money with the last try, and all of it where the strategy was never funded or is closed.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from services.ledger.pages import (
    Changes,
    Entry,
    Pages,
    StrategyRecord,
    SuspenseMove,
    TransferRecord,
    TransferState,
    VenueRecord,
)
from services.ledger.requests import Request, trade_of
from services.ledger.withdrawals import dust_of, payout_of
from shared.contracts.books import FundStrategy, ReleaseStrategy, SweepDust, WithdrawFromStrategy
from shared.contracts.orders import DepositObserved, OrderChanged, OrderFilled
from shared.contracts.reconciliation import AcceptSuspense, BalanceDiffered
from shared.core.double_entry import (
    EXACT_SUMS,
    Cover,
    Posting,
    Transaction,
    changes_of,
    covered,
    dust_account,
    fits,
    in_suspense,
    may_be_negative,
    postings_of_acceptance,
    postings_of_deposit,
    postings_of_difference,
    postings_of_fill,
    postings_of_fund,
    postings_of_release,
    postings_of_sweep,
    strategy_account,
    suspense_account,
    unbalanced,
    wallet_account,
)
from shared.core.errors import Refused, Stop, TrimtabError
from shared.core.money import MAX_DECIMALS, MAX_DIGITS, ZERO, plain


class NotCovered(TrimtabError):  # noqa: N818 - says what the request is
    """A fill moves more than the strategy holds. What covers it may be on its way, so it is worth a few more tries;
    with the last of them it goes to suspense.
    """


class Bookkeeper:
    """Settles requests on ``pages``, one after the other; ``changes`` is what must be written back.

    A request that raises has changed nothing.
    """

    def __init__(self, pages: Pages, now: datetime) -> None:
        self.pages = pages
        self.changes = Changes()
        self.posted_at = max(now, pages.posted_at)

    def settle_all(self, requests: Sequence[Request]) -> list[TrimtabError | None]:
        """The outcome of each request, in order: None when it is (or was already) settled, else why not.

        What is short of money is tried again after the others, as long as that helps: messages that arrived together
        may have overtaken each other. Only then a fill whose last try this is goes to suspense.
        """
        outcomes: list[TrimtabError | None] = [None] * len(requests)
        pending: Sequence[int] = range(len(requests))
        while pending:
            for index in pending:
                outcomes[index] = self._outcome_of(requests[index])
            short = [index for index in pending if isinstance(outcomes[index], NotCovered)]
            if len(short) == len(pending):
                for index in short:
                    if requests[index].is_last_try:
                        outcomes[index] = self._outcome_of(requests[index], may_be_short=True)
                break
            pending = short
        return outcomes

    def _outcome_of(self, request: Request, *, may_be_short: bool = False) -> TrimtabError | None:
        try:
            self.settle(request, may_be_short=may_be_short)
        except (NotCovered, Refused) as error:
            return error
        return None

    def settle(self, request: Request, *, may_be_short: bool = False) -> None:
        """Post one request unless it is a repeat. Raises NotCovered or Refused, having changed nothing."""
        if isinstance(request.body, OrderChanged):
            self._learn_of_order(request.body)
            return
        digest = request.digest
        if self._is_repeat(request, digest):
            return
        match request.body:
            case DepositObserved() as deposit:
                postings = postings_of_deposit(deposit.venue, deposit.asset, deposit.amount)
                self._post(request, postings, deposit.market_time, request.meta.occurred_at)
            case OrderFilled() as fill:
                self._post_fill(request, fill, may_be_short=may_be_short)
            case BalanceDiffered() as seen:
                postings = postings_of_difference(seen.venue, seen.asset, seen.amount)
                self._post(request, postings, seen.market_time, request.meta.occurred_at)
            case AcceptSuspense() as command:
                self._accept(request, command)
            case SweepDust() as command:
                self._sweep(request, command)
            case FundStrategy() as command:
                self._settle_fund(request, command)
            case WithdrawFromStrategy() | ReleaseStrategy():
                self._settle_or_wait(TransferRecord(request, TransferState.WAITING))
        if request.transfer_id:
            self.pages.transfer_digests[request.transfer_id] = digest

    def _learn_of_order(self, word: OrderChanged) -> None:
        """Reserve, or set free; what waited for the last open order to end is settled. Raises Refused."""
        self.pages.reservations.learn(word)
        if not self.pages.reservations.has_open(word.strategy_id):
            self._settle_waiting(word.strategy_id)

    def _is_repeat(self, request: Request, digest: bytes) -> bool:
        if request.transfer_id:
            known = self.pages.transfer_digests.get(request.transfer_id)
        else:
            known = self.pages.digests.get(request.transaction_id)
        if known is not None and known != digest:
            allowed = "the content it was first received with"
            raise Refused.one("content", request.body.model_dump_json(), allowed, f"{request.transaction_id} differs")
        return known is not None

    def _accept(self, request: Request, command: AcceptSuspense) -> None:
        """Give to the wallet exactly what is in suspense. Raises Refused when it is another amount by now."""
        venue, asset, amount = command.venue, command.asset, command.amount
        unexplained = self.pages.balance(suspense_account(venue), asset)
        if not unexplained or unexplained != amount:
            allowed = f"{plain(unexplained)} (what is in suspense now)"
            raise Refused.one("amount", plain(amount), allowed, f"is not what is in suspense of {asset} at {venue}")
        held = self.pages.balance(wallet_account(venue), asset)
        if EXACT_SUMS.add(held, amount) < 0:
            allowed = f"at most {plain(held)} {asset}, what the wallet holds"
            message = "must be borne by the wallet: deposit more, or take it out of a strategy first"
            raise Refused.one("amount", plain(amount), allowed, message)
        self._post_ours(request, postings_of_acceptance(venue, asset, amount))

    def _sweep(self, request: Request, command: SweepDust) -> None:
        """Give dust to the wallet. Raises Refused when there is not so much of it."""
        venue, asset, amount = command.venue, command.asset, command.amount
        held = self.pages.balance(dust_account(venue), asset)
        if not 0 < amount <= held:
            allowed = f"more than 0, at most {plain(held)} (what there is)"
            raise Refused.one("amount", plain(amount), allowed, f"is not there as dust of {asset} at {venue}")
        self._post_ours(request, postings_of_sweep(venue, asset, amount))

    def _post_fill(self, request: Request, fill: OrderFilled, *, may_be_short: bool) -> None:
        known = self.pages.strategies.get(fill.strategy_id)
        if known is None and not may_be_short:
            raise NotCovered(f"{request.transaction_id}: strategy {fill.strategy_id} was never funded")
        record = known or StrategyRecord(fill.venue, is_open=False)
        _require_venue(record, request)
        postings = self._fill_postings(request, fill, record, may_be_short=may_be_short)
        self.pages.strategies[fill.strategy_id] = record
        try:
            sequence = self._post(request, postings, fill.market_time, fill.received_at)
        except (NotCovered, Refused):
            if known is None:
                del self.pages.strategies[fill.strategy_id]
            raise
        self.pages.reservations.fill(fill, sequence)
        record.fills_posted += 1
        if fill.fee > 0:
            record.fees[fill.fee_asset] = EXACT_SUMS.add(record.fees.get(fill.fee_asset, ZERO), fill.fee)
        self._settle_waiting(fill.strategy_id)

    def _fill_postings(
        self, request: Request, fill: OrderFilled, record: StrategyRecord, *, may_be_short: bool
    ) -> tuple[Posting, ...]:
        """The movements of a fill, each taken from who bears it. Raises NotCovered while that may still change."""
        trade = trade_of(fill)
        postings = postings_of_fill(trade)
        if not record.is_open:
            return in_suspense(postings, trade)
        held = self.pages.holdings(strategy_account(fill.strategy_id))
        cover = Cover(held, self.pages.holdings(wallet_account(fill.venue)))
        borne = covered(postings, trade, cover)
        if may_be_short or borne == postings:
            return borne
        given = postings[0]
        short_of_money = any(p.source != given.source and p.destination == given.destination for p in borne)
        # A fill before this one may bring the asset of the fee: who bears it must not depend on the order of arrival.
        if short_of_money or fill.fill_number > record.fills_posted + 1:
            holds = plain(held.get(given.asset, ZERO))
            needs = f"holds {holds} {given.asset}, needs {plain(given.amount)}, fee {plain(fill.fee)} {fill.fee_asset}"
            raise NotCovered(f"{request.transaction_id}: {given.source} {needs}")
        return borne

    def _settle_fund(self, request: Request, command: FundStrategy) -> None:
        transfer = TransferRecord(request, TransferState.REFUSED)
        held = self.pages.balance(wallet_account(command.venue), command.asset)
        if held < command.amount:
            transfer.reason = f"wallet holds {plain(held)} {command.asset}, needs {plain(command.amount)}"
        else:
            try:
                self._post_fund(transfer, command)
            except Refused as refused:
                transfer.reason = str(refused)
        self._settled(transfer)
        if transfer.state is TransferState.POSTED:
            self._settle_waiting(command.strategy_id)

    def _post_fund(self, transfer: TransferRecord, command: FundStrategy) -> None:
        record = self.pages.strategies.get(command.strategy_id) or StrategyRecord(command.venue)
        _require_venue(record, transfer.request)
        if command.value_usdt < 0:
            raise Refused.one("value_usdt", plain(command.value_usdt), "0 or more", "is not a value")
        postings = postings_of_fund(command.venue, command.strategy_id, command.asset, command.amount)
        self._require_room(command.strategy_id, record, command.value_usdt)
        self.pages.strategies.setdefault(command.strategy_id, record)
        try:
            transfer.sequence = self._post_ours(transfer.request, postings)
        except Refused:
            if not record.version:
                del self.pages.strategies[command.strategy_id]
            raise
        record.is_open = True
        record.contributed = EXACT_SUMS.add(record.contributed, command.value_usdt)
        record.contributed_in = EXACT_SUMS.add(record.contributed_in, command.value_usdt)
        transfer.state = TransferState.POSTED
        transfer.amounts = {command.asset: command.amount}
        transfer.position_version, transfer.worth = record.version, command.value_usdt

    def _require_room(self, strategy_id: str, record: StrategyRecord, value: Decimal) -> None:
        total = EXACT_SUMS.add(record.contributed_in, value)
        if not fits(total):
            raise Refused.one("value_usdt", plain(value), f"{MAX_DIGITS} digits in all", f"too much for {strategy_id}")

    def _settle_or_wait(self, transfer: TransferRecord) -> None:
        """Settle a withdrawal or a release, or keep it until its fills are posted and no order is open any more."""
        command = transfer.request.body
        if not isinstance(command, WithdrawFromStrategy | ReleaseStrategy):
            raise Stop(f"transfer {transfer.request.transfer_id} waits, but takes nothing out")
        record = self.pages.strategies.get(command.strategy_id)
        is_too_early = record is None or record.fills_posted < command.fills_required
        if record is None or is_too_early or self.pages.reservations.has_open(command.strategy_id):
            self.pages.waiting.setdefault(command.strategy_id, {})[command.transfer_id] = transfer
            self.changes.transfers[command.transfer_id] = transfer
            return
        self.pages.waiting.get(command.strategy_id, {}).pop(command.transfer_id, None)
        try:
            _require_venue(record, transfer.request)
            if isinstance(command, WithdrawFromStrategy):
                self._post_withdrawal(transfer, command, record)
            else:
                self._post_release(transfer, command, record)
        except Refused as refused:
            transfer.state, transfer.reason = TransferState.REFUSED, str(refused)
        self._settled(transfer)

    def _post_withdrawal(self, transfer: TransferRecord, command: WithdrawFromStrategy, record: StrategyRecord) -> None:
        holdings = self.pages.holdings(strategy_account(command.strategy_id))
        payout = payout_of(command, holdings, record.contributed)
        withdrawn = EXACT_SUMS.add(record.withdrawn, payout.worth)
        if not fits(withdrawn):
            raise Refused.one("prices", plain(payout.worth), f"{MAX_DIGITS} digits in all", "is worth too much")
        amounts = {payout.asset: payout.amount}
        postings = postings_of_release(command.venue, command.strategy_id, amounts)
        transfer.sequence = self._post_ours(transfer.request, postings)
        record.contributed, record.withdrawn = payout.contributed, withdrawn
        transfer.state, transfer.amounts, transfer.worth = TransferState.POSTED, amounts, payout.worth
        transfer.position_version = record.version

    def _post_release(self, transfer: TransferRecord, command: ReleaseStrategy, record: StrategyRecord) -> None:
        holdings = self.pages.holdings(strategy_account(command.strategy_id))
        dust = dust_of(command, holdings)
        postings = postings_of_release(command.venue, command.strategy_id, holdings, dust)
        if postings:
            transfer.sequence = self._post_ours(transfer.request, postings)
            record.contributed = ZERO
        record.is_open = False
        self.changes.ended.add(command.strategy_id)
        transfer.state, transfer.amounts, transfer.dust = TransferState.POSTED, holdings, dust
        transfer.position_version = record.version

    def _settle_waiting(self, strategy_id: str) -> None:
        """Settle the transfers that waited for what was just posted, in the order in which they were asked for."""
        waiting = self.pages.waiting.get(strategy_id, {}).values()
        for transfer in sorted(waiting, key=lambda each: (each.request.meta.occurred_at, each.request.transfer_id)):
            self._settle_or_wait(transfer)

    def _settled(self, transfer: TransferRecord) -> None:
        transfer.settled_at = self.posted_at
        self.changes.transfers[transfer.request.transfer_id] = transfer
        self.changes.settled.append(transfer)

    def _post_ours(self, request: Request, postings: tuple[Posting, ...]) -> int:
        """A command of ours has no market time: it happens at the newest the venue has shown."""
        venue = self.pages.venues.get(request.body.venue)
        market_time = venue.market_time if venue else request.meta.occurred_at
        return self._post(request, postings, market_time, request.meta.occurred_at)

    def _post(
        self, request: Request, postings: tuple[Posting, ...], market_time: datetime, received_at: datetime
    ) -> int:
        """Append an entry and apply it; returns its sequence. Everything that can fail comes before any change."""
        venue_name = request.body.venue
        transaction = Transaction(request.transaction_id, request.kind, venue_name, request.strategy_id, postings)
        after = self._balances_after(transaction)
        self.pages.sequence += 1
        entry = Entry(self.pages.sequence, transaction, request, market_time, received_at, self.posted_at)
        self.changes.entries.append(entry)
        self.pages.digests[transaction.transaction_id] = request.digest
        for (account, asset), amount in after.items():
            self.pages.balances.setdefault(account, {})[asset] = amount
        self.changes.balances.update(after)
        self._note_suspense(entry, after)
        venue = self.pages.venues.setdefault(venue_name, VenueRecord(market_time))
        venue.market_time = max(venue.market_time, market_time)
        self.changes.venues.add(venue_name)
        if any(account == wallet_account(venue_name) for account, _ in after):
            venue.wallet_version += 1
            self.changes.wallets[venue_name] = request
        if request.strategy_id:
            self.pages.strategies[request.strategy_id].version += 1
            self.changes.strategies[request.strategy_id] = request
        return entry.sequence

    def _note_suspense(self, entry: Entry, after: Mapping[tuple[str, str], Decimal]) -> None:
        moved = changes_of(entry.transaction.postings)
        for (account, asset), balance in sorted(after.items()):
            amount = moved[account, asset]
            if amount and account == suspense_account(entry.transaction.venue):
                self.changes.suspense.append(SuspenseMove(entry, asset, amount, balance))

    def _balances_after(self, transaction: Transaction) -> Mapping[tuple[str, str], Decimal]:
        """The balances a transaction leads to.

        Raises NotCovered when one would be negative, Refused when one would be too
        large to be kept, Stop when the postings do not balance.
        """
        changes = changes_of(transaction.postings)
        if over := unbalanced(changes):
            raise Stop(f"{transaction.transaction_id} does not balance: {over}")
        after = {}
        for (account, asset), change in changes.items():
            held = self.pages.balance(account, asset)
            amount = EXACT_SUMS.add(held, change)
            if amount < 0 and not may_be_negative(account):
                short = f"{account} holds {plain(held)} {asset}, needs {plain(change.copy_negate())}"
                raise NotCovered(f"{transaction.transaction_id}: {short}")
            if not fits(amount):
                allowed = f"{MAX_DIGITS} digits, {MAX_DECIMALS} of them decimals"
                raise Refused.one("amount", plain(change), allowed, f"{account} cannot hold {plain(amount)} {asset}")
            after[account, asset] = amount
        return after


def _require_venue(record: StrategyRecord, request: Request) -> None:
    if record.venue != request.body.venue:
        raise Refused.one("venue", request.body.venue, record.venue, f"{request.strategy_id} is at another venue")
