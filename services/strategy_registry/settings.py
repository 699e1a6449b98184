"""Settings of the registry, from the environment."""

from decimal import Decimal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.core.strategy import MAX_ASSETS, MAX_ASSETS_EVER, MIN_ASSETS
from shared.messaging.runtime import ServiceSettings


class Settings(ServiceSettings):
    """``TRIMTAB_*``; what every service has (NATS, health port, ...) comes from ``ServiceSettings``."""

    model_config = SettingsConfigDict(env_prefix="TRIMTAB_", hide_input_in_errors=True)

    postgres_dsn: str = Field(repr=False, description="URL of the database that holds the schema `registry`.")
    venues: tuple[str, ...] = Field(
        default=("paper",), description='Names of the venues a strategy may use, as a JSON list: ["paper"].'
    )
    preview_valid_s: float = Field(
        default=900.0, gt=0, le=86_400, description="Seconds a preview may be confirmed, wall clock."
    )
    prices_max_age_s: float = Field(
        default=15.0, gt=0, description="Oldest price snapshot, in seconds of wall clock, that a preview may use."
    )
    slippage_bps: Decimal = Field(
        default=Decimal(50),
        ge=0,
        lt=1000,
        description="Slippage bound, in basis points, of foreseen orders.",
    )
    max_assets: int = Field(
        default=MAX_ASSETS,
        ge=MIN_ASSETS,
        le=MAX_ASSETS_EVER,
        description="Most targets a new strategy may have; strategies that exist keep theirs.",
    )
