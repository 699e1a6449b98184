"""Newest quote per asset between two frames. Pure: no clock, no sending."""

from dataclasses import dataclass, field

from shared.contracts.frames import FrameQuote


@dataclass(slots=True)
class Conflation:
    """Keeps the newest quote of every asset, and which of them no frame has carried yet."""

    newest: dict[str, FrameQuote] = field(default_factory=dict)
    _waiting: dict[str, FrameQuote] = field(default_factory=dict)
    replaced: int = 0

    def put(self, quote: FrameQuote) -> None:
        """Take a quote; one of the same asset that still waits is forgotten (and counted in ``replaced``)."""
        asset = quote.asset
        if asset in self._waiting:
            self.replaced += 1
        self._waiting[asset] = quote
        self.newest[asset] = quote

    def take(self) -> tuple[FrameQuote, ...]:
        """The quotes that wait, oldest asset first; afterwards none waits."""
        waiting = tuple(self._waiting.values())
        self._waiting.clear()
        return waiting

    @property
    def waiting(self) -> bool:
        """Whether a quote waits for a frame."""
        return bool(self._waiting)
