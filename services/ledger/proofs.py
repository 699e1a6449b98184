"""What auditors are answered, and the head that is signed every minute in which something was posted."""

import asyncio
import logging
from collections.abc import Callable

from services.ledger.adapters.postgres_heads import PostgresHeads
from services.ledger.heads import SignedHead
from shared.contracts.audit import (
    ConsistencyProved,
    InclusionProved,
    ProveConsistency,
    ProveInclusion,
    ShowTreeHead,
    TreeHeadSigned,
)
from shared.contracts.wire import Meta
from shared.core.errors import Refused, RetryLater

log = logging.getLogger(__name__)

_NEEDED = "a journal with entries, and a signing key (TRIMTAB_LEDGER_SIGNING_KEY_FILE)"


class Proofs:
    """Heads and proofs. ``on_signed`` is called after every head (to wake the relay)."""

    def __init__(self, heads: PostgresHeads, on_signed: Callable[[], None] = lambda: None) -> None:
        self._heads = heads
        self._on_signed = on_signed
        self._trouble: str | None = None

    async def show_head(self, command: ShowTreeHead, _meta: Meta) -> TreeHeadSigned:
        """The newest head, or one over every entry. Raises Refused before the first, RetryLater."""
        head = await (self._covering_all() if command.covering_all else self._heads.newest())
        if head is None:
            raise Refused.one("head", "newest", _NEEDED, "no head has been signed yet")
        return head.message

    async def prove_inclusion(self, command: ProveInclusion, _meta: Meta) -> InclusionProved:
        """The proof for an entry. Raises Refused when there is no such entry, RetryLater."""
        proof = await self._heads.inclusion(command.entry)
        if proof is None:
            allowed = f"the sequence or the transaction id of an entry; {_NEEDED}"
            raise Refused.one("entry", command.entry, allowed, "cannot be proved")
        self._on_signed()
        return InclusionProved(
            sequence=proof.sequence,
            leaf_data=proof.leaf.data.decode(),
            leaf_hash=proof.leaf.hash.hex(),
            path=tuple(step.hex() for step in proof.path),
            head=proof.head.message,
        )

    async def prove_consistency(self, command: ProveConsistency, _meta: Meta) -> ConsistencyProved:
        """The proof between two sizes of the log. Raises Refused when it never had them in this order, RetryLater."""
        proof = await self._heads.consistency(command.first, command.second)
        if proof is None:
            allowed = "1 <= from <= to <= entries in the log"
            raise Refused.one("from", f"{command.first} to {command.second}", allowed, "cannot be proved")
        return ConsistencyProved(
            first=proof.older.size,
            second=proof.newer.size,
            first_root=proof.older.root.hex(),
            second_root=proof.newer.root.hex(),
            path=tuple(step.hex() for step in proof.path),
        )

    async def sign_every(self, interval_s: float) -> None:
        """Sign a head whenever something was posted since the last, at start and then every ``interval_s``, for ever.

        Waits out a database that is not there; raises Stop when it cannot be used.
        """
        while True:
            try:
                await self._covering_all()
                self._trouble = None
            except RetryLater as later:
                self._trouble = f"no tree head could be signed: {later}"
                log.warning("%s", self._trouble)
            await asyncio.sleep(interval_s)

    async def trouble(self) -> str | None:
        """None while heads can be signed, else why not (for the health check)."""
        return self._trouble

    async def _covering_all(self) -> SignedHead | None:
        head = await self._heads.covering_all()
        self._on_signed()
        return head
