"""How far an evaluator is: compact JSON on core NATS, sent whenever it changes and at least once a second.

``{"m": member, "ms": [members], "v": {venue: [market time ms, assets quoted]}, "u": {what: how many}, "a": acted,
"s": unsaid, "l": leaves}``. Only the newest counts, so a lost one is healed by the next.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson


@dataclass(frozen=True, slots=True)
class VenueSeen:
    """The market time up to which a venue's prices have been evaluated, and how many of its assets have a quote."""

    market_time_ms: int
    assets: int


@dataclass(frozen=True, slots=True)
class EvaluatorProgress:
    """One evaluator's word on itself.

    ``members``: the evaluators it knows to be alive, itself included. ``unfinished``: what of its strategies is under
    way (looks that wait, plans and exits not ended, fills not posted), with how many; empty: it would do nothing more
    until something changes. ``acted``: plans and exits decided since its start. ``unsaid``: decisions not stored yet.
    """

    member: str
    members: tuple[str, ...]
    venues: Mapping[str, VenueSeen] = field(default_factory=dict)
    unfinished: Mapping[str, int] = field(default_factory=dict)
    acted: int = 0
    unsaid: int = 0
    leaves: bool = False


def encode_progress(progress: EvaluatorProgress) -> bytes:
    """The bytes on the wire."""
    return orjson.dumps(
        {
            "m": progress.member,
            "ms": progress.members,
            "v": {name: [seen.market_time_ms, seen.assets] for name, seen in progress.venues.items()},
            "u": dict(progress.unfinished),
            "a": progress.acted,
            "s": progress.unsaid,
            "l": progress.leaves,
        }
    )


def decode_progress(data: bytes) -> EvaluatorProgress:
    """The progress in ``data``. Raises ValueError, KeyError or TypeError when it is broken."""
    body = orjson.loads(data)
    return EvaluatorProgress(
        member=body["m"],
        members=tuple(body["ms"]),
        venues={name: VenueSeen(*seen) for name, seen in body["v"].items()},
        unfinished=dict(body["u"]),
        acted=body["a"],
        unsaid=body["s"],
        leaves=body["l"],
    )
