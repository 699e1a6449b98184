"""Settings of an evaluator, from the environment."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.core.decisions import CONFIRMING_QUOTES
from shared.messaging.runtime import ServiceSettings


class Settings(ServiceSettings):
    """``TRIMTAB_*``; what every service has (NATS, health port, ...) comes from ``ServiceSettings``."""

    model_config = SettingsConfigDict(env_prefix="TRIMTAB_")

    confirming_quotes: int = Field(
        default=CONFIRMING_QUOTES, ge=1, description="Consecutive new quotes that take-profit and stop-loss must hold."
    )
    plan_expiry_s: float = Field(
        default=30.0, gt=0, description="Seconds of wall clock after which a plan must not be traded on any more."
    )
    plan_repeat_s: float = Field(
        default=10.0, gt=0, description="Seconds of wall clock before a plan that nobody answered is published again."
    )
    plan_spacing_s: float = Field(
        default=1.0, gt=0, description="Seconds of wall clock between plans of a strategy whose last one fell short."
    )
    decisions_interval_s: float = Field(
        default=60.0,
        gt=0,
        description="Longest time, in seconds, for which equal decisions not to act are only counted.",
    )
    decisions_all: bool = Field(
        default=False,
        description="Record every decision by itself, and one per strategy for each change of prices; for replays.",
    )
    prices_silence_s: float = Field(
        default=3.0,
        gt=0,
        description="Seconds without a frame or heartbeat after which a venue's prices are all stale.",
    )
    prices_lag_s: float = Field(
        default=10.0, gt=0, description="Age, in seconds, at which a frame is too old to decide on (a backlog)."
    )
    heartbeat_s: float = Field(default=1.0, gt=0, description="Seconds between this evaluator's heartbeats.")
    member_gone_s: float = Field(
        default=3.0, gt=0, description="Seconds of silence after which another evaluator's share is divided anew."
    )
