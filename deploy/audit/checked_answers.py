"""The gateway's answers to an auditor, believed only once they are checked. Every function raises Wrong, ValueError."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from deploy.audit.notes import check_signature, note_of, signature_in
from deploy.audit.records import Head, Wrong
from shared.core.merkle import Tree, extends, includes, leaf_hash


class Included(NamedTuple):
    """An entry that is proved to be under a head."""

    sequence: int
    head: Head


def head_of(fields: Mapping[str, Any]) -> Head:
    """The head in a message or an answer; that its note says the same is checked, its signature is not."""
    head = Head(
        origin=fields["origin"],
        number=fields["number"],
        size=fields["size"],
        root=bytes.fromhex(fields["root"]),
        signed_at=datetime.fromisoformat(fields["signed_at"]),
        market_time=datetime.fromisoformat(fields["market_time"]),
        key_id=fields["key_id"],
        public_key=bytes.fromhex(fields["public_key"]),
        signature=signature_in(fields["note"]),
    )
    counts, texts, times = (head.number, head.size), (head.origin, head.key_id), (head.signed_at, head.market_time)
    is_sound = all(type(count) is int and count > 0 for count in counts) and all(type(text) is str for text in texts)
    if not is_sound or any(time.tzinfo is None for time in times):
        raise ValueError(f"head {head.number!r} of {head.size!r} entries has another form than a head")
    said = {"root": head.root.hex(), "public_key": head.public_key.hex(), "note": note_of(head)}
    said |= {name: getattr(head, name).isoformat().replace("+00:00", "Z") for name in ("signed_at", "market_time")}
    for name, text in said.items():
        if fields[name] != text:
            raise Wrong(f"head {head.number}", f"its {name} is not written as it was signed")
    return head


def inclusion_of(answer: Mapping[str, Any]) -> Included:
    """Check a proof of inclusion: leaf, path, signature."""
    head = head_of(answer["head"])
    check_signature(head)
    leaf = leaf_hash(answer["leaf_data"].encode())
    sequence = orjson.loads(answer["leaf_data"])["sequence"]
    path = [bytes.fromhex(step) for step in answer["path"]]
    if sequence != answer["sequence"] or not includes(leaf, sequence - 1, head.size, path, head.root):
        raise Wrong(f"entry {answer['sequence']}", f"its path does not lead to the root of head {head.number}")
    return Included(sequence, head)


def consistency_of(answer: Mapping[str, Any], known: Mapping[int, bytes]) -> None:
    """Check a proof of consistency, with the roots that are ``known`` by size."""
    older = Tree(answer["first"], bytes.fromhex(answer["first_root"]))
    newer = Tree(answer["second"], bytes.fromhex(answer["second_root"]))
    for tree in (older, newer):
        if known.get(tree.size, tree.root) != tree.root:
            raise Wrong("log", f"its first {tree.size} entries had another root at an earlier check")
    if not extends(older, newer, [bytes.fromhex(step) for step in answer["path"]]):
        raise Wrong("log", f"its {newer.size} entries do not begin with the {older.size} of before")
