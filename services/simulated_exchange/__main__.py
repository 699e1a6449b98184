"""Run the venue: ``python -m services.simulated_exchange``; ``... check FILE`` checks a price file instead."""

import sys
from dataclasses import asdict

import orjson

from services.simulated_exchange.app import build_app
from services.simulated_exchange.markets.files import load_prices, summarise
from services.simulated_exchange.settings import Settings
from shared.core.errors import Refused
from shared.messaging.runtime import run


def main(arguments: list[str]) -> None:
    """Read the settings and run until told to stop, or check one price file. Bad input: its faults and exit code 1."""
    try:
        if arguments[:1] == ["check"] and len(arguments) == 2:
            sys.stdout.write(orjson.dumps(asdict(summarise(load_prices(arguments[1])))).decode() + "\n")
            return
        settings = Settings()
        app = build_app(settings)
    except Refused as refused:
        raise SystemExit("\n".join(f"simulated_exchange: {problem}" for problem in refused.problems)) from None
    run(app, health_port=settings.health_port, log_level=settings.log_level, health_host=settings.health_host)


if __name__ == "__main__":
    main(sys.argv[1:])
