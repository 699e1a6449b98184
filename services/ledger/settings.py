"""Settings of the ledger, from the environment."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.messaging.runtime import ServiceSettings


class Settings(ServiceSettings):
    """``TRIMTAB_*``; what every service has (NATS, health port, ...) comes from ``ServiceSettings``."""

    model_config = SettingsConfigDict(env_prefix="TRIMTAB_")

    postgres_dsn: str = Field(repr=False, description="URL of the database that holds the schema `ledger`.")
    ledger_group_size: int = Field(
        default=256, ge=1, le=1024, description="Most requests that are posted in one database transaction."
    )
    ledger_fills_in_flight: int = Field(
        default=64, ge=1, le=256, description="Fills handled at once; more of them share a commit."
    )
    ledger_signing_key_file: Path | None = Field(
        default=None,
        description="File of the key that signs tree heads (Ed25519), made when missing. None: no heads are signed.",
    )
    ledger_head_interval_s: float = Field(
        default=60.0, gt=0, le=3600, description="Pause between two tree heads, as long as something is posted."
    )
    ledger_mark_interval_s: int = Field(
        default=3600,
        ge=60,
        le=86_400,
        description="Market time between two regular valuations of every strategy, in seconds.",
    )
