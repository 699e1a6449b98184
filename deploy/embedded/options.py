"""What may be chosen about a stack on one machine."""

import math
from dataclasses import dataclass, field
from pathlib import Path

from shared.core.errors import Problem, Refused

DEFAULT_DATA_DIR = Path(".trimtab") / "data"
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
MAX_EVALUATORS = 32
# Of the first six thousand seeds one whose first minutes look like an ordinary market: the demo's examples rebalance
# soon, and nothing halves or doubles.
DEFAULT_SEED = 2461


@dataclass(frozen=True, slots=True)
class ExchangeOptions:
    """The paper venue's market; None = the exchange's own default.

    ``prices_file`` is a table of prices (None: a synthetic market from ``seed``); one row covers ``row_step_s``
    seconds of market time and ``rows_per_second`` rows pass per second of wall-clock time. ``cross_pairs``: pairs
    listed beside those against USDT, as in "ETH/BTC,SOL/BTC".
    """

    prices_file: Path | None = None
    seed: int | None = None
    row_step_s: float | None = None
    rows_per_second: float | None = None
    start_paused: bool = False
    cross_pairs: str | None = None


@dataclass(frozen=True, slots=True)
class StackOptions:
    """One stack. ``keep`` False: begin with an empty data folder and remove it at the end.

    ``gateway_port``: the one to try first.
    ``lockstep``: the market is moved by hand, a row at a time, so no time of the wall clock may decide anything.

    Raises ``Refused`` naming every field that is out of range.
    """

    data_dir: Path = DEFAULT_DATA_DIR
    evaluators: int = 1
    exchange: ExchangeOptions = field(default_factory=ExchangeOptions)
    gateway_port: int = 8080
    keep: bool = True
    log_level: str = "INFO"
    lockstep: bool = False

    def __post_init__(self) -> None:
        problems = [
            *_in_range("evaluators", self.evaluators, 1, MAX_EVALUATORS),
            *_in_range("gateway_port", self.gateway_port, 1, 65_535),
            *_positive("rows_per_second", self.exchange.rows_per_second),
            *_positive("row_step_s", self.exchange.row_step_s),
        ]
        if self.exchange.seed is not None:
            problems += _in_range("seed", self.exchange.seed, 0, 2**63 - 1)
        if self.log_level not in LOG_LEVELS:
            problems.append(Problem("log_level", self.log_level, ", ".join(LOG_LEVELS), "unknown level"))
        prices = self.exchange.prices_file
        if prices is not None and not prices.is_file():
            problems.append(Problem("prices", str(prices), "a .csv, .csv.gz or .parquet file", "no such file"))
        if problems:
            raise Refused(problems)


def _in_range(name: str, value: int, least: int, most: int) -> list[Problem]:
    if least <= value <= most:
        return []
    return [Problem(name, str(value), f"{least} to {most}", "out of range")]


def _positive(name: str, value: float | None) -> list[Problem]:
    if value is None or (math.isfinite(value) and value > 0):
        return []
    return [Problem(name, str(value), "a number above 0", "out of range")]
