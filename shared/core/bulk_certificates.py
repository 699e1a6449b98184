"""Certificates of thresholds in points for many strategies at once: the formulas of ``certificates``, vectorised."""

import numpy as np
import numpy.typing as npt

from shared.core.certificates import ABSOLUTE_MARGIN, OWN_SHARE, RELATIVE_MARGIN

Floats = npt.NDArray[np.float64]

_FAR = 1e300
"""Stands for an infinite distance where infinities would cancel."""


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
