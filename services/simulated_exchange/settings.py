"""Settings of the simulated exchange, from the environment."""

from decimal import Decimal
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from shared.messaging.runtime import ServiceSettings


class Settings(ServiceSettings):
    """``TRIMTAB_EXCHANGE_*``, and what every service has (health port, log level). It needs no NATS."""

    model_config = SettingsConfigDict(env_prefix="TRIMTAB_", frozen=True, extra="ignore", hide_input_in_errors=True)

    exchange_host: str = Field(default="127.0.0.1", description="Address to listen on.")
    exchange_port: int = Field(default=8090, ge=0, le=65535, description="Port of HTTP and websockets; 0: any free.")
    exchange_state_dir: Path = Field(
        default=Path(".trimtab/exchange"), description="Folder of the venue's books; belongs to one market."
    )
    exchange_dialect: Literal["binance", "bigone"] = Field(
        default="binance", description="Whose interface the venue has; belongs to its folder."
    )
    exchange_market_buy_amount: Literal["quote", "base"] = Field(
        default="quote", description="What the amount of a market buy is on BigONE: what it costs, or what it brings."
    )
    exchange_prices_file: str = Field(
        default="", description="Prices to replay (.csv, .csv.gz, .parquet); empty: a synthetic market."
    )
    exchange_seed: int = Field(default=2461, ge=0, lt=2**63, description="Seed of the synthetic market.")
    exchange_row_step_s: int = Field(
        default=3600, ge=1, le=30 * 86_400, description="Market seconds between two rows of the synthetic market."
    )
    exchange_rows_per_second: float = Field(
        default=20.0, gt=0, le=100_000, description="Rows per wall-clock second at the first start."
    )
    exchange_start_paused: bool = Field(
        default=False, description="Hold the market at its first row until resumed; the pace outlives restarts."
    )
    exchange_api_key: str = Field(
        default="", repr=False, max_length=128, description="API key of the first account; empty: none."
    )
    exchange_api_secret: SecretStr = Field(default=SecretStr(""), description="Secret of the first account.")
    exchange_control_token: SecretStr = Field(
        default=SecretStr(""), description="Token that /control asks for; empty: /control serves loopback only."
    )
    exchange_spread_bps: Decimal = Field(
        default=Decimal(2), ge=0, le=1000, description="Distance from best bid to best ask, in basis points."
    )
    exchange_depth_usdt: Decimal = Field(
        default=Decimal(50_000), gt=0, le=10**12, description="Value of each level of the book, in USDT."
    )
    exchange_depth_levels: int = Field(default=20, ge=1, le=1000, description="Levels on each side of the book.")
    exchange_level_spacing_bps: Decimal = Field(
        default=Decimal(1), ge=0, le=1000, description="Distance between two levels, in basis points."
    )
    exchange_cross_pairs: str = Field(
        default="", description="Pairs of two assets to list beside those against USDT, as in ETH/BTC,SOL/BTC."
    )
    exchange_cross_spread_bps: Decimal = Field(
        default=Decimal(2), ge=0, le=1000, description="Distance from best bid to best ask of those pairs."
    )
    exchange_maker_fee_bps: Decimal = Field(default=Decimal(10), ge=0, le=1000, description="Fee of resting orders.")
    exchange_taker_fee_bps: Decimal = Field(default=Decimal(10), ge=0, le=1000, description="Fee of taking orders.")
    exchange_discount_asset: str = Field(
        default="BNB", description="Asset that commission may be paid in for less, by accounts that want it."
    )
    exchange_discount_pct: Decimal = Field(
        default=Decimal(25), ge=0, le=100, description="How much less that is, in percent."
    )
    exchange_min_notional: Decimal = Field(
        default=Decimal(5), gt=0, le=10**6, description="Smallest value of an order, in USDT."
    )
    exchange_weight_per_minute: int = Field(
        default=6_000_000, ge=1, description="Request weight an address may use in a minute; Binance: 6000."
    )
    exchange_orders_per_10s: int = Field(
        default=100_000, ge=1, description="New orders of an account in 10 seconds; Binance: 100."
    )
