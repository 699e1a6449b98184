"""Certificates of thresholds in points for many strategies at once: the formulas of ``certificates``, vectorised.

``plain_case`` tells the strategies about which that is all there is to know: nothing but the threshold can make
``decide`` say anything but ``within_band``, and that not while the box of ``plain_boxes`` is wider than 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shared.core.certificates import ABSOLUTE_MARGIN, OWN_SHARE, RELATIVE_MARGIN
from shared.core.drift import assets_concerned
from shared.core.money import ZERO
from shared.core.situation import Market, Situation
from shared.core.strategy import StrategyStatus

Floats = npt.NDArray[np.float64]

_FAR = 1e300
"""Stands for an infinite distance where infinities would cancel."""
_CANCELS = 0.1
"""Percent: a difference of two floats up to 100 that is smaller has lost too many digits for the margin of a band."""


@dataclass(frozen=True, slots=True)
class PlainCase:
    """One strategy that its threshold alone is to be watched for, ``points`` for every asset.

    ``assets``: as ``assets_concerned`` has them. ``bids`` and ``values`` in the quote currency (which has bid 1),
    ``targets_pct`` in percent, in the same order.
    """

    assets: tuple[str, ...]
    bids: list[float]
    values: list[float]
    targets_pct: list[float]
    points: float


def plain_case(situation: Situation, market: Market, bids: dict[str, float]) -> PlainCase | None:
    """The plain case that a strategy is; None when there is more to it, or when floats do not suffice to judge it.

    ``bids``: those of this market as far as they were asked for, 0 for one that is not usable; kept by the caller.
    """
    position, definition = situation.position, situation.strategy.definition
    band = definition.rule.threshold
    if position is None or band is None or not _is_plain(situation):
        return None
    targets, holdings = definition.targets, position.holdings
    points = float(band.points)
    assets = assets_concerned(holdings, targets)
    found, values, targets_pct = [], [], []
    for asset in assets:
        bid = bids.get(asset)
        if bid is None:
            bid = bids[asset] = _usable_bid(asset, market)
        value, target = float(holdings.get(asset, ZERO)) * bid, float(targets.get(asset, ZERO))
        unclear = abs(100.0 - target - points) < _CANCELS or abs(target - points) < _CANCELS
        if bid <= 0.0 or value < 0.0 or unclear:
            return None
        found.append(bid)
        values.append(value)
        targets_pct.append(target)
    return PlainCase(assets, found, values, targets_pct, points) if any(values) else None


def _is_plain(situation: Situation) -> bool:
    """Whether only its rebalance rule is to be asked, and that is a threshold in points: see ``decide``."""
    strategy, position, progress = situation.strategy, situation.position, situation.progress
    definition, rule = strategy.definition, strategy.definition.rule
    return (
        strategy.status is StrategyStatus.ACTIVE
        and strategy.active_since is not None
        and not (strategy.requests_open or strategy.request or strategy.money_arriving or strategy.money_leaving)
        and strategy.auto_invest is None
        and definition.auto_invest is None
        and definition.take_profit is None
        and definition.stop_loss is None
        and rule.threshold is not None
        and not rule.threshold.factor_pct
        and not rule.threshold.per_asset
        and rule.interval is None
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


def plain_boxes(cases: Sequence[PlainCase]) -> tuple[Floats, Floats]:
    """How far each asset may rise and fall, for cases of the same number of assets: ``certificate_after`` of each.

    Shape (cases, assets), margin included. A 0 among those of a strategy: it must be looked at.
    """
    return threshold_boxes(
        np.array([case.values for case in cases]),
        np.array([case.targets_pct for case in cases]),
        np.array([case.points for case in cases]),
    )


def threshold_boxes(values: Floats, targets_pct: Floats, points: Floats) -> tuple[Floats, Floats]:
    """``drift_box`` for many strategies at once, margin included.

    ``values`` and ``targets_pct``: shape (strategies, assets), 0 in unused columns; ``points``: shape (strategies,).
    Returns how far each may rise and fall, both of that shape.
    """
    rest = np.zeros_like(values)
    for column in range(values.shape[1]):
        rest[:, column] = np.delete(values, column, axis=1).sum(axis=1)
    high, low = targets_pct + points[:, None], targets_pct - points[:, None]
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
    for bands in (near, far):
        bands[:] = np.maximum(bands * (1.0 - RELATIVE_MARGIN) - ABSOLUTE_MARGIN, 0.0)
        bands[distance == _FAR] = np.inf
    return near, far
