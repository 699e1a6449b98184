"""Run the gateway: ``python -m services.gateway``."""

from services.gateway.app import build_app
from services.gateway.settings import Settings
from shared.messaging.runtime import run


def main() -> None:
    """Read the settings and run until told to stop."""
    settings = Settings()
    app = build_app(settings)
    run(app, health_port=settings.health_port, log_level=settings.log_level, health_host=settings.health_host)


if __name__ == "__main__":
    main()
