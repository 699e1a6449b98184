"""/audit: signed tree heads and proofs, for whoever does not want to believe."""

from typing import Annotated

from fastapi import APIRouter, Query

from services.gateway.backing import Backing
from services.gateway.replies import Reply
from shared.contracts.audit import TreeHeadSigned
from shared.contracts.wire import Timestamp

_MOST = 2**53


class TreeHeadReply(Reply):
    """The log of the first ``size`` journal entries has ``root``; ``note`` is that, signed (C2SP tlog-checkpoint)."""

    number: int
    origin: str
    size: int
    root: str
    signed_at: Timestamp
    market_time: Timestamp
    key_id: str
    public_key: str
    note: str


class InclusionReply(Reply):
    """SHA-256(0x00 || ``leaf_data``) is ``leaf_hash``; ``path`` leads from it to the root of ``head`` (RFC 9162)."""

    sequence: int
    leaf_data: str
    leaf_hash: str
    path: tuple[str, ...]
    head: TreeHeadReply


class ConsistencyReply(Reply):
    """``path`` proves that the log of ``second`` entries begins with the log of ``first`` entries (RFC 9162)."""

    first: int
    second: int
    first_root: str
    second_root: str
    path: tuple[str, ...]


def audit_routes(backing: Backing) -> APIRouter:
    """The routes, answering from ``backing``."""
    router = APIRouter(prefix="/audit", tags=["audit"])

    @router.get("/tree-head", summary="The newest signed head of the journal's log")
    async def tree_head(
        covering_all: Annotated[bool, Query(description="Sign a new one unless it covers every entry.")] = False,
    ) -> TreeHeadReply:
        return _head(await backing.audit.head(covering_all=covering_all))

    @router.get("/proofs/inclusion", summary="Proof that an entry is in the journal's log")
    async def inclusion(
        entry: Annotated[str, Query(min_length=1, max_length=200, description="Its sequence or its transaction id.")],
    ) -> InclusionReply:
        proof = await backing.audit.inclusion(entry)
        return InclusionReply(**{**dict(proof), "head": _head(proof.head)})

    @router.get("/proofs/consistency", summary="Proof that the journal's log has only grown")
    async def consistency(
        first: Annotated[int, Query(alias="from", ge=1, le=_MOST, description="Entries then.")],
        second: Annotated[int, Query(alias="to", ge=0, le=_MOST, description="Entries later; 0: now.")] = 0,
    ) -> ConsistencyReply:
        return ConsistencyReply(**dict(await backing.audit.consistency(first, second)))

    return router


def _head(head: TreeHeadSigned) -> TreeHeadReply:
    return TreeHeadReply(**dict(head))
