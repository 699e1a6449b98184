"""Certificates of drift and value for many strategies at once: the formulas of ``certificates``, vectorised.

They are for the strategies about which that is all there is to know: see ``plain_cases``.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from shared.core.certificates import ABSOLUTE_MARGIN, OWN_SHARE, RELATIVE_MARGIN
from shared.core.plain_cases import PlainCase

Floats = npt.NDArray[np.float64]

_FAR = 1e300
"""Stands for an infinite distance where infinities would cancel."""
_TELLS = 0.01
"""Of two floats' difference: a smaller share of them has lost too many digits for the margin of a band."""


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
