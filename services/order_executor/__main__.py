"""Run the executor: ``python -m services.order_executor``."""

from services.order_executor.app import build_app
from services.order_executor.settings import Settings
from shared.messaging.runtime import run


def main() -> None:
    """Read the settings and run until told to stop."""
    settings = Settings()
    run(
        build_app(settings),
        health_port=settings.health_port,
        log_level=settings.log_level,
        health_host=settings.health_host,
    )


if __name__ == "__main__":
    main()
