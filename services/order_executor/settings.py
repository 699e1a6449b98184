"""Settings of the executor, from the environment."""

from decimal import Decimal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from shared.core.routing import RoutingPolicy
from shared.messaging.runtime import ServiceSettings


class Settings(ServiceSettings):
    """``TRIMTAB_*``; what every service has (NATS, health port, ...) comes from ``ServiceSettings``."""

    model_config = SettingsConfigDict(env_prefix="TRIMTAB_")

    postgres_dsn: str = Field(repr=False, description="URL of the database that holds the schema `executor`.")
    venue_name: str = Field(default="paper", description="Name of the venue in subjects and messages.")
    venue_dialect: str = Field(default="binance", description="How the venue speaks: a row of shared.venues.dialects.")
    venue_account: str = Field(default="", description="Name of the account; empty: the venue's name. One writer each.")
    venue_quote: str = Field(default="USDT", description="Quote currency all pairs are traded against.")
    venue_rest_url: str = Field(default="", description="Base URL of the REST API; empty: the dialect's live venue.")
    venue_ws_url: str = Field(default="", description="URL of market streams; not used by the executor.")
    venue_ws_api_url: str = Field(default="", description="URL of the websocket API; empty: the dialect's live venue.")
    venue_api_key: SecretStr = Field(default=SecretStr(""), description="API key: trading only, never withdrawals.")
    venue_api_secret: SecretStr = Field(
        default=SecretStr(""),
        description="Its secret; at Coinbase the key's PEM, its lines divided by \\n or new lines.",
    )
    venue_api_passphrase: SecretStr = Field(default=SecretStr(""), description="Its passphrase (KuCoin, OKX).")
    venue_sandbox: bool = Field(
        default=False, description="The venue's own test environment (Binance, Bybit, OKX) instead of the live one."
    )
    venue_instruments_refresh_s: float = Field(
        default=60.0, gt=0, le=86_400, description="Seconds between reads of the venue's instruments."
    )
    venue_deposits_poll_s: float = Field(
        default=2.0, gt=0, le=3_600, description="Seconds between reads of the deposit history."
    )
    reconcile_every_s: float = Field(
        default=5.0, ge=0, le=3_600, description="Seconds between comparisons of account and books; 0: never."
    )
    routing: RoutingPolicy = Field(
        default=RoutingPolicy.DIRECT_WHEN_CHEAPER,
        description="Whether a sale and the purchase it pays for may be one order on the pair of both assets.",
    )
    slippage_bps: int = Field(default=50, ge=0, le=1_000, description="Limit price: at most this far beyond the touch.")
    request_timeout_ms: int = Field(
        default=2_000, ge=50, le=60_000, description="A request unanswered for so long has an unknown outcome."
    )
    send_deadline_ms: int = Field(
        default=1_000, ge=10, le=10_000, description="An intent not sent within this time is never sent."
    )
    quotes_max_age_s: float = Field(
        default=10.0, gt=0, le=60, description="Prices older than this (wall clock) are not traded on."
    )
    quotes_wait_s: float = Field(
        default=5.0, ge=0, le=60, description="How long a plan waits for the price of a single silent asset."
    )
    concurrent_plans: int = Field(default=16, ge=1, le=256, description="Plans that trade at once; the rest wait.")
    lease_s: float = Field(
        default=4.0,
        ge=3.0,
        le=60,
        description="How long a writer that fell silent keeps the account; twice the venue's receive window at least.",
    )

    guard_orders_per_minute: int = Field(
        default=300, ge=1, le=10_000_000, description="Guard: orders sent in 60 s (wall clock) by this account."
    )
    guard_order_notional: Decimal = Field(
        default=Decimal(100_000), gt=0, le=10**15, description="Guard: value of one order, in quote currency."
    )
    guard_day_notional: Decimal = Field(
        default=Decimal(1_000_000),
        gt=0,
        le=10**15,
        description="Guard: value of all orders of a market day (UTC) by this account, in quote currency.",
    )
    guard_plan_turnover: Decimal = Field(
        default=Decimal("2.1"),
        gt=0,
        le=1_000,
        description="Guard: what one plan may trade, as a multiple of its portfolio (sell all and buy all: 2).",
    )
    guard_price_away_bps: int = Field(
        default=200, ge=1, le=5_000, description="Guard: limit price from the touch at the moment of sending."
    )
    guard_trips_to_halt: int = Field(
        default=10, ge=0, le=100, description="With more phases in a row than this withheld by a guard, halt the venue."
    )

    @model_validator(mode="after")
    def _guard_is_wider_than_slippage(self) -> "Settings":
        if self.guard_price_away_bps <= self.slippage_bps:
            raise ValueError("guard_price_away_bps must be above slippage_bps, or every order is withheld")
        return self

    @property
    def account(self) -> str:
        """Name of the account in Postgres."""
        return self.venue_account or self.venue_name
