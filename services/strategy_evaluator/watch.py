"""When each strategy must be looked at again: prices by the drift index, times by a heap, the rest by who waits."""

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush

import numpy as np

from shared.contracts.frames import FrameQuote
from shared.core.bulk_certificates import PlainCase, plain_boxes
from shared.core.certificates import Certificate, barriers
from shared.core.drift_index import DriftIndex

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
ANY_PRICE = "*"
"""Waits for the venue's prices as a whole, not for one asset."""


class VenueWatch:
    """What one venue's strategies wait for."""

    def __init__(self) -> None:
        self.asset_ids: dict[str, int] = {}
        self.waiting: dict[str, set[int]] = {}
        self.waiting_for_instruments: set[int] = set()
        self.due: list[tuple[int, int]] = []


class Watch:
    """Certificates of all strategies looked after, by slot. One certificate per slot, the newest."""

    def __init__(self) -> None:
        self._index = DriftIndex()
        self._venues: dict[str, VenueWatch] = {}
        self._asset_count = 0
        self._due_ms: dict[int, int] = {}
        self._waits: dict[int, tuple[VenueWatch, str]] = {}

    def venue(self, name: str) -> VenueWatch:
        """The watch over one venue."""
        found = self._venues.get(name)
        if found is None:
            found = self._venues[name] = VenueWatch()
        return found

    def put(self, slot: int, venue: str, certificate: Certificate) -> None:
        """Watch a slot by this certificate, in place of the one before."""
        watch = self.venue(venue)
        self._forget_waiting(slot)
        if certificate.assets and math.isfinite(certificate.log_band):
            ids = [self._asset_id(watch, asset) for asset in certificate.assets]
            self._index.put(slot, ids, *barriers(certificate))
        else:
            self._index.remove(slot)
        if certificate.until is not None:
            self._look_at(watch, slot, certificate.until)
        if certificate.waits_for_price:
            watch.waiting.setdefault(certificate.waits_for_price, set()).add(slot)
            self._waits[slot] = (watch, certificate.waits_for_price)
        if certificate.waits_for_instrument:
            watch.waiting_for_instruments.add(slot)

    def put_plain(self, venue: str, quote: str, plain: Mapping[int, PlainCase]) -> set[int]:
        """Watch slots by the boxes and moments of their cases, at their prices, in place of whatever watched them.

        Returns the slots that are watched now: not those with a box of no width. ``quote``: its price never moves.
        """
        watch, watched = self.venue(venue), set[int]()
        alike: dict[tuple[int, int], list[int]] = {}
        for slot, case in plain.items():
            self.drop(slot)
            cash = case.assets.index(quote) if quote in case.assets else -1
            alike.setdefault((len(case.assets), cash), []).append(slot)
        for (count, cash), slots in alike.items():
            cases = [plain[slot] for slot in slots]
            ups, downs = plain_boxes(cases, cash)
            columns = [column for column in range(count) if column != cash]
            nearest = np.minimum(ups, downs)[:, columns].min(axis=1)
            wide, bounded = np.flatnonzero(nearest > 0.0), np.flatnonzero((nearest > 0.0) & np.isfinite(nearest))
            logs = np.log(np.array([case.bids for case in cases]))
            ids = [[self._asset_id(watch, case.assets[column]) for column in columns] for case in cases]
            lowers, uppers = (logs - downs)[bounded][:, columns], (logs + ups)[bounded][:, columns]
            self._index.put_many(np.array(slots, dtype=np.int64)[bounded], np.array(ids)[bounded], lowers, uppers)
            for row in wide.tolist():
                watched.add(slots[row])
                if (until := cases[row].until) is not None:
                    self._look_at(watch, slots[row], until)
        return watched

    def _look_at(self, watch: VenueWatch, slot: int, until: datetime) -> None:
        due_ms = -((_EPOCH - until) // _MILLISECOND)  # rounded up: never before it is due
        self._due_ms[slot] = due_ms
        heappush(watch.due, (due_ms, slot))

    def drop(self, slot: int) -> None:
        """Watch a slot no more."""
        self._index.remove(slot)
        self._forget_waiting(slot)

    def broken_by(self, venue: str, quotes: Iterable[FrameQuote]) -> dict[int, int]:
        """The slots that must be looked at because of these quotes, each with the newest received_ns that says so."""
        watch = self.venue(venue)
        ids, waiting, apply = watch.asset_ids, watch.waiting, self._index.apply
        broken: dict[int, int] = {}
        for quote in quotes:
            asset_id = ids.get(quote.asset)
            if asset_id is not None:
                for slot in apply(asset_id, math.log(float(quote.bid))):
                    broken[slot] = max(quote.received_ns, broken.get(slot, 0))
            if quote.asset in waiting:
                for slot in waiting[quote.asset]:
                    broken[slot] = max(quote.received_ns, broken.get(slot, 0))
        return broken

    def due_at(self, venue: str, market_time_ms: int) -> list[int]:
        """The slots whose time has come; each once."""
        watch, slots = self.venue(venue), []
        while watch.due and watch.due[0][0] <= market_time_ms:
            due_ms, slot = heappop(watch.due)
            if self._due_ms.get(slot) == due_ms:
                del self._due_ms[slot]
                slots.append(slot)
        return slots

    def waiting_for(self, venue: str, assets: Iterable[str]) -> list[int]:
        """The slots that wait for one of these assets' prices."""
        watch = self.venue(venue)
        return [slot for asset in assets for slot in watch.waiting.get(asset, ())]

    def waiting_for_any_price(self, venue: str) -> list[int]:
        """The slots that wait for any price of the venue."""
        return [slot for slots in self.venue(venue).waiting.values() for slot in slots]

    def waiting_for_instruments(self, venue: str) -> list[int]:
        """The slots that wait for other trading rules."""
        return list(self.venue(venue).waiting_for_instruments)

    def _asset_id(self, watch: VenueWatch, asset: str) -> int:
        asset_id = watch.asset_ids.get(asset)
        if asset_id is None:
            asset_id = watch.asset_ids[asset] = self._asset_count
            self._asset_count += 1
        return asset_id

    def _forget_waiting(self, slot: int) -> None:
        self._due_ms.pop(slot, None)
        waits = self._waits.pop(slot, None)
        if waits is not None:
            watch, asset = waits
            slots = watch.waiting[asset]
            slots.discard(slot)
            if not slots:
                del watch.waiting[asset]
        for watch in self._venues.values():
            watch.waiting_for_instruments.discard(slot)
