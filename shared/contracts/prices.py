"""Prices: frames on the move (core NATS, newest wins) and a snapshot to start from (last value in a stream)."""

from typing import ClassVar

from shared.contracts.wire import Amount, Message, Part, Timestamp


class InstrumentListed(Part):
    """One tradable pair with its filters; see ``shared.core.market.Instrument``.

    ``unreconciled``: venue and books differ in its assets, so it is priced but not traded until that is explained.
    """

    symbol: str
    base: str
    quote: str
    lot_step: Amount
    min_quantity: Amount
    max_quantity: Amount
    tick_size: Amount
    min_notional: Amount
    taker_fee: Amount
    tradable: bool = True
    unreconciled: bool = False


class InstrumentsListed(Message):
    """Every pair a venue trades against its quote currency now: a full snapshot, last value wins.

    ``crosses``: the direct pairs between two of its assets that orders may be routed through, see
    ``shared.core.routing``.
    """

    TYPE: ClassVar[str] = "trimtab.instruments.listed"

    venue: str
    quote: str
    instruments: tuple[InstrumentListed, ...]
    crosses: tuple[InstrumentListed, ...] = ()


class QuoteSeen(Part):
    """Best bid and ask of one base asset at market time ``at``; ``received_ns``: the feed's wall clock at arrival."""

    asset: str
    bid: Amount
    ask: Amount
    at: Timestamp
    received_ns: int


class PricesSnapshotted(Message):
    """The newest quote of every asset of a venue, sent about once a second: where a new evaluator starts.

    ``sequence`` is that of the last frame it includes; ``epoch`` changes when the feed restarts (sequences begin anew).
    ``stale`` names the assets that must not be traded on, ``stale_because`` the feed's reason for each of them;
    ``refused`` counts what the feed did not believe since its start, by reason. ``crosses``: the same of direct pairs,
    each under its name (``shared.core.market.pair_name``); in ``stale`` they are named so, too.
    """

    TYPE: ClassVar[str] = "trimtab.prices.snapshotted"

    venue: str
    epoch: str
    sequence: int
    market_time: Timestamp
    quotes: tuple[QuoteSeen, ...]
    stale: tuple[str, ...] = ()
    stale_because: dict[str, str] = {}
    refused: dict[str, int] = {}
    crosses: tuple[QuoteSeen, ...] = ()
