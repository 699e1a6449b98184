"""Price frames: the one hot message. Compact JSON arrays, encoded and decoded without pydantic.

A frame is ``{"v": venue, "e": epoch, "n": sequence, "t": market time ms, "q": [quote, ...]}``; a quote is
``[asset, bid, ask, at ms, received ns]`` with bid and ask as decimal text. It is sent on core NATS: a lost frame is
seen as a gap in ``n`` and healed from the snapshot stream (``PricesSnapshotted``): only the newest quote matters.
Quotes of direct pairs stand apart (``"x"``, left out when there are none), each under its pair's name: who knows only
assets does not meet them.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import orjson

from shared.core.market import Quote


@dataclass(frozen=True, slots=True)
class FrameQuote:
    """One asset's newest quote inside a frame. ``bid``/``ask`` stay text until somebody needs exact money."""

    asset: str
    bid: str
    ask: str
    at_ms: int
    received_ns: int

    def quote(self) -> Quote:
        """The exact quote."""
        return Quote(Decimal(self.bid), Decimal(self.ask), datetime.fromtimestamp(self.at_ms / 1000, UTC))


@dataclass(frozen=True, slots=True)
class PriceFrame:
    """Quotes that changed since the previous frame of the same epoch (sequence + 1)."""

    venue: str
    epoch: str
    sequence: int
    market_time_ms: int
    quotes: tuple[FrameQuote, ...]
    crosses: tuple[FrameQuote, ...] = ()


def encode_frame(frame: PriceFrame) -> bytes:
    """The frame's bytes on the wire."""
    body: dict[str, object] = {
        "v": frame.venue,
        "e": frame.epoch,
        "n": frame.sequence,
        "t": frame.market_time_ms,
        "q": [[q.asset, q.bid, q.ask, q.at_ms, q.received_ns] for q in frame.quotes],
    }
    if frame.crosses:
        body["x"] = [[q.asset, q.bid, q.ask, q.at_ms, q.received_ns] for q in frame.crosses]
    return orjson.dumps(body)


def decode_frame(data: bytes) -> PriceFrame:
    """The frame in ``data``. Raises ValueError (orjson.JSONDecodeError included), KeyError or TypeError when broken."""
    body = orjson.loads(data)
    quotes, crosses = (tuple(FrameQuote(*row) for row in rows) for rows in (body["q"], body.get("x", ())))
    return PriceFrame(body["v"], body["e"], body["n"], body["t"], quotes, crosses)
