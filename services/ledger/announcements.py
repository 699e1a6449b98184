"""What the ledger tells the others after a group of entries: the messages of its outbox, in the order they go out.

Every entry, every movement of suspense and every settled transfer is told; of positions, wallets and totals only the
last snapshot of the group, since each replaces the one before (versions count every entry all the same). Message ids
are functions of their content.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from services.ledger.leaves import LEAF_VERSION, Leaf
from services.ledger.pages import Changes, Entry, Pages, SuspenseMove, TransferRecord, TransferState
from services.ledger.requests import Request
from services.ledger.suspense import alert_of, books_totalled, suspense_changed
from shared.contracts import subjects
from shared.contracts.books import PositionChanged, PostingMade, TransactionPosted, TransferSettled, WalletChanged
from shared.contracts.wire import Message, Meta
from shared.core.double_entry import strategy_account, wallet_account

SOURCE = "ledger"


@dataclass(frozen=True, slots=True)
class Announcement:
    """One message for the outbox."""

    subject: str
    message: Message
    meta: Meta


def announcements_of(pages: Pages, changes: Changes, posted_at: datetime) -> Iterator[Announcement]:
    """Entries, then positions, wallets and totals, then settled transfers: whoever hears of a transfer can see its
    money. What is in suspense comes last.
    """
    for entry in changes.entries:
        yield _entry(entry)
    for strategy_id, request in changes.strategies.items():
        yield _position(pages, strategy_id, _meta(request, posted_at))
    for venue, request in changes.wallets.items():
        yield _wallet(pages, venue, _meta(request, posted_at))
    for venue in sorted(changes.venues):
        newest = next(entry for entry in reversed(changes.entries) if entry.transaction.venue == venue)
        yield _books(pages, venue, newest)
    for transfer in changes.settled:
        yield _transfer(transfer, posted_at)
    for move in changes.suspense:
        yield from _suspense(move)


def _meta(request: Request, posted_at: datetime, message_id: str = "") -> Meta:
    return Meta(message_id, SOURCE, posted_at, request.meta.correlation_id, request.meta.message_id)


def _named(meta: Meta, message_id: str) -> Meta:
    return Meta(message_id, meta.source, meta.occurred_at, meta.correlation_id, meta.causation_id)


def _entry(entry: Entry) -> Announcement:
    transaction = entry.transaction
    message = TransactionPosted(
        sequence=entry.sequence,
        transaction_id=transaction.transaction_id,
        kind=transaction.kind,
        venue=transaction.venue,
        strategy_id=transaction.strategy_id,
        postings=tuple(
            PostingMade(source=made.source, destination=made.destination, asset=made.asset, amount=made.amount)
            for made in transaction.postings
        ),
        market_time=entry.market_time,
        posted_at=entry.posted_at,
        leaf_version=LEAF_VERSION,
        received_at=entry.received_at,
        message_id=entry.request.meta.message_id,
        correlation_id=entry.request.meta.correlation_id,
        digest=entry.leaf.fields["digest"],
        request_type=entry.request.body.TYPE,
        request=entry.leaf.fields["request"],
        leaf_hash=entry.leaf.hash.hex(),
    )
    meta = _meta(entry.request, entry.posted_at, f"transaction.{entry.sequence}")
    return Announcement(subjects.ledger(transaction.venue), message, meta)


def told_again(leaf: Leaf) -> Announcement:
    """An entry that an older version told without its leaf, told whole: as whoever has only the stream needs it."""
    message = TransactionPosted.model_validate({**leaf.fields, "leaf_hash": leaf.hash.hex()})
    name = f"transaction.{message.sequence}.whole"
    meta = Meta(name, SOURCE, message.posted_at, message.correlation_id, message.message_id)
    return Announcement(subjects.ledger(message.venue), message, meta)


def _position(pages: Pages, strategy_id: str, meta: Meta) -> Announcement:
    record = pages.strategies[strategy_id]
    message = PositionChanged(
        strategy_id=strategy_id,
        venue=record.venue,
        version=record.version,
        fills_posted=record.fills_posted,
        holdings=pages.holdings(strategy_account(strategy_id)),
        contributed=record.contributed,
        fees_paid=dict(sorted(record.fees.items())),
        contributed_in=record.contributed_in,
        withdrawn=record.withdrawn,
    )
    named = _named(meta, f"position.{strategy_id}.{record.version}")
    return Announcement(subjects.positions(strategy_id), message, named)


def _wallet(pages: Pages, venue: str, meta: Meta) -> Announcement:
    version = pages.venues[venue].wallet_version
    message = WalletChanged(venue=venue, version=version, balances=pages.holdings(wallet_account(venue)))
    return Announcement(subjects.wallets(venue), message, _named(meta, f"wallet.{venue}.{version}"))


def _books(pages: Pages, venue: str, newest: Entry) -> Announcement:
    message = books_totalled(pages, venue, newest.sequence)
    meta = _meta(newest.request, newest.posted_at, f"books.{venue}.{newest.sequence}")
    return Announcement(subjects.books(venue), message, meta)


def totals_of(pages: Pages, venue: str) -> Announcement:
    """The totals of a venue as of the journal's end, at a moment when nothing is posted."""
    name = f"books.{venue}.{pages.sequence}"
    meta = Meta(name, SOURCE, pages.posted_at, name, "")
    return Announcement(subjects.books(venue), books_totalled(pages, venue, pages.sequence), meta)


def _suspense(move: SuspenseMove) -> Iterator[Announcement]:
    entry = move.entry
    venue, name = entry.transaction.venue, f"suspense.{entry.sequence}.{move.asset}"
    meta = _meta(entry.request, entry.posted_at, name)
    yield Announcement(subjects.suspense(venue), suspense_changed(move), meta)
    told = subjects.notifications(entry.transaction.strategy_id or venue)
    yield Announcement(told, alert_of(move), _named(meta, f"{name}.notification"))


def _transfer(transfer: TransferRecord, posted_at: datetime) -> Announcement:
    request = transfer.request
    message = TransferSettled(
        transfer_id=request.transfer_id,
        strategy_id=request.strategy_id,
        venue=request.body.venue,
        purpose=request.kind,
        posted=transfer.state is TransferState.POSTED,
        reason=transfer.reason,
        amounts=transfer.amounts,
        position_version=transfer.position_version,
        value_usdt=transfer.worth,
    )
    meta = _meta(request, posted_at, f"transfer.{request.transfer_id}")
    return Announcement(subjects.transfers(request.strategy_id), message, meta)
