"""Certificates of drift and value for many strategies at once: the formulas of ``certificates``, vectorised.

``plain_case`` tells the strategies about which that is all there is to know: ``decide`` says nothing but a hold
(``within_band``, ``interval_not_due``, ``hold_mode``) while market time is before ``until`` and every price inside the
box of ``plain_boxes``, where that is wider than 0. Not plain: whatever is under way, asked for or due, and where floats
do not suffice.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from math import inf

import numpy as np
import numpy.typing as npt

from shared.core.auto_invest import AutoInvestStatus
from shared.core.certificates import ABSOLUTE_MARGIN, OWN_SHARE, RELATIVE_MARGIN
from shared.core.drift import assets_concerned
from shared.core.exits import bounds_of
from shared.core.investing import allowed_from, value_at_loss
from shared.core.money import ZERO
from shared.core.rules import Band, When
from shared.core.schedule import next_date
from shared.core.situation import Market, Situation
from shared.core.strategy import StrategyStatus
from shared.core.triggers import next_due

Floats = npt.NDArray[np.float64]

_FAR = 1e300
"""Stands for an infinite distance where infinities would cancel."""
_TELLS = 0.01
"""Of two floats' difference: a smaller share of them has lost too many digits for the margin of a band."""
_CANCELS = 0.1
"""Percent: a difference of two floats up to 100 that is smaller has lost too many digits for the margin of a band."""


@dataclass(frozen=True, slots=True)
class PlainCase:
    """One strategy that is watched for its drift, its value and market time alone.

    ``assets``: as ``assets_concerned`` has them. ``bids`` and ``values`` in the quote currency (which has bid 1),
    ``targets_pct`` in percent and ``widths`` in percentage points (the drift that counts, infinite for none), in the
    same order. ``rise`` and ``fall``: values of the whole that count, from below and from above; infinite for none.
    """

    assets: tuple[str, ...]
    bids: list[float]
    values: list[float]
    targets_pct: list[float]
    widths: list[float]
    rise: float
    fall: float
    until: datetime | None


@dataclass(slots=True)
class _Watched:
    """What is watched beside the drift: the nearest value on either side, and the next moment."""

    rise: float = inf
    fall: float = -inf
    until: datetime | None = None

    def no_later(self, moment: datetime) -> None:
        self.until = moment if self.until is None else min(self.until, moment)


def plain_case(situation: Situation, market: Market, bids: dict[str, float]) -> PlainCase | None:
    """The plain case that a strategy is; None when there is more to it, or when floats do not suffice to judge it.

    ``bids``: those of this market as far as they were asked for, 0 for one that is not usable; kept by the caller.
    """
    position, definition = situation.position, situation.strategy.definition
    if position is None or not _is_settled(situation):
        return None
    targets, holdings = definition.targets, position.holdings
    assets = assets_concerned(holdings, targets)
    found, values, targets_pct = [], [], []
    for asset in assets:
        bid = bids.get(asset)
        if bid is None:
            bid = bids[asset] = _usable_bid(asset, market)
        value = float(holdings.get(asset, ZERO)) * bid
        if bid <= 0.0 or value < 0.0:
            return None
        found.append(bid)
        values.append(value)
        targets_pct.append(float(targets.get(asset, ZERO)))
    # With both, no drift counts before a run of the interval is due.
    band = definition.rule.threshold if definition.rule.when is When.ANY else None
    widths = [inf] * len(assets) if band is None else _widths(band, assets, targets_pct, len(targets))
    if not any(values) or any(map(_is_unclear, targets_pct, widths)):
        return None
    watched = _watched(situation, position.contributed, market.now)
    if watched is None or (watched.until is not None and watched.until <= market.now):
        return None
    return PlainCase(assets, found, values, targets_pct, widths, watched.rise, watched.fall, watched.until)


def _is_settled(situation: Situation) -> bool:
    """Whether it is active, and only its own rules are to be asked: see ``decide``."""
    strategy, position, progress = situation.strategy, situation.position, situation.progress
    return (
        strategy.status is StrategyStatus.ACTIVE
        and strategy.active_since is not None
        and not (strategy.requests_open or strategy.request or strategy.money_arriving or strategy.money_leaving)
        and position is not None
        and position.fills_posted == progress.fills_total
        and position.version >= progress.position_required
        and progress.open_plan_id is None
        and not progress.sealed
        and not progress.held
    )


def _usable_bid(asset: str, market: Market) -> float:
    if asset == market.quote:
        return 1.0
    quote = market.quotes.get(asset)
    usable = quote is not None and quote.bid > 0 and quote.ask > 0 and asset not in market.stale
    return float(quote.bid) if quote is not None and usable else 0.0


def _widths(band: Band, assets: Sequence[str], targets_pct: Sequence[float], targets: int) -> list[float]:
    """``Band.width`` of each asset; the first so many of them are targets."""
    points = float(band.points)
    if not band.factor_pct:
        found = [points] * len(assets)
    else:
        factor = float(band.factor_pct) / 100.0
        found = [max(target * factor, points) for target in targets_pct[:targets]]
        found += [min(found)] * (len(assets) - targets)
    for asset, exception in band.per_asset.items():
        found[assets.index(asset)] = float(exception)
    return found


def _is_unclear(target_pct: float, width: float) -> bool:
    """Whether a bound is so near to a weight of 0 or 100 that floats do not tell how far it is."""
    return abs(100.0 - target_pct - width) < _CANCELS or abs(target_pct - width) < _CANCELS


def _watched(situation: Situation, contributed: Decimal, now: datetime) -> _Watched | None:
    """None while the money of a cycle of Auto-Invest is on its way."""
    strategy, watched = situation.strategy, _Watched()
    definition, since = strategy.definition, strategy.active_since
    if definition.rule.interval is not None and since is not None:
        watched.no_later(next_due(situation, definition.rule.interval, since))
    if contributed > 0:
        levels = bounds_of(definition, strategy.peak, contributed)
        watched.rise = min(map(float, levels.ups), default=inf)
        watched.fall = max(map(float, levels.downs), default=-inf)
    plan, state = definition.auto_invest, strategy.auto_invest
    if plan is None or state is None or state.status is not AutoInvestStatus.RUNNING:
        return watched
    if state.pending:
        return None
    if plan.schedule is not None:
        settled = state.since if state.settled_until is None else state.settled_until
        watched.no_later(next_date(plan.schedule, state.since, settled))  # not after now: it is due
    if plan.drawdown is not None:
        allowed = allowed_from(plan.drawdown, state)
        if allowed is not None and now < allowed:
            watched.no_later(allowed)
        elif contributed > 0:
            watched.fall = max(watched.fall, float(value_at_loss(contributed, plan.drawdown.loss_pct)))
    return watched


def plain_boxes(cases: Sequence[PlainCase], cash: int = -1) -> tuple[Floats, Floats]:
    """How far each asset may rise and fall, for cases of the same number of assets: ``certificate_after`` of each.

    ``cash``: the column of the quote currency, -1 for none. Shape (cases, assets), margin included. A 0 among those of
    a strategy: it must be looked at. Infinite: no price of it matters.
    """
    values = np.array([case.values for case in cases])
    ups, downs = threshold_boxes(
        values,
        np.array([case.targets_pct for case in cases]),
        np.array([case.widths for case in cases]),
    )
    rises, falls = np.array([case.rise for case in cases]), np.array([case.fall for case in cases])
    rise, fall = _value_bands(values, cash, rises, falls)
    return np.minimum(ups, rise[:, None]), np.minimum(downs, fall[:, None])


def _value_bands(values: Floats, cash: int, rises: Floats, falls: Floats) -> tuple[Floats, Floats]:
    """``value_bands`` for many strategies at once, margin included: before the whole has risen or fallen so far.

    Shape (strategies,). 0 where a value is reached, and where one is so near to the cash that floats do not tell.
    """
    held = values[:, cash] if cash >= 0 else np.zeros(len(values))
    at_risk = np.delete(values, cash, axis=1).sum(axis=1) if cash >= 0 else values.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        up = np.log(rises - held) - np.log(at_risk)
        down = np.log(at_risk) - np.log(falls - held)
    up = np.where(rises - held > _TELLS * rises, up, 0.0)
    up[np.isinf(rises)] = np.inf
    down = np.where(falls - held > _TELLS * falls, down, 0.0)
    down[held - falls > _TELLS * held] = np.inf  # the cash alone is worth more
    return _with_margin(up), _with_margin(down)


def threshold_boxes(values: Floats, targets_pct: Floats, widths: Floats) -> tuple[Floats, Floats]:
    """``drift_box`` for many strategies at once, margin included.

    ``values`` and ``targets_pct``: shape (strategies, assets), 0 in unused columns; ``widths``: of that shape, or with
    one column for all, in percentage points, infinite where no drift counts. Returns how far each may rise and fall.
    """
    rest = np.zeros_like(values)
    for column in range(values.shape[1]):
        rest[:, column] = np.delete(values, column, axis=1).sum(axis=1)
    high, low = targets_pct + widths, targets_pct - widths
    used = (values > 0.0) | (targets_pct > 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        up = np.log(high * rest) - np.log(values * (100.0 - high))
        down = np.log(values * (100.0 - low)) - np.log(rest * low)
    up = np.where(used & (high < 100.0) & (values > 0.0), np.maximum(up, 0.0), np.inf)
    down = np.where(used & (low > 0.0) & (rest > 0.0), np.maximum(down, 0.0), np.inf)
    down[used & (low == 0.0) & (values == 0.0)] = 0.0
    up[used & (high <= 100.0) & (rest == 0.0) & (values > 0.0)] = 0.0
    falls = (down.min(axis=1) < up.min(axis=1))[:, None]
    near, far = _leaning_boxes(np.where(falls, down, up), np.where(falls, up, down))
    return np.where(falls, far, near), np.where(falls, near, far)


def _leaning_boxes(towards: Floats, away: Floats) -> tuple[Floats, Floats]:
    """``_leaning`` for many: rows are strategies, the nearest distance of each is in ``towards``; with margin."""
    rows, nearest = np.arange(len(towards)), towards.argmin(axis=1)
    distance = np.minimum(towards[rows, nearest], _FAR)
    own = OWN_SHARE * distance
    against = distance - own
    room = np.minimum(towards / 2, np.minimum(towards, away) - against[:, None])
    room[rows, nearest] = away[rows, nearest] / 2
    wide = room.min(axis=1)
    near, far = (
        np.repeat(wide[:, None], towards.shape[1], axis=1),
        np.repeat(against[:, None], towards.shape[1], axis=1),
    )
    near[rows, nearest], far[rows, nearest] = own, wide
    even = wide < distance / 2
    near[even] = far[even] = (distance / 2)[even, None]
    near, far = _with_margin(near), _with_margin(far)
    near[distance == _FAR] = far[distance == _FAR] = np.inf
    return near, far


def _with_margin(bands: Floats) -> Floats:
    return np.maximum(bands * (1.0 - RELATIVE_MARGIN) - ABSOLUTE_MARGIN, 0.0)
