"""Positions computed again from the journal: what every strategy holds, has put in, taken out and paid. Pure.

Shares no state with the writer: it starts from nothing and takes the entries in their order.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from services.ledger.facts import JournalEntry
from services.ledger.pages import StrategyRecord
from services.ledger.requests import Kind
from services.ledger.withdrawals import payout_of
from shared.contracts.books import FundStrategy, WithdrawFromStrategy
from shared.contracts.orders import OrderFilled
from shared.core.double_entry import EXACT_SUMS, changes_of, strategy_account
from shared.core.money import ZERO


@dataclass(slots=True)
class Positions:
    """By strategy: the record, and what it holds (without zeros)."""

    records: dict[str, StrategyRecord] = field(default_factory=dict)
    holdings: dict[str, dict[str, Decimal]] = field(default_factory=dict)

    def take(self, entry: JournalEntry) -> None:
        """The next entry of the journal."""
        if not entry.strategy_id:
            return
        record = self.records.setdefault(entry.strategy_id, StrategyRecord(entry.venue))
        held = self.holdings.setdefault(entry.strategy_id, {})
        record.version += 1
        match entry.kind:
            case Kind.FILL:
                fill = OrderFilled.model_validate_json(entry.request)
                record.fills_posted += 1
                if fill.fee > 0:
                    record.fees[fill.fee_asset] = EXACT_SUMS.add(record.fees.get(fill.fee_asset, ZERO), fill.fee)
            case Kind.FUND:
                worth = FundStrategy.model_validate_json(entry.request).value_usdt
                record.contributed = EXACT_SUMS.add(record.contributed, worth)
                record.contributed_in = EXACT_SUMS.add(record.contributed_in, worth)
            case Kind.WITHDRAW:
                command = WithdrawFromStrategy.model_validate_json(entry.request)
                payout = payout_of(command, dict(sorted(held.items())), record.contributed)
                record.contributed = payout.contributed
                record.withdrawn = EXACT_SUMS.add(record.withdrawn, payout.worth)
            case _:
                record.contributed = ZERO
        for (account, asset), change in changes_of(entry.postings).items():
            if account == strategy_account(entry.strategy_id):
                amount = EXACT_SUMS.add(held.pop(asset, ZERO), change)
                if amount:
                    held[asset] = amount
