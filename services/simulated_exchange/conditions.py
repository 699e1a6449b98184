"""Conditions an operator puts the whole venue under. Kept with its books: they outlive a restart."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from services.simulated_exchange.identity import IdentityName

MAX_LAG_MS = 600_000
MAX_SKEW_MS = 86_400_000
FeeFrom = Literal["received", "base", "quote"]


class Conditions(BaseModel):
    """All of them at rest by default. Lags and skew are wall-clock milliseconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    identity: IdentityName = Field(default=IdentityName.BINANCE, strict=False)
    """Rule set for client order ids."""
    read_lag_ms: int = Field(default=0, ge=0, le=MAX_LAG_MS)
    """Own orders and trades are shown as they were this long ago."""
    balance_lag_ms: int = Field(default=0, ge=0, le=MAX_LAG_MS)
    """Balances are shown as they were this long ago."""
    clock_skew_ms: int = Field(default=0, ge=-MAX_SKEW_MS, le=MAX_SKEW_MS)
    """Added to the clock that signatures are checked against and that is told."""
    maintenance: bool = False
    """Every request is refused with 503."""
    halted: frozenset[str] = Field(default=frozenset(), strict=False)
    """Pairs that stand still: no price, no fill, no new order; cancelling works."""
    delisted: frozenset[str] = Field(default=frozenset(), strict=False)
    """Pairs that are gone: resting orders expire, past ones may still be asked for."""
    fee_from: FeeFrom = "received"
    """What commission is taken from. Base and quote: on top of what is spent, and from what is received when that is
    not there."""
