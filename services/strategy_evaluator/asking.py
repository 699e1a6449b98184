"""What an evaluator asks the registry for: to stop or pause a strategy, to decide a cycle, to record a peak.

An exit or a cycle is asked for again and again until the strategy's state says that it was heard, or until it is no
longer wanted. Command ids are functions of what is asked, so asking is idempotent, whoever asks.
"""

import asyncio
from dataclasses import dataclass

from shared.core.decisions import CycleDue, ExitRequested
from shared.core.identity import derived_id
from shared.core.money import plain
from shared.core.situation import Peak, StrategyView

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Ask:
    """An exit, a pause or a cycle to ask the registry for."""

    strategy_id: str
    command_id: str
    decision: ExitRequested | CycleDue


@dataclass(frozen=True, slots=True)
class PeakToRecord:
    """A new peak to tell the registry."""

    strategy_id: str
    command_id: str
    peak: Peak


class Asking:
    """``asks`` and ``peaks`` are what is to be sent. Times: nanoseconds of a steady clock; slots: those of portfolios.

    For each slot only the newest command is remembered: a strategy wants one thing at a time.
    """

    def __init__(self, repeat_s: float) -> None:
        self.asks: asyncio.Queue[Ask] = asyncio.Queue()
        self.peaks: asyncio.Queue[PeakToRecord] = asyncio.Queue()
        self._repeat_ns = int(repeat_s * _NS)
        self._asked: dict[int, tuple[str, int]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether all that was asked for is being sent."""
        return self.asks.empty() and self.peaks.empty()

    def is_new(self, slot: int, command_id: str) -> bool:
        """Whether this is not the command that was asked for last."""
        return self._asked.get(slot, ("", 0))[0] != command_id

    def ask(self, slot: int, ask: Ask, now_ns: int) -> int | None:
        """Ask, unless that was just done; when to look again, None when a look is on its way already."""
        command_id, again_ns = self._asked.get(slot, ("", 0))
        if command_id == ask.command_id and now_ns < again_ns:
            return None
        again_ns = now_ns + self._repeat_ns
        self._asked[slot] = (ask.command_id, again_ns)
        self.asks.put_nowait(ask)
        return again_ns

    def failed(self, slot: int, ask: Ask, again_ns: int) -> None:
        """It could not be asked for: from then on it may be asked for again."""
        self._asked[slot] = (ask.command_id, again_ns)

    def forget(self, slot: int) -> None:
        """The strategy has ended or is looked after elsewhere."""
        self._asked.pop(slot, None)

    def tell_peak(self, strategy_id: str, peak: Peak) -> None:
        """Have a peak recorded."""
        command_id = derived_id("pk", strategy_id, plain(peak.profit_pct), plain(peak.contributed))
        self.peaks.put_nowait(PeakToRecord(strategy_id, command_id, peak))


def ask_for(strategy: StrategyView, decision: ExitRequested | CycleDue) -> Ask:
    """The command for a decision. The version is in its id: what is asked for in another state is another thing."""
    if isinstance(decision, CycleDue):
        command_id = derived_id("ai", strategy.strategy_id, strategy.version, decision.cycle)
    else:
        command_id = derived_id("st", strategy.strategy_id, strategy.version, decision.reason.value)
    return Ask(strategy.strategy_id, command_id, decision)
