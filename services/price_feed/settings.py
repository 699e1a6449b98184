"""Settings of the feed, from the environment."""

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from shared.messaging.runtime import ServiceSettings


class Settings(ServiceSettings):
    """``TRIMTAB_*``; what every service has (NATS, health port, ...) comes from ``ServiceSettings``."""

    model_config = SettingsConfigDict(env_prefix="TRIMTAB_")

    venue_name: str = Field(
        pattern=r"^[a-z0-9_-]{1,32}$", description="Name of the venue, as strategies and subjects use it: paper."
    )
    venue_dialect: str = Field(
        default="binance", description="How the venue speaks: a row of adapters/table.py, or an exchange of ccxt."
    )
    venue_ws_url: str = Field(
        default="",
        description="Root of the venue's streams (wss://stream.binance.com:9443; KuCoin and polled venues: of the REST "
        "API); empty: the dialect's live venue.",
    )
    prices_stale_after_s: float = Field(
        default=3.0,
        gt=0,
        description="Seconds that a connection, a pair that is usually busy, or the venue's clock may stand still "
        "before prices are named stale; a quiet pair on a living connection is not.",
    )
    prices_oldest_s: float = Field(
        default=900.0,
        gt=0,
        description="Seconds after which a price that was not repeated is stale, however alive its connection.",
    )
    prices_silence_s: float = Field(
        default=10.0, gt=0, description="Seconds without any message after which a connection is opened anew."
    )
    prices_roll_after_s: float = Field(
        default=0.0, ge=0, description="Age, in seconds, at which a second connection takes over; 0: the dialect's own."
    )
    prices_jump_factor: float = Field(
        default=5.0, gt=1, description="A quote this many times above or below the last good one must be confirmed."
    )
    prices_jump_confirmations: int = Field(
        default=3, ge=1, description="Quotes in a row, near each other, that confirm a new level."
    )
    prices_flush_interval_s: float = Field(
        default=0.002,
        gt=0,
        le=1,
        description="Shortest time between two frames, in seconds.",
    )

    prices_whole_moments: bool = Field(
        default=False,
        description="Pass prices on at the venue's pulse only (Binance: !miniTicker@arr), so that a frame holds all "
        "that changed at one moment; for replays, over one connection.",
    )

    @field_validator("venue_ws_url")
    @classmethod
    def _is_websocket_url(cls, url: str) -> str:
        if url and not url.startswith(("ws://", "wss://", "http://", "https://")):
            raise ValueError("must begin with ws://, wss://, http:// or https://, or be empty")
        return url
