"""How long an evaluator waits, and by which clocks."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait, by the steady clock, before a plan is repeated (``repeat_s``), follows one that fell short
    (``spacing_s``), or an exit or a cycle is asked for again (``ask_repeat_s``)."""

    repeat_s: float = 10.0
    spacing_s: float = 1.0
    ask_repeat_s: float = 6.0
    confirming_quotes: int = 3


@dataclass(frozen=True, slots=True)
class Clocks:
    """Nanoseconds: ``wall_ns`` since 1970 (what frames and plans carry), ``steady_ns`` never set (how long ago)."""

    wall_ns: Callable[[], int] = time.time_ns
    steady_ns: Callable[[], int] = time.monotonic_ns
