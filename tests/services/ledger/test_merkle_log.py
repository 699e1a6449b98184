"""The Merkle log of the journal on a real PostgreSQL: never behind the journal, signed, proved."""

import asyncio
import base64
import hashlib
import json
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.ledger.adapters.postgres import PostgresJournal
from services.ledger.adapters.postgres_heads import PostgresHeads
from services.ledger.adapters.signing_key import load_or_make_key
from services.ledger.heads import Signer
from services.ledger.proofs import Proofs
from services.ledger.requests import Body
from shared.contracts.audit import ProveConsistency, ProveInclusion, ShowTreeHead
from shared.contracts.wire import Meta
from shared.core.errors import Refused, Stop
from shared.core.merkle import Frontier, Tree, extends, includes, leaf_hash
from tests.services.ledger.messages import RECEIVED, START, Scene, request_of

pytestmark = pytest.mark.servers

META = Meta("asked", "test", RECEIVED, "story", "")


def wall_clock() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def heads(journal: PostgresJournal) -> PostgresHeads:
    return PostgresHeads(journal.pool, wall_clock, Signer(Ed25519PrivateKey.generate()))


async def post(journal: PostgresJournal, *bodies: Body) -> None:
    assert await journal.post([request_of(body) for body in bodies]) == [None] * len(bodies)


async def events(journal: PostgresJournal) -> list[bytes]:
    rows = await journal.pool.fetch(
        "SELECT payload FROM ledger.outbox WHERE subject LIKE 'ledger.%' "
        "ORDER BY split_part(message_id, '.', 2)::bigint"
    )
    return [row["payload"] for row in rows]


def leaf_of_event(payload: bytes) -> bytes:
    """What an outsider does with nothing but the documentation: canonical JSON (RFC 8785) without the hash."""
    fields = json.loads(payload)
    told = bytes.fromhex(fields.pop("leaf_hash"))
    data = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert hashlib.sha256(b"\0" + data).digest() == told
    return told


async def post_some(journal: PostgresJournal, count: int = 300) -> Scene:
    """A deposit, a fund, fills, a withdrawal, a release that waits: every size of group from 1 up."""
    scene = Scene()
    await post(journal, scene.deposit(amount="1000000.000000000000000001"), scene.fund(amount="900000"))
    number, group = 1, 1
    while number < count:
        await post(journal, *(scene.fill(each) for each in range(number, number + group)))
        number, group = number + group, min(2 * group, 100)
    await post(journal, scene.withdraw(number - 1))
    await post(journal, scene.release(number - 1))
    return scene


async def test_log_when_entries_are_posted_is_the_tree_of_their_events(
    journal: PostgresJournal, heads: PostgresHeads
) -> None:
    await post_some(journal)
    leaves = [leaf_of_event(payload) for payload in await events(journal)]
    tree, _ = Frontier().extended(leaves)
    row = await journal.pool.fetchrow("SELECT sequence, tree_size, tree_peaks FROM ledger.journal_head")
    assert (row["sequence"], row["tree_size"], row["tree_peaks"]) == (tree.size, tree.size, b"".join(tree.peaks))
    assert await journal.pool.fetchval("SELECT count(*) FROM ledger.log_nodes WHERE level = 8") == tree.size // 256
    head = await heads.covering_all()
    assert head is not None
    assert head.head.tree == Tree(tree.size, tree.root)


async def test_log_when_an_older_ledger_has_posted_takes_its_entries_in_first(
    journal: PostgresJournal, heads: PostgresHeads
) -> None:
    await post_some(journal)
    before = await journal.pool.fetchrow("SELECT * FROM ledger.journal_head")
    nodes = await journal.pool.fetch("SELECT * FROM ledger.log_nodes ORDER BY level, place")
    await journal.pool.execute(
        "ALTER TABLE ledger.log_nodes DISABLE TRIGGER USER; DELETE FROM ledger.log_nodes; "
        "UPDATE ledger.journal_head SET tree_size = 0, tree_peaks = ''"
    )
    await heads.covering_all()
    assert await journal.pool.fetchrow("SELECT * FROM ledger.journal_head") == before
    assert await journal.pool.fetch("SELECT * FROM ledger.log_nodes ORDER BY level, place") == nodes


async def test_log_when_the_commit_fails_has_not_grown(journal: PostgresJournal) -> None:
    scene = Scene()
    await post(journal, scene.deposit())
    before = await journal.pool.fetchrow("SELECT * FROM ledger.journal_head")
    await journal.pool.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'no' USING ERRCODE = '22000'; END $$; "
        "CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON ledger.postings DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
        "EXECUTE FUNCTION fail()"
    )
    with pytest.raises(asyncpg.DataError):
        await journal.post([request_of(scene.fund())])
    assert await journal.pool.fetchrow("SELECT * FROM ledger.journal_head") == before
    assert await journal.pool.fetchval("SELECT count(*) FROM ledger.log_nodes") == 1


@pytest.mark.parametrize("table", ["log_nodes", "tree_heads", "log_keys", "log_identity"])
async def test_log_when_changed_afterwards_refuses(journal: PostgresJournal, heads: PostgresHeads, table: str) -> None:
    await post(journal, Scene().deposit())
    await heads.covering_all()
    for statement in (f"DELETE FROM ledger.{table}", f"TRUNCATE ledger.{table} CASCADE"):  # noqa: S608
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
            await journal.pool.execute(statement)


async def test_head_when_nothing_is_posted_is_none_and_then_one_for_each_growth(
    journal: PostgresJournal, heads: PostgresHeads
) -> None:
    assert await heads.covering_all() is None
    scene = Scene()
    await post(journal, scene.deposit())
    first = await heads.covering_all()
    assert first == await heads.covering_all() == await heads.newest()
    await post(journal, scene.fund(), scene.fill(30))
    second = await heads.covering_all()
    assert first is not None
    assert second is not None
    assert (first.head.number, second.head.number, second.head.tree.size) == (1, 2, 3)
    assert second.head.market_time == START + timedelta(seconds=30)
    told = await journal.pool.fetch("SELECT message_id, payload FROM ledger.outbox WHERE subject = 'audit.tree-heads'")
    assert [row["message_id"] for row in told] == ["tree-head.1", "tree-head.2"]
    assert json.loads(told[1]["payload"]) == json.loads(second.message.model_dump_json())


async def test_head_when_the_clock_goes_back_does_not(journal: PostgresJournal) -> None:
    signer, scene = Signer(Ed25519PrivateKey.generate()), Scene()
    await post(journal, scene.deposit())
    first = await PostgresHeads(journal.pool, wall_clock, signer).covering_all()
    await post(journal, scene.fund())
    second = await PostgresHeads(journal.pool, lambda: RECEIVED, signer).covering_all()
    assert first is not None
    assert second is not None
    assert second.head.signed_at >= first.head.signed_at
    assert second.head.signed_at >= await journal.pool.fetchval("SELECT posted_at FROM ledger.journal_head")


async def test_head_when_signed_at_the_same_time_by_many_is_signed_once(
    journal: PostgresJournal, heads: PostgresHeads
) -> None:
    await post(journal, Scene().deposit())
    signed = await asyncio.gather(*(heads.covering_all() for _ in range(8)))
    assert all(head == signed[0] for head in signed)
    assert await journal.pool.fetchval("SELECT count(*) FROM ledger.tree_heads") == 1


async def test_head_when_checked_by_the_published_key_is_signed(heads: PostgresHeads, journal: PostgresJournal) -> None:
    await post(journal, Scene().deposit())
    signed = await heads.covering_all()
    assert signed is not None
    text, _, line = signed.note.rpartition("\n\u2014 ")
    name, _, blob = line.partition(" ")
    raw = base64.b64decode(blob)
    assert name == signed.head.origin
    assert raw[:4] == hashlib.sha256(f"{name}\n\x01".encode() + signed.public_key).digest()[:4]
    key = Ed25519PublicKey.from_public_bytes(signed.public_key)
    key.verify(raw[4:], text.encode())
    with pytest.raises(InvalidSignature):
        key.verify(raw[4:], text.replace("number 1", "number 2").encode())


async def test_proofs_when_checked_by_an_outsider_hold(journal: PostgresJournal, heads: PostgresHeads) -> None:
    await post_some(journal, 600)
    proofs = Proofs(heads)
    head = await proofs.show_head(ShowTreeHead(covering_all=True), META)
    leaves = [leaf_of_event(payload) for payload in await events(journal)]
    for sequence in (1, 2, 255, 256, 257, 511, 512, 513, head.size):
        proof = await proofs.prove_inclusion(ProveInclusion(entry=str(sequence)), META)
        leaf = leaf_hash(proof.leaf_data.encode())
        assert (leaf, leaf.hex()) == (leaves[sequence - 1], proof.leaf_hash)
        path = [bytes.fromhex(step) for step in proof.path]
        assert includes(leaf, sequence - 1, head.size, path, bytes.fromhex(proof.head.root))
    for first in (1, 3, 255, 256, 300, 512, head.size):
        grown = await proofs.prove_consistency(ProveConsistency(first=first), META)
        assert (grown.second, grown.second_root) == (head.size, head.root)
        older = Frontier().extended(leaves[:first])[0]
        path = [bytes.fromhex(step) for step in grown.path]
        assert extends(Tree(first, older.root), Tree(head.size, bytes.fromhex(head.root)), path)


async def test_inclusion_when_the_entry_is_newer_than_every_head_has_a_new_one_signed(
    journal: PostgresJournal, heads: PostgresHeads
) -> None:
    scene = Scene()
    await post(journal, scene.deposit())
    await heads.covering_all()
    await post(journal, scene.fund(), scene.fill(1))
    proof = await Proofs(heads).prove_inclusion(ProveInclusion(entry="fill:paper:BTCUSDT:1"), META)
    assert (proof.sequence, proof.head.number, proof.head.size) == (3, 2, 3)


async def test_proofs_when_asked_for_what_is_not_there_are_refused(
    journal: PostgresJournal, heads: PostgresHeads
) -> None:
    proofs = Proofs(heads)
    with pytest.raises(Refused, match="no head has been signed"):
        await proofs.show_head(ShowTreeHead(), META)
    await post(journal, Scene().deposit())
    for entry in ("2", "0", "fill:paper:none", "9" * 30, "-1", "\u0663"):
        with pytest.raises(Refused, match="cannot be proved"):
            await proofs.prove_inclusion(ProveInclusion(entry=entry), META)
    for first, second in ((0, 1), (1, 2), (2, 1), (-1, 1)):
        with pytest.raises(Refused, match="cannot be proved"):
            await proofs.prove_consistency(ProveConsistency(first=first, second=second), META)
    unsigned = Proofs(PostgresHeads(journal.pool, wall_clock, None))
    with pytest.raises(Refused, match="TRIMTAB_LEDGER_SIGNING_KEY_FILE"):
        await unsigned.prove_inclusion(ProveInclusion(entry="1"), META)


async def test_proof_when_a_node_is_gone_stops(journal: PostgresJournal, heads: PostgresHeads) -> None:
    await post_some(journal, 10)
    await journal.pool.execute(
        "ALTER TABLE ledger.log_nodes DISABLE TRIGGER USER; DELETE FROM ledger.log_nodes WHERE place = 3"
    )
    with pytest.raises(Stop, match="log_nodes is damaged"):
        await heads.consistency(1, 9)


@pytest.fixture
async def signing(journal: PostgresJournal, heads: PostgresHeads) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(Proofs(heads).sign_every(0.01))
    yield task
    task.cancel()
    await asyncio.wait({task})


async def until_covered(heads: PostgresHeads, size: int) -> None:
    deadline = asyncio.get_running_loop().time() + 30
    while (newest := await heads.newest()) is None or newest.head.tree.size < size:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)


async def test_heads_when_time_passes_follow_what_is_posted(
    journal: PostgresJournal, heads: PostgresHeads, signing: "asyncio.Task[None]"
) -> None:
    for number in range(1, 4):
        await post(journal, Scene().deposit(number))
        await until_covered(heads, number)
    assert not signing.done()
    assert await journal.pool.fetchval("SELECT count(*) FROM ledger.tree_heads") == 3


def test_key_when_there_is_none_is_made_for_its_owner_only_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    made = load_or_make_key(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_or_make_key(file).private_bytes_raw() == made.private_bytes_raw()
    assert [path.name for path in tmp_path.iterdir()] == ["key.pem"]


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\n", b"\0" * 32])
def test_key_when_the_file_is_damaged_stops_and_is_not_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(Stop, match="holds no private key"):
        load_or_make_key(file)
    assert file.read_bytes() == content


def test_key_when_others_may_read_it_stops(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    load_or_make_key(file)
    file.chmod(0o640)
    with pytest.raises(Stop, match="chmod 600"):
        load_or_make_key(file)


def test_key_when_the_folder_is_missing_stops(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="cannot be used"):
        load_or_make_key(tmp_path / "none" / "key.pem")
