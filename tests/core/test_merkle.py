"""Trees and proofs against published vectors, and against the definitions of RFC 6962 taken literally."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.merkle import (
    EMPTY_ROOT,
    Frontier,
    Node,
    Tree,
    consistency_spans,
    extends,
    includes,
    inclusion_spans,
    leaf_hash,
    node_hash,
    root_of,
)

# The test vectors of the Certificate Transparency implementations of RFC 6962.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
INCLUSIONS = (
    (0, 1, ()),
    (
        0,
        8,
        (
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ),
    ),
    (
        5,
        8,
        (
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
    ),
    (2, 3, ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",)),
    (
        1,
        5,
        (
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ),
    ),
)
CONSISTENCIES = (
    (1, 1, ()),
    (
        1,
        8,
        (
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ),
    ),
    (
        6,
        8,
        (
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
    ),
    (
        2,
        5,
        (
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ),
    ),
)


class GrownTree:
    """A tree with all its subtrees, as the code under test makes them."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.frontier, made = Frontier().extended(leaf_hash(leaf) for leaf in leaves)
        self.nodes: dict[Node, bytes] = dict(made)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        return [root_of(span, self.nodes) for span in inclusion_spans(index, size)]

    def consistency(self, first: int, second: int) -> list[bytes]:
        return [root_of(span, self.nodes) for span in consistency_spans(first, second)]


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    k = naive_split(len(leaves))
    return node_hash(naive_root(leaves[:k]), naive_root(leaves[k:]))


def naive_split(size: int) -> int:
    k = 1
    while 2 * k < size:
        k *= 2
    return k


def naive_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962, 2.1.1."""
    if len(leaves) == 1:
        return []
    k = naive_split(len(leaves))
    if index < k:
        return [*naive_path(index, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(index - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(first: int, leaves: Sequence[bytes], *, known: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962, 2.1.2."""
    if first == len(leaves):
        return [] if known else [naive_root(leaves)]
    k = naive_split(len(leaves))
    if first <= k:
        return [*naive_subproof(first, leaves[:k], known=known), naive_root(leaves[k:])]
    return [*naive_subproof(first - k, leaves[k:], known=False), naive_root(leaves[:k])]


@pytest.mark.parametrize("size", range(1, 9))
def test_root_when_compared_with_published_vectors_is_the_same(size: int) -> None:
    assert GrownTree(LEAVES[:size]).frontier.root.hex() == ROOTS[size - 1]


def test_root_when_empty_is_the_hash_of_nothing() -> None:
    assert Frontier().root.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(("index", "size", "expected"), INCLUSIONS)
def test_inclusion_when_compared_with_published_vectors_is_the_same(
    index: int, size: int, expected: Sequence[str]
) -> None:
    path = GrownTree(LEAVES).inclusion(index, size)
    assert [step.hex() for step in path] == list(expected)
    assert includes(leaf_hash(LEAVES[index]), index, size, path, bytes.fromhex(ROOTS[size - 1]))


@pytest.mark.parametrize(("first", "second", "expected"), CONSISTENCIES)
def test_consistency_when_compared_with_published_vectors_is_the_same(
    first: int, second: int, expected: Sequence[str]
) -> None:
    path = GrownTree(LEAVES).consistency(first, second)
    assert [step.hex() for step in path] == list(expected)
    older, newer = (Tree(size, bytes.fromhex(ROOTS[size - 1])) for size in (first, second))
    assert extends(older, newer, path)


def test_proofs_when_compared_with_the_definitions_are_the_same_for_every_pair_up_to_40() -> None:
    leaves = [b"%d" % number for number in range(40)]
    tree = GrownTree(leaves)
    roots = [naive_root(leaves[:size]) for size in range(41)]
    for size in range(1, 41):
        newer = Tree(size, roots[size])
        for index in range(size):
            path = tree.inclusion(index, size)
            assert path == naive_path(index, leaves[:size])
            assert includes(leaf_hash(leaves[index]), index, size, path, roots[size])
            assert not includes(leaf_hash(b"other"), index, size, path, roots[size])
            older = Tree(index + 1, roots[index + 1])
            proof = tree.consistency(index + 1, size)
            assert proof == naive_subproof(index + 1, leaves[:size], known=True)
            assert extends(older, newer, proof)
            assert not extends(Tree(index + 1, leaf_hash(b"other")), newer, proof)


@given(st.lists(st.binary(max_size=8), max_size=300), st.integers(0, 300))
def test_frontier_when_extended_in_two_parts_is_the_tree_of_all(leaves: list[bytes], cut: int) -> None:
    hashes = [leaf_hash(leaf) for leaf in leaves]
    first, made = Frontier().extended(hashes[:cut])
    both, more = first.extended(hashes[cut:])
    assert both.root == naive_root(leaves)
    assert (both, made + more) == Frontier().extended(hashes)


@given(st.integers(1, 200), st.data())
def test_proof_when_anything_is_changed_fails(size: int, data: st.DataObject) -> None:
    leaves = [b"%d" % number for number in range(size)]
    tree = GrownTree(leaves)
    index = data.draw(st.integers(0, size - 1))
    leaf, path, root = leaf_hash(leaves[index]), tree.inclusion(index, size), tree.frontier.root
    assert not includes(leaf, index, size, [*path, root], root)
    assert not includes(leaf, size, size, path, root)
    if path:
        at = data.draw(st.integers(0, len(path) - 1))
        flipped = [*path[:at], leaf_hash(path[at]), *path[at + 1 :]]
        assert not includes(leaf, index, size, flipped, root)
        assert not includes(leaf, index, size, path[:-1], root)
        assert not includes(leaf, index ^ 1, size, path, root)
    newer, older = Tree(size, root), Tree(index + 1, naive_root(leaves[: index + 1]))
    proof = tree.consistency(index + 1, size)
    assert not extends(older, newer, [*proof, root])
    if proof:
        at = data.draw(st.integers(0, len(proof) - 1))
        assert not extends(older, newer, [*proof[:at], leaf_hash(proof[at]), *proof[at + 1 :]])
        assert not extends(older, newer, proof[:-1])
        assert not extends(older, Tree(size, leaf_hash(root)), proof)


def test_trees_when_sizes_are_impossible_are_refused() -> None:
    with pytest.raises(ValueError, match="has no leaf 3"):
        inclusion_spans(3, 3)
    with pytest.raises(ValueError, match="cannot have grown"):
        consistency_spans(4, 3)
    with pytest.raises(ValueError, match="perfect subtrees"):
        Frontier(3, (EMPTY_ROOT,))
    assert not extends(Tree(0, EMPTY_ROOT), Tree(1, EMPTY_ROOT), [])
    assert not extends(Tree(3, EMPTY_ROOT), Tree(2, EMPTY_ROOT), [])
