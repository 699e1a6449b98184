"""What is told of suspense, as an event and in words to a person, and what the books hold at a venue in all. Pure."""

from decimal import Decimal

from services.ledger.pages import Pages, SuspenseMove
from services.ledger.requests import Kind
from shared.contracts.lifecycle import NotificationRaised, Severity
from shared.contracts.reconciliation import BalanceDiffered, BooksTotalled, SuspenseChanged
from shared.core.double_entry import EXACT_SUMS, dust_account, fees_account, suspense_account, venue_account
from shared.core.money import ZERO, plain


def suspense_changed(move: SuspenseMove) -> SuspenseChanged:
    """The event of a movement."""
    transaction = move.entry.transaction
    return SuspenseChanged(
        venue=transaction.venue,
        sequence=move.entry.sequence,
        transaction_id=transaction.transaction_id,
        kind=transaction.kind,
        strategy_id=transaction.strategy_id,
        asset=move.asset,
        amount=move.amount,
        balance=move.balance,
        text=text_of(move),
    )


def alert_of(move: SuspenseMove) -> NotificationRaised:
    """The same for a person: an alert while something is in suspense, news when nothing is any more."""
    transaction = move.entry.transaction
    return NotificationRaised(
        strategy_id=transaction.strategy_id,
        strategy_version=0,
        kind="suspense",
        severity=Severity.ALERT if move.balance else Severity.INFO,
        text=text_of(move),
        reason=transaction.kind,
        inputs={
            "venue": transaction.venue,
            "asset": move.asset,
            "amount": plain(move.amount),
            "balance": plain(move.balance),
            "transaction_id": transaction.transaction_id,
        },
    )


def books_totalled(pages: Pages, venue: str, sequence: int) -> BooksTotalled:
    """What wallet, strategies, dust and suspense hold: all balances sum to zero, so it is what the others owe."""
    venue_side, fees = pages.balances.get(venue_account(venue), {}), pages.balances.get(fees_account(venue), {})
    held = {
        asset: EXACT_SUMS.add(venue_side.get(asset, ZERO), fees.get(asset, ZERO)).copy_negate()
        for asset in sorted({*venue_side, *fees})
    }
    return BooksTotalled(
        venue=venue,
        sequence=sequence,
        held={asset: amount for asset, amount in held.items() if amount},
        suspense=pages.holdings(suspense_account(venue)),
        dust=pages.holdings(dust_account(venue)),
    )


def text_of(move: SuspenseMove) -> str:
    """The movement in a sentence or two."""
    transaction, asset, amount = move.entry.transaction, move.asset, move.amount
    venue, body = transaction.venue, move.entry.request.body
    if isinstance(body, BalanceDiffered):
        word = "more" if amount > 0 else "less"
        text = f"the account at {venue} holds {_money(amount, asset)} {word} than the books"
        text += f" ({body.detail})" if body.detail else ""
    elif transaction.kind == Kind.ACCEPT:
        gain = "came to" if amount < 0 else "was borne by"
        text = f"{_money(amount, asset)} of suspense {gain} the wallet of {venue}"
    else:
        word = "is not its own any more" if amount > 0 else "was not covered by it"
        text = f"of fill {transaction.transaction_id} of {transaction.strategy_id} {_money(amount, asset)} {word}"
    return f"{text}: {_after(venue, asset, move.balance)}"


def _after(venue: str, asset: str, balance: Decimal) -> str:
    if not balance:
        return f"nothing is unexplained of {asset} at {venue} now, it may be traded."
    state = "unclaimed" if balance > 0 else "missing"
    return (
        f"{_money(balance, asset)} {state} in all. {asset} is not traded at {venue} until "
        f"`trimtab reconcile accept {asset} --venue {venue}` or until it is explained."
    )


def _money(amount: Decimal, asset: str) -> str:
    return f"{plain(abs(amount))} {asset}"
