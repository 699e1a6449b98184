"""Which evaluator looks after which strategy: rendezvous hashing over the members heard lately.

Every member computes the same shares from the same members, without asking anybody. When the views differ for a moment,
two look after one strategy (harmless: the executor takes one plan per position) or nobody does (until the next beat).
"""

import hashlib

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]

_MASK = (1 << 64) - 1
_GOLDEN, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def hash_of(text: str) -> int:
    """64 bits of BLAKE2b: the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def score(member_hash: int, strategy_hash: int) -> int:
    """The weight of a member for a strategy (splitmix64 of both hashes)."""
    x = ((member_hash ^ strategy_hash) + _GOLDEN) & _MASK
    x = ((x ^ (x >> 30)) * _MIX_1) & _MASK
    x = ((x ^ (x >> 27)) * _MIX_2) & _MASK
    return x ^ (x >> 31)


def scores(member_hash: int, strategy_hashes: Hashes) -> Hashes:
    """``score`` for many strategies at once."""
    x = (strategy_hashes ^ np.uint64(member_hash)) + np.uint64(_GOLDEN)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_MIX_1)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_MIX_2)
    return x ^ (x >> np.uint64(31))


class Members:
    """The evaluators alive, as this one (``own_id``) sees them. Times are seconds of a monotonic clock."""

    def __init__(self, own_id: str, gone_after_s: float) -> None:
        self.own_id = own_id
        self._gone_after_s = gone_after_s
        self._heard_at: dict[str, float] = {}
        self._looked_at: float | None = None
        self._hashes = {own_id: hash_of(own_id)}

    @property
    def ids(self) -> list[str]:
        """Everybody alive, this one included."""
        return sorted(self._hashes)

    def heard(self, member_id: str, now_s: float) -> bool:
        """A heartbeat arrived; whether the member is new."""
        if member_id == self.own_id:
            return False
        self._heard_at[member_id] = now_s
        if member_id in self._hashes:
            return False
        self._hashes[member_id] = hash_of(member_id)
        return True

    def left(self, member_id: str) -> bool:
        """A member said that it leaves; whether it was there."""
        if self._heard_at.pop(member_id, None) is None:
            return False
        del self._hashes[member_id]
        return True

    def forget_silent(self, now_s: float) -> bool:
        """Take out the members that were silent for too long; whether there were any. To be asked again and again.

        The time between two calls is nobody's silence if this evaluator itself stood still in it (frozen, suspended):
        it would take everything for its own, with old prices, while the others' heartbeats wait to be read.
        """
        away_s = 0.0 if self._looked_at is None else now_s - self._looked_at
        self._looked_at = now_s
        if away_s > self._gone_after_s / 2:
            self._heard_at = {each: min(at + away_s, now_s) for each, at in self._heard_at.items()}
        silent = [each for each, at in self._heard_at.items() if now_s - at > self._gone_after_s]
        for each in silent:
            self.left(each)
        return bool(silent)

    def owns(self, strategy_hash: int) -> bool:
        """Whether the strategy is this evaluator's."""
        own = score(self._hashes[self.own_id], strategy_hash)
        return all(score(each, strategy_hash) <= own for each in self._hashes.values())

    def owned(self, strategy_hashes: Hashes) -> npt.NDArray[np.bool_]:
        """``owns`` for many strategies at once."""
        own = scores(self._hashes[self.own_id], strategy_hashes)
        mine = np.ones(len(strategy_hashes), dtype=np.bool_)
        for member_id, member_hash in self._hashes.items():
            if member_id != self.own_id:
                mine &= scores(member_hash, strategy_hashes) <= own
        return mine
