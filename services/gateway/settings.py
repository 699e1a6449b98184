"""Settings of the gateway, from the environment."""

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from shared.core.strategy import MAX_ASSETS, MAX_ASSETS_EVER, MIN_ASSETS
from shared.messaging.runtime import ServiceSettings


class Settings(ServiceSettings):
    """``TRIMTAB_*``; what every service has (NATS, health port, ...) comes from ``ServiceSettings``."""

    model_config = SettingsConfigDict(env_prefix="TRIMTAB_", hide_input_in_errors=True)

    gateway_host: str = Field(default="127.0.0.1", description="Address to listen on.")
    gateway_port: int = Field(default=8080, ge=0, le=65_535, description="TCP port to listen on; 0 = any free one.")
    api_token: SecretStr = Field(min_length=16, description="Bearer token that every caller must send.")
    faucets: dict[str, str] = Field(
        default={}, description='Control URL of each paper venue, as JSON: {"paper": "http://127.0.0.1:9100"}.'
    )
    faucet_token: SecretStr = Field(default=SecretStr(""), description="Token the paper venues' control asks for.")
    max_assets: int = Field(
        default=MAX_ASSETS,
        ge=MIN_ASSETS,
        le=MAX_ASSETS_EVER,
        description="Most targets a new strategy may have; as the registry is set.",
    )
