"""Rendezvous hashing: everybody computes the same shares, and few strategies move."""

import numpy as np
import pytest

from services.strategy_evaluator.membership import Members, hash_of, score, scores

HASHES = np.array([hash_of(f"s{n}") for n in range(4000)], dtype=np.uint64)


def _members(own: str, *others: str) -> Members:
    members = Members(own, gone_after_s=3.0)
    for other in others:
        members.heard(other, 0.0)
    return members


def test_scores_when_vectorised_equal_the_scalar_ones() -> None:
    assert scores(hash_of("m"), HASHES[:50]).tolist() == [score(hash_of("m"), int(each)) for each in HASHES[:50]]


@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_shares_when_computed_by_each_member_cover_everything_once(count: int) -> None:
    names = [f"e{n}" for n in range(count)]
    shares = [_members(name, *names).owned(HASHES) for name in names]
    assert np.sum(shares, axis=0).tolist() == [1] * len(HASHES)
    assert min(int(share.sum()) for share in shares) > 0.8 * len(HASHES) / count
    assert [bool(each) for each in shares[0][:20]] == [_members("e0", *names).owns(int(h)) for h in HASHES[:20]]


def test_shares_when_a_member_goes_only_its_own_move() -> None:
    before = _members("e0", "e1", "e2").owned(HASHES)
    after = _members("e0", "e1").owned(HASHES)
    gone = _members("e2", "e0", "e1").owned(HASHES)
    assert not np.any(before & ~after)
    assert not np.any(after & ~before & ~gone)


def test_members_when_silent_are_forgotten_and_come_back() -> None:
    members = _members("e0")
    assert members.heard("e1", 1.0)
    assert not members.heard("e1", 2.0)
    assert not members.heard("e0", 2.0)
    assert not members.forget_silent(5.0)
    assert members.forget_silent(5.1)
    assert members.ids == ["e0"]
    assert members.heard("e1", 6.0)
    assert members.left("e1")
    assert not members.left("e1")


def test_members_when_this_evaluator_itself_was_frozen_are_heard_before_they_are_forgotten() -> None:
    members = _members("e0", "e1")
    assert not members.forget_silent(1.0)
    assert not members.forget_silent(61.0)
    assert members.ids == ["e0", "e1"]
    for now_s in (61.1, 62.0, 63.0):
        assert not members.forget_silent(now_s)
    assert members.forget_silent(63.1)  # it had been silent for 1 s before, and is for 2.1 s more


def test_members_when_frozen_again_and_again_are_still_forgotten_in_the_end() -> None:
    members = _members("e0", "e1")
    looks = [second * 1.4 for second in range(10)]  # slow, but not standing still
    assert any(members.forget_silent(now_s) for now_s in looks)
