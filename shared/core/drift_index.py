"""The drift index: which certificates does this price break? In time proportional to the answer.

Every certificate puts two barriers, upper and lower, on the log price of each of its assets. Per asset the barriers lie
in flat arrays, one row per strategy; only the ones nearest to the price, on either side, are also in a small heap with
its next stop in front. A tick that reaches neither stop costs two comparisons. One that reaches a stop pops what it
breaks. When a heap is used up (or full of rows that have moved since), it is filled again with the next ``NEAR``
barriers by one vectorised pass over the asset's arrays, which thus is paid once in about ``NEAR`` broken certificates.

Memory per strategy of k assets: k x (4 + 8 + 8 bytes of barriers + 2 + 4 bytes of place) + 5 bytes, plus at most an
eighth of spare room; the heaps are bounded per asset, not per strategy.

Contract: a slot that ``apply`` returns must be given a new certificate (``put``) or be removed before the next
``apply``. A barrier counts as broken when the price reaches it, so a band of 0 is broken by every tick.
"""

from array import array
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from math import inf, isfinite

import numpy as np
import numpy.typing as npt

from shared.core.errors import Refused

NEAR = 128
_MAX_ASSETS_PER_SLOT = 255
_MAX_ASSET_IDS = 65_536

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class _Side:
    """The barriers of one asset on one side, as numbers that are reached from below (lower barriers are negated)."""

    __slots__ = ("barriers", "heap", "horizon", "stop")

    def __init__(self) -> None:
        self.barriers = array("d")
        self.heap: list[tuple[float, int]] = []
        self.horizon = inf  # every barrier below it is in the heap
        self.stop = inf  # no barrier is below it

    def bring_near(self, row: int, barrier: float) -> None:
        """Note a new barrier that lies below the horizon."""
        heappush(self.heap, (barrier, row))
        self.stop = min(self.stop, barrier)
        if len(self.heap) > 4 * NEAR:
            self.refill()

    def clear(self, row: int) -> None:
        self.barriers[row] = inf

    def reached(self, position: float) -> list[int]:
        """The rows whose barrier is <= position, each taken out of the heap; moves the stop."""
        rows: list[int] = []
        while self.stop <= position:
            heap, barriers = self.heap, self.barriers
            while heap and heap[0][0] <= position:
                barrier, row = heappop(heap)
                if barriers[row] == barrier:
                    barriers[row] = inf
                    rows.append(row)
            if heap or self.horizon > position:
                self.stop = heap[0][0] if heap else self.horizon
                break
            rows += self._take_all_reached(position)
            self.refill()
        return rows

    def _take_all_reached(self, position: float) -> list[int]:
        view = np.frombuffer(self.barriers, dtype=np.float64)
        found = np.flatnonzero(view <= position)
        view[found] = inf
        return [int(row) for row in found]

    def refill(self) -> None:
        """Put the barriers nearer than the ``NEAR``-th into the heap again; that one is the new horizon.

        Ties of it stay outside, so that a thousand equal certificates do not make a thousand heap entries.
        """
        view = np.frombuffer(self.barriers, dtype=np.float64)
        self.horizon = float(np.partition(view, NEAR - 1)[NEAR - 1]) if view.size >= NEAR else inf
        near = np.flatnonzero(view < self.horizon)
        self.heap = list(zip(view[near].tolist(), near.tolist(), strict=True))
        heapify(self.heap)
        self.stop = self.heap[0][0] if self.heap else self.horizon


class _Asset:
    """One asset's rows. A row belongs to one slot, or to none: then its barriers are infinite and it is free."""

    __slots__ = ("free", "lower", "slots", "upper")

    def __init__(self) -> None:
        self.slots = array("i")
        self.upper = _Side()
        self.lower = _Side()
        self.free: list[int] = []

    def take_row(self, slot: int) -> int:
        if self.free:
            row = self.free.pop()
            self.slots[row] = slot
            return row
        self.slots.append(slot)
        self.upper.barriers.append(inf)
        self.lower.barriers.append(inf)
        return len(self.slots) - 1

    def give_back(self, row: int) -> None:
        self.upper.clear(row)
        self.lower.clear(row)
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
        self.broken_total = 0

    def __contains__(self, slot: int) -> bool:
        return 0 <= slot < len(self._first) and self._first[slot] >= 0

    def put(self, slot: int, asset_ids: Sequence[int], log_prices: Sequence[float], band: float) -> None:
        """Give ``slot`` a certificate, in place of the one it has: ``band`` >= 0 around these log prices.

        An infinite band keeps the rows but breaks at no price. Raises Refused for a NaN, a negative band, an asset id
        outside 0..65535 or a slot with no or more than 255 assets.
        """
        if not band >= 0.0 or not isfinite(sum(log_prices)):
            raise Refused.one("band", band, "a number >= 0 around finite log prices", "is not a certificate")
        first = self._segment(slot, asset_ids)
        assets, rows = self._assets, self._segment_rows
        for place, (asset_id, log_price) in enumerate(zip(asset_ids, log_prices, strict=True), first):
            asset, row = assets[asset_id], rows[place]
            upper, lower = asset.upper, asset.lower
            upper.barriers[row] = barrier = log_price + band
            if barrier < upper.horizon:
                upper.bring_near(row, barrier)
                self._upper_stops[asset_id] = upper.stop
            lower.barriers[row] = barrier = band - log_price
            if barrier < lower.horizon:
                lower.bring_near(row, barrier)
                self._lower_stops[asset_id] = -lower.stop

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
        rows = asset.upper.reached(log_price)
        rows += asset.lower.reached(-log_price)
        self._upper_stops[asset_id] = asset.upper.stop
        self._lower_stops[asset_id] = -asset.lower.stop
        broken = list({asset.slots[row]: None for row in rows})
        self.broken_total += len(broken)
        return broken

    def put_many(self, slots: Ints, asset_ids: Ints, log_prices: Floats, bands: Floats) -> None:
        """``put`` for many new slots with the same number of assets each, vectorised.

        ``slots``: shape (n,), none in the index yet; ``asset_ids`` and ``log_prices``: shape (n, k); ``bands``: (n,).
        """
        count = asset_ids.shape[1]
        self._grow_slots(int(slots.max(initial=-1)))
        start = len(self._segment_assets)
        np.frombuffer(self._first, dtype=np.int64)[slots] = start + np.arange(len(slots)) * count
        np.frombuffer(self._count, dtype=np.uint8)[slots] = count
        flat_assets = asset_ids.ravel()
        self._grow_assets(int(flat_assets.max(initial=-1)))
        rows = np.empty(flat_assets.size, dtype=np.int32)
        order = np.argsort(flat_assets, kind="stable")
        edges = np.searchsorted(flat_assets[order], np.arange(len(self._assets) + 1))
        flat_slots, flat_bands = np.repeat(slots, count), np.repeat(bands, count)
        flat_prices = log_prices.ravel()
        for asset_id, asset in enumerate(self._assets):
            places = order[edges[asset_id] : edges[asset_id + 1]]
            if not places.size:
                continue
            rows[places] = len(asset.slots) + np.arange(places.size)
            asset.slots.frombytes(flat_slots[places].astype(np.int32).tobytes())
            asset.upper.barriers.frombytes((flat_prices[places] + flat_bands[places]).tobytes())
            asset.lower.barriers.frombytes((flat_bands[places] - flat_prices[places]).tobytes())
            asset.upper.refill()
            asset.lower.refill()
            self._upper_stops[asset_id] = asset.upper.stop
            self._lower_stops[asset_id] = -asset.lower.stop
        self._segment_assets.frombytes(flat_assets.astype(np.uint16).tobytes())
        self._segment_rows.frombytes(rows.tobytes())

    def size_bytes(self) -> int:
        """Memory held by the arrays and heaps (a heap entry counted as 120 bytes)."""
        total = 0
        for column in (self._first, self._count, self._segment_assets, self._segment_rows):
            total += column.__sizeof__()
        for asset in self._assets:
            total += asset.slots.__sizeof__() + 8 * len(asset.free)
            for side in (asset.upper, asset.lower):
                total += side.barriers.__sizeof__() + 120 * len(side.heap)
        return total

    def _segment(self, slot: int, asset_ids: Sequence[int]) -> int:
        """Where the slot's rows are noted; they are made when it has none yet or had other assets."""
        count = len(asset_ids)
        if not 0 < count <= _MAX_ASSETS_PER_SLOT or not all(0 <= each < _MAX_ASSET_IDS for each in asset_ids):
            raise Refused.one("asset_ids", count, "1 to 255 ids from 0 to 65535", "cannot be indexed")
        if slot in self:
            first = self._first[slot]
            if self._count[slot] == count and self._segment_assets[first : first + count].tolist() == list(asset_ids):
                return first
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
