"""The drift index: which certificates does this price break? In time proportional to the answer.

Every certificate puts two barriers, upper and lower, on the log price of each of its assets. Per asset the barriers lie
in flat arrays, one row per strategy; only the ones nearest to the price, on either side, are also in a short sorted
list, and its first is the stop. A tick that reaches neither stop costs two comparisons, whatever the number of
strategies. One that reaches a stop pops what it breaks. When a list is used up or too long, it is filled again with the
next ``NEAR`` barriers by one vectorised pass over the asset's arrays: about once in ``NEAR`` broken certificates.

Memory per strategy of k assets: k x (4 + 8 + 8 bytes of barriers + 2 + 4 bytes of place) + 9 bytes, plus at most an
eighth of spare room; the sorted lists are bounded per asset, not per strategy.

Contract: a slot that ``apply`` returns must be given a new certificate (``put``) or be removed before the next
``apply``. A barrier counts as broken when the price reaches it, so one at the price itself is broken by every tick.
"""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from math import inf
from operator import le

import numpy as np
import numpy.typing as npt

from shared.core.errors import Refused

NEAR = 64
_MAX_ASSETS_PER_SLOT = 255
_MAX_ASSET_IDS = 65_536

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class _Side:
    """The barriers of one asset on one side, as numbers that are reached from below (lower barriers are negated).

    ``barriers`` belongs to both sides, so that a row's two are beside each other in memory: those of a side are at its
    ``parity``, and a row is known by the place of its barrier. It is in ``near_keys`` (the barrier, negated, ascending:
    the nearest is last) and ``near_places`` if and only if the barrier is below the horizon.
    """

    __slots__ = ("barriers", "horizon", "near_keys", "near_places", "parity", "stop")

    def __init__(self, barriers: "array[float]", parity: int) -> None:
        self.barriers = barriers
        self.parity = parity
        self.near_keys = array("d")
        self.near_places = array("i")
        self.horizon = inf
        self.stop = inf  # the lowest barrier below the horizon, else the horizon: no barrier is below it

    def move(self, place: int, barrier: float) -> None:
        """Give a row another barrier; infinite for none."""
        barriers, horizon, keys = self.barriers, self.horizon, self.near_keys
        old = barriers[place]
        barriers[place] = barrier
        if old < horizon:
            at, places = bisect_left(keys, -old), self.near_places
            while places[at] != place:  # among equals
                at += 1
            del keys[at], places[at]
        if barrier < horizon:
            at = bisect_left(keys, -barrier)
            keys.insert(at, -barrier)
            self.near_places.insert(at, place)
            if len(keys) > 4 * NEAR:
                self.refill()
                keys = self.near_keys
        self.stop = -keys[-1] if keys else self.horizon

    def move_many(self, rows: Ints, barriers: Floats) -> None:
        """Give rows whose barriers are infinite these ones."""
        near = barriers < self.horizon
        if np.count_nonzero(near) > NEAR:
            self._view()[rows] = barriers
            self.refill()
            return
        self._view()[rows[~near]] = barriers[~near]
        for row, barrier in zip(rows[near].tolist(), barriers[near].tolist(), strict=True):
            self.move(2 * row + self.parity, barrier)
        self.stop = -self.near_keys[-1] if self.near_keys else self.horizon

    def reached(self, position: float) -> list[int]:
        """The places of the barriers <= position, each taken away; moves the stop."""
        reached: list[int] = []
        keys, places, barriers = self.near_keys, self.near_places, self.barriers
        while keys and -keys[-1] <= position:
            keys.pop()
            place = places.pop()
            barriers[place] = inf
            reached.append(place)
        if keys:
            self.stop = -keys[-1]
        elif self.horizon > position:
            self.stop = self.horizon
        else:
            reached += self._take_all_reached(position)
            self.refill()
        return reached

    def _take_all_reached(self, position: float) -> list[int]:
        view = self._view()
        found = np.flatnonzero(view <= position)
        view[found] = inf
        return [2 * int(row) + self.parity for row in found]

    def refill(self) -> None:
        """Bring the barriers nearer than the ``NEAR``-th near again; that one is the new horizon.

        Ties of it stay outside, so that a thousand equal certificates do not make a thousand entries.
        """
        view = self._view()
        self.horizon = float(np.partition(view, NEAR - 1)[NEAR - 1]) if view.size >= NEAR else inf
        rows = np.flatnonzero(view < self.horizon)
        rows = rows[np.argsort(-view[rows], kind="stable")]
        self.near_keys = array("d", (-view[rows]).tobytes())
        self.near_places = array("i", (2 * rows + self.parity).astype(np.int32).tobytes())
        self.stop = -self.near_keys[-1] if self.near_keys else self.horizon

    def _view(self) -> Floats:
        return np.frombuffer(self.barriers, dtype=np.float64)[self.parity :: 2]


class _Asset:
    """One asset's rows, two barriers each. A row belongs to one slot, or to none: then its barriers are infinite."""

    __slots__ = ("barriers", "free", "lower", "slots", "upper")

    def __init__(self) -> None:
        self.slots = array("i")
        self.barriers = array("d")
        self.upper = _Side(self.barriers, 0)
        self.lower = _Side(self.barriers, 1)
        self.free: list[int] = []

    def take_row(self, slot: int) -> int:
        if self.free:
            row = self.free.pop()
            self.slots[row] = slot
            return row
        self.slots.append(slot)
        self.barriers.extend((inf, inf))
        return len(self.slots) - 1

    def take_rows(self, slots: Ints) -> Ints:
        """A row for each slot, with infinite barriers."""
        reused = self.free[max(0, len(self.free) - len(slots)) :]
        del self.free[len(self.free) - len(reused) :]
        start, new = len(self.slots), len(slots) - len(reused)
        self.slots.frombytes(bytes(4 * new))
        self.barriers.frombytes(np.full(2 * new, inf).tobytes())
        rows = np.concatenate((np.array(reused, dtype=np.int64), start + np.arange(new)))
        np.frombuffer(self.slots, dtype=np.int32)[rows] = slots
        return rows

    def give_back(self, row: int) -> None:
        self.upper.move(2 * row, inf)
        self.lower.move(2 * row + 1, inf)
        self.slots[row] = -1
        self.free.append(row)


class DriftIndex:
    """Certificates by slot: a small non-negative number that the caller gives to each strategy."""

    def __init__(self) -> None:
        self._assets: list[_Asset] = []
        self._upper_stops: list[float] = []
        self._lower_stops: list[float] = []
        self._first = array("q")  # by slot: start of its segment below, -1 = none
        self._count = array("B")
        self._segment_assets = array("H")
        self._segment_rows = array("i")
        self._free_segments: dict[int, list[int]] = {}

    def __contains__(self, slot: int) -> bool:
        return 0 <= slot < len(self._first) and self._first[slot] >= 0

    def put(self, slot: int, asset_ids: list[int], lowers: Sequence[float], uppers: Sequence[float]) -> None:
        """Give ``slot`` a certificate, in place of the one it has: by asset, the log prices at which it breaks.

        An infinite barrier breaks at no price. Raises Refused for a NaN, a lower barrier above its upper one, an asset
        id outside 0..65535 or a slot with no or more than 255 assets.
        """
        if not all(map(le, lowers, uppers)):
            raise Refused.one("barriers", (lowers, uppers), "lower <= upper for every asset", "is no certificate")
        count, segment_assets = len(asset_ids), self._segment_assets
        first = self._first[slot] if 0 <= slot < len(self._first) else -1
        if first < 0 or self._count[slot] != count or segment_assets[first : first + count].tolist() != asset_ids:
            first = self._segment(slot, asset_ids)
        assets, rows = self._assets, self._segment_rows[first : first + count]
        upper_stops, lower_stops = self._upper_stops, self._lower_stops
        for asset_id, row, low, high in zip(asset_ids, rows, lowers, uppers, strict=True):
            asset, at = assets[asset_id], 2 * row
            barriers, side = asset.barriers, asset.upper
            if high < side.horizon or barriers[at] < side.horizon:
                side.move(at, high)
                upper_stops[asset_id] = side.stop
            else:
                barriers[at] = high  # far before and far now: nobody waits for it yet
            side = asset.lower
            if -low < side.horizon or barriers[at + 1] < side.horizon:
                side.move(at + 1, -low)
                lower_stops[asset_id] = -side.stop
            else:
                barriers[at + 1] = -low

    def remove(self, slot: int) -> None:
        """Forget a slot's certificate; nothing happens when it has none."""
        if slot not in self:
            return
        first, count = self._first[slot], self._count[slot]
        for place in range(first, first + count):
            self._assets[self._segment_assets[place]].give_back(self._segment_rows[place])
        self._first[slot] = -1
        self._free_segments.setdefault(count, []).append(first)

    def apply(self, asset_id: int, log_price: float) -> list[int]:
        """The slots whose certificate this price breaks (each once); usually none.

        An asset id without certificates breaks none.
        """
        try:
            if self._lower_stops[asset_id] < log_price < self._upper_stops[asset_id]:
                return []
        except IndexError:
            return []
        return self._break(asset_id, log_price)

    def _break(self, asset_id: int, log_price: float) -> list[int]:
        asset = self._assets[asset_id]
        upper, lower = asset.upper, asset.lower
        places = upper.reached(log_price) if upper.stop <= log_price else []
        if lower.stop <= -log_price:
            places += lower.reached(-log_price)
        self._upper_stops[asset_id] = upper.stop
        self._lower_stops[asset_id] = -lower.stop
        if len(places) < 2:
            return [asset.slots[places[0] >> 1]] if places else places
        # A band of 0 is reached from both sides.
        return list(dict.fromkeys(asset.slots[place >> 1] for place in places))

    def put_many(self, slots: Ints, asset_ids: Ints, lowers: Floats, uppers: Floats) -> None:
        """``put`` for many new slots with the same number of assets each, vectorised.

        ``slots``: shape (n,), none in the index yet; ``asset_ids``, ``lowers`` and ``uppers``: shape (n, k).
        """
        count = asset_ids.shape[1]
        self._grow_slots(int(slots.max(initial=-1)))
        starts = self._take_segments(count, len(slots))
        np.frombuffer(self._first, dtype=np.int64)[slots] = starts
        np.frombuffer(self._count, dtype=np.uint8)[slots] = count
        flat_assets = asset_ids.ravel()
        self._grow_assets(int(flat_assets.max(initial=-1)))
        rows = np.empty(flat_assets.size, dtype=np.int32)
        order = np.argsort(flat_assets, kind="stable")
        edges = np.searchsorted(flat_assets[order], np.arange(len(self._assets) + 1))
        flat_slots, flat_lowers, flat_uppers = np.repeat(slots, count), lowers.ravel(), uppers.ravel()
        for asset_id, asset in enumerate(self._assets):
            places = order[edges[asset_id] : edges[asset_id + 1]]
            if not places.size:
                continue
            rows[places] = taken = asset.take_rows(flat_slots[places])
            asset.upper.move_many(taken, flat_uppers[places])
            asset.lower.move_many(taken, -flat_lowers[places])
            self._upper_stops[asset_id] = asset.upper.stop
            self._lower_stops[asset_id] = -asset.lower.stop
        segments = (starts[:, None] + np.arange(count)).ravel()
        np.frombuffer(self._segment_assets, dtype=np.uint16)[segments] = flat_assets
        np.frombuffer(self._segment_rows, dtype=np.int32)[segments] = rows

    def size_bytes(self) -> int:
        """Memory held by the arrays."""
        total = 0
        for column in (self._first, self._count, self._segment_assets, self._segment_rows):
            total += column.__sizeof__()
        for asset in self._assets:
            total += asset.slots.__sizeof__() + asset.barriers.__sizeof__() + 8 * len(asset.free)
            for side in (asset.upper, asset.lower):
                total += side.near_keys.__sizeof__() + side.near_places.__sizeof__()
        return total

    def _segment(self, slot: int, asset_ids: list[int]) -> int:
        """Rows for a slot that has none yet or had other assets; returns where they are noted."""
        count = len(asset_ids)
        if not 0 < count <= _MAX_ASSETS_PER_SLOT or not all(0 <= each < _MAX_ASSET_IDS for each in asset_ids):
            raise Refused.one("asset_ids", count, "1 to 255 ids from 0 to 65535", "cannot be indexed")
        self.remove(slot)
        self._grow_slots(slot)
        self._grow_assets(max(asset_ids))
        rows = [self._assets[asset_id].take_row(slot) for asset_id in asset_ids]
        free = self._free_segments.get(count)
        if free:
            first = free.pop()
            self._segment_assets[first : first + count] = array("H", asset_ids)
            self._segment_rows[first : first + count] = array("i", rows)
        else:
            first = len(self._segment_assets)
            self._segment_assets.extend(asset_ids)
            self._segment_rows.extend(rows)
        self._first[slot] = first
        self._count[slot] = count
        return first

    def _take_segments(self, count: int, number: int) -> Ints:
        """Where so many segments of ``count`` assets begin: those given back first, then new ones."""
        free = self._free_segments.get(count, [])
        reused = free[max(0, len(free) - number) :]
        del free[len(free) - len(reused) :]
        start, new = len(self._segment_assets), number - len(reused)
        self._segment_assets.frombytes(bytes(2 * count * new))
        self._segment_rows.frombytes(bytes(4 * count * new))
        return np.concatenate((np.array(reused, dtype=np.int64), start + count * np.arange(new)))

    def _grow_slots(self, slot: int) -> None:
        missing = slot + 1 - len(self._first)
        if missing > 0:
            self._first.extend([-1] * missing)
            self._count.extend([0] * missing)

    def _grow_assets(self, asset_id: int) -> None:
        while len(self._assets) <= asset_id:
            self._assets.append(_Asset())
            self._upper_stops.append(inf)
            self._lower_stops.append(-inf)
