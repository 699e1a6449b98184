"""Settings of a stack whose market is moved by hand: no time of the wall clock may decide what is traded.

A market that waits for its evaluators passes hundreds of rows in ten seconds, or stands still for as long as an order
takes. So what is stale, expired or a jump by the wall clock elsewhere is not so here; market time decides alone.
"""

from collections.abc import Mapping

LOCKSTEP_SETTINGS: Mapping[str, Mapping[str, str]] = {
    "services.price_feed": {
        # A frame is a row: nobody decides on half of one.
        "TRIMTAB_PRICES_WHOLE_MOMENTS": "true",
        # An asset that is not quoted for a thousand rows was silent for seconds or for minutes: both must be the same.
        "TRIMTAB_PRICES_STALE_AFTER_S": "3153600000",
        # How often a row is repeated, which confirms a jump, is a matter of time: recorded prices are believed at once.
        "TRIMTAB_PRICES_JUMP_FACTOR": "1e12",
    },
    "services.strategy_evaluator": {
        "TRIMTAB_DECISIONS_ALL": "true",
        "TRIMTAB_PLAN_EXPIRY_S": "600",
        # A row that comes late was not missed: the market has waited. Held for stale, its quotes would confirm nothing.
        "TRIMTAB_PRICES_LAG_S": "600",
        "TRIMTAB_PRICES_SILENCE_S": "600",
    },
    "services.order_executor": {
        # Newly listed pairs are waited for: look often.
        "TRIMTAB_VENUE_INSTRUMENTS_REFRESH_S": "1",
        # What is sent too late is sent again in another round, which is sized more loosely: do not be late.
        "TRIMTAB_SEND_DEADLINE_MS": "10000",
        "TRIMTAB_REQUEST_TIMEOUT_MS": "10000",
        "TRIMTAB_QUOTES_MAX_AGE_S": "60",
        "TRIMTAB_QUOTES_WAIT_S": "60",
    },
}
"""Environment by module, on top of what every stack has."""
