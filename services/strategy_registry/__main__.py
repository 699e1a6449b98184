"""Run the registry: ``python -m services.strategy_registry``."""

from services.strategy_registry.app import build_app
from services.strategy_registry.settings import Settings
from shared.messaging.runtime import run


def main() -> None:
    """Read the settings and run until told to stop."""
    settings = Settings()
    app = build_app(settings)
    run(app, health_port=settings.health_port, log_level=settings.log_level, health_host=settings.health_host)


if __name__ == "__main__":
    main()
