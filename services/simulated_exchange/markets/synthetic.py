"""A seeded synthetic market: correlated, with volatility clusters and jumps, endless and reproducible.

With one market factor and step dt (market seconds per row), for row t and asset i of start price P_i:

    h_t   = (1 - p) + a * h_(t-1) * z_(t-1)^2 + (p - a) * h_(t-1)            GARCH(1,1), mean 1, p = 2^(-dt / 10 days)
    m_t   = sqrt(h_t) * z_t + J_t                                            market factor; J: rare common jumps
    r_it  = daily_i * sqrt(dt / 1 day) * (c * m_t + sqrt(1 - c^2) * (sqrt(h_t) * e_it + K_it))
    x_it  = x_i(t-1) * 2^(-dt / 3 years) + r_it                              price = P_i * exp(x_it), |x| <= ln 20

z, e are standard normal, c = sqrt(0.6) (pairwise correlation 0.6). The pull of x to 0 and its bound keep an endless run
within the price range that tick size and lot step were made for. (Bollerslev 1986 for GARCH; Merton 1976 for jumps.)

Rows are made in blocks, each from its own generator (seed, block number) and the state at the block's start, so any row
can be had again from a checkpoint without making all rows before it.
"""

from collections import OrderedDict
from collections.abc import MutableMapping
from dataclasses import dataclass
from decimal import Decimal
from math import exp, floor, log, log10, sqrt

import numpy as np
import numpy.typing as npt

from services.simulated_exchange.markets.source import PriceRange

BLOCK_ROWS = 256
FIRST_TIME_MS = 1_704_067_200_000  # 2024-01-01T00:00:00Z
BOUND = 20.0
CORRELATION = 0.6
COMMON_JUMPS_PER_DAY = 0.02
OWN_JUMPS_PER_DAY = 0.03
JUMP_SIZE = 2.5  # daily standard deviations
_CACHED_BLOCKS = 64
_DAY_S = 86_400.0
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SyntheticAsset:
    """An asset's code, start price in USDT and daily volatility as a fraction."""

    code: str
    start: float
    daily_volatility: float


DEFAULT_ASSETS = (
    SyntheticAsset("BTC", 42_000.0, 0.028),
    SyntheticAsset("ETH", 2_300.0, 0.036),
    SyntheticAsset("SOL", 100.0, 0.052),
    SyntheticAsset("ONE", 0.0155, 0.058),
    SyntheticAsset("BNB", 310.0, 0.032),
    SyntheticAsset("XRP", 0.62, 0.042),
    SyntheticAsset("ADA", 0.59, 0.046),
    SyntheticAsset("DOGE", 0.09, 0.055),
    SyntheticAsset("AVAX", 38.0, 0.056),
    SyntheticAsset("LINK", 15.0, 0.048),
    SyntheticAsset("LTC", 73.0, 0.040),
    SyntheticAsset("DOT", 8.2, 0.047),
)


class SyntheticMarket:
    """Endless rows for ``assets``, ``row_step_s`` market seconds apart, from 2024-01-01.

    ``checkpoints`` keeps the state at the start of each block (text by block number); give it a durable mapping and a
    restart at any row costs one block.
    """

    def __init__(
        self,
        seed: int,
        row_step_s: int,
        checkpoints: MutableMapping[int, str],
        assets: tuple[SyntheticAsset, ...] = DEFAULT_ASSETS,
    ) -> None:
        self.name = f"synthetic (seed {seed}, {row_step_s} s per row)"
        codes = ",".join(f"{asset.code}:{asset.start}:{asset.daily_volatility}" for asset in assets)
        self.fingerprint = f"synthetic-1:{seed}:{row_step_s}:{codes}"
        self.assets = tuple(asset.code for asset in assets)
        self.rows_total: int | None = None
        self._seed = seed
        self._step_ms = row_step_s * 1000
        self._checkpoints = checkpoints
        self._start = np.array([asset.start for asset in assets])
        self._step = _Step(row_step_s, np.array([asset.daily_volatility for asset in assets]))
        # Seven significant digits at the start price: finer than any tick size, coarse enough for exact short text.
        self._decimals = [6 - floor(log10(asset.start)) for asset in assets]
        self._blocks: OrderedDict[int, _Floats] = OrderedDict()

    def time_ms(self, row: int) -> int:
        """Market time of a row."""
        return FIRST_TIME_MS + row * self._step_ms

    def price(self, row: int, column: int) -> Decimal | None:
        """Price of ``assets[column]`` in a row; a synthetic market has no gaps."""
        number, offset = divmod(row, BLOCK_ROWS)
        price = self._block(number)[offset, column]
        return Decimal(f"{price:.{max(0, self._decimals[column])}f}")

    def row_at(self, time_ms: int) -> int:
        """The last row at or before a time; -1 before the first."""
        return max(-1, (time_ms - FIRST_TIME_MS) // self._step_ms)

    def ranges(self) -> dict[str, PriceRange]:
        """The bounds that prices never leave."""
        return {
            code: PriceRange(Decimal(f"{start / BOUND:.6g}"), Decimal(f"{start * BOUND:.6g}"))
            for code, start in zip(self.assets, self._start.tolist(), strict=True)
        }

    def _block(self, number: int) -> _Floats:
        block = self._blocks.get(number)
        if block is None:
            block = self._make(number)
            self._blocks[number] = block
            if len(self._blocks) > _CACHED_BLOCKS:
                self._blocks.popitem(last=False)
        return block

    def _make(self, number: int) -> _Floats:
        first = number
        while first > 0 and first not in self._checkpoints:
            first -= 1
        state = _State.from_text(self._checkpoints[first]) if first > 0 else _State(1.0, np.zeros(len(self.assets)))
        for block in range(first, number + 1):
            if block and block not in self._checkpoints:
                self._checkpoints[block] = state.to_text()
            logs, state = self._step.block(np.random.default_rng([self._seed, block]), state)
        prices: _Floats = self._start * np.exp(logs)
        if number == 0:
            prices[0] = self._start  # the first row stands at the start prices
        return prices


@dataclass(frozen=True, slots=True)
class _State:
    """Factor variance and log distance of every asset from its start price, before the next row."""

    variance: float
    logs: _Floats

    def to_text(self) -> str:
        return " ".join(value.hex() for value in [self.variance, *self.logs.tolist()])

    @classmethod
    def from_text(cls, text: str) -> "_State":
        variance, *logs = (float.fromhex(part) for part in text.split())
        return cls(variance, np.array(logs))


class _Step:
    """The constants of the formula for one row step."""

    def __init__(self, row_step_s: int, daily: _Floats) -> None:
        days = row_step_s / _DAY_S
        self._scale = daily * sqrt(days)
        self._persistence = exp(-log(2.0) * days / 10.0)
        # At any step p^2 + 2 a^2 < 1, so the variance of h is finite: 0.65^2 / (1 - 0.65^2) for small steps.
        self._shock = 0.65 * sqrt(1.0 - self._persistence)
        self._pull = exp(-log(2.0) * days / (3.0 * 365.0))
        self._jump_scale = JUMP_SIZE / sqrt(days)
        self._common = min(1.0, COMMON_JUMPS_PER_DAY * days)
        self._own = min(1.0, OWN_JUMPS_PER_DAY * days)

    def block(self, random: np.random.Generator, state: _State) -> tuple[_Floats, _State]:
        """Log distances of one block (rows x assets) and the state after it."""
        shape = (BLOCK_ROWS, len(self._scale))
        market_noise = random.standard_normal(BLOCK_ROWS)
        own_noise = random.standard_normal(shape)
        common_jumps = (random.random(BLOCK_ROWS) < self._common) * random.standard_normal(BLOCK_ROWS)
        own_jumps = (random.random(shape) < self._own) * random.standard_normal(shape)
        volatility = np.empty(BLOCK_ROWS)
        variance = state.variance
        shocks = np.square(market_noise).tolist()
        for row in range(BLOCK_ROWS):
            volatility[row] = sqrt(variance)
            memory = (self._persistence - self._shock) * variance
            variance = (1.0 - self._persistence) + self._shock * variance * shocks[row] + memory
        market = volatility * market_noise + self._jump_scale * common_jumps
        own = volatility[:, None] * own_noise + self._jump_scale * own_jumps
        returns = self._scale * (sqrt(CORRELATION) * market[:, None] + sqrt(1.0 - CORRELATION) * own)
        logs = np.empty(shape)
        current, bound = state.logs, log(BOUND)
        for row in range(BLOCK_ROWS):
            current = np.clip(current * self._pull + returns[row], -bound, bound)
            logs[row] = current
        return logs, _State(variance, current)
