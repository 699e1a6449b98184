"""The rules of a strategy as data: when it rebalances, where to, what it may cost, when it starts and when it ends.

With t_i the target of asset i in percent, its band is t_i - d_i to t_i + d_i, the width d_i in percentage points:

    absolute    d_i = points                        BigONE's rule
    relative    d_i = t_i x factor / 100
    hybrid      d_i = max(t_i x factor / 100, points)
    per asset   d_i as given, whatever the others are

An asset that is held without being a target (surplus cash, a stranger) has t = 0 and the narrowest of the widths that
the first three give.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

from shared.core.drift import never_rounded
from shared.core.money import ZERO, plain

DEFAULT_COOLDOWN = timedelta(minutes=5)

_HUNDREDTH = Decimal("0.01")
_HALF = Decimal("0.5")


class Destination(StrEnum):
    """Where a rebalance that a threshold asked for brings an asset outside its band."""

    TARGET = "target"
    BAND_EDGE = "band_edge"
    HALFWAY = "halfway"


class ExitAction(StrEnum):
    """What a take-profit or stop-loss does: sell all and return the money, return the coins as they are, or pause."""

    SELL = "sell"
    KEEP = "keep"
    PAUSE = "pause"


class When(StrEnum):
    """How interval and threshold go together."""

    ANY = "any"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Band:
    """A threshold: ``points`` and ``per_asset`` in percentage points, ``factor_pct`` in percent of the target."""

    points: Decimal = ZERO
    factor_pct: Decimal = ZERO
    per_asset: Mapping[str, Decimal] = field(default_factory=dict)

    def width(self, asset: str, targets: Mapping[str, Decimal]) -> Decimal:
        """d of one asset in percentage points, exact; see the module."""
        if asset in self.per_asset:
            return self.per_asset[asset]
        if not self.factor_pct:
            return self.points
        target = targets.get(asset)
        return self._relative_width(min(targets.values()) if target is None else target)

    @never_rounded
    def _relative_width(self, target: Decimal) -> Decimal:
        return max(target * self.factor_pct * _HUNDREDTH, self.points)

    def text(self) -> str:
        """The threshold in words; an absolute one is just its points."""
        relative = f"{plain(self.factor_pct)} % of target"
        if not self.factor_pct:
            words = plain(self.points)
        elif not self.points:
            words = relative
        else:
            words = f"max({relative}, {plain(self.points)})"
        exceptions = [f"{asset} {plain(points)}" for asset, points in self.per_asset.items()]
        return ", ".join([words, *exceptions])


@dataclass(frozen=True, slots=True)
class RebalanceRule:
    """When and where to rebalance. Without threshold and interval it holds: it never rebalances by itself.

    ``min_drift``: percentage points that some asset must be off its target for a run of the interval.
    ``cooldown``: market time after a rebalance before the next. ``cost_guard``: the benefit must be at least so many
    times the cost; None = whatever it costs.
    """

    threshold: Band | None = None
    interval: timedelta | None = None
    when: When = When.ANY
    min_drift: Decimal | None = None
    destination: Destination = Destination.TARGET
    cooldown: timedelta = DEFAULT_COOLDOWN
    cost_guard: Decimal | None = None

    @property
    def holds(self) -> bool:
        """Whether it never rebalances by itself."""
        return self.threshold is None and self.interval is None


@dataclass(frozen=True, slots=True)
class ExitLevel:
    """Take-profit (``percent`` > 0) or stop-loss (< 0) on (V - C) / C, in percent of the money put in.

    ``confirm``: consecutive new quotes it must hold; None = as the evaluator is set. ``trailing``: a take-profit exits
    only when the profit has fallen so many points from its peak. ``from_peak``: a stop-loss counts from the peak.
    """

    percent: Decimal
    confirm: int | None = None
    trailing: Decimal | None = None
    from_peak: bool = False
    action: ExitAction = ExitAction.SELL

    @property
    def trails(self) -> bool:
        """Whether it needs to know the peak."""
        return self.from_peak or self.trailing is not None


@dataclass(frozen=True, slots=True)
class StartPrice:
    """The first purchase waits until the bid of ``asset`` is at or below (or above) ``price``, inclusive."""

    asset: str
    price: Decimal
    above: bool

    def is_reached(self, bid: Decimal) -> bool:
        """Whether the purchase may be made at this bid."""
        return bid >= self.price if self.above else bid <= self.price


@never_rounded
def leg_widths(rule: RebalanceRule, targets: Mapping[str, Decimal]) -> dict[str, Decimal] | None:
    """How many percentage points each asset moves at least when its own threshold has just fired; None: no threshold.

    To the target: its width; half-way: half of it; to the edge of the band: 0, however little is beyond it.
    """
    if rule.threshold is None:
        return None
    share = {Destination.TARGET: Decimal(1), Destination.HALFWAY: _HALF, Destination.BAND_EDGE: ZERO}[rule.destination]
    return {asset: rule.threshold.width(asset, targets) * share for asset in targets}
