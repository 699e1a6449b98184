"""How a process ends when going on would be worse: at once, with a reason in the log and a code to tell by."""

import logging
import os
import sys
from typing import Protocol

log = logging.getLogger(__name__)

EXIT_FAILED = 1
EXIT_STOP = 3
EXIT_BROKER_CLOSED = 4
EXIT_CONSUMER_LOST = 5


class EndProcess(Protocol):
    """Ends the process, or in a test records that it would have."""

    def __call__(self, exit_code: int, reason: str) -> None:
        """End with ``exit_code`` because of ``reason``."""


def end_process(exit_code: int, reason: str) -> None:
    """End the process now, without clean-up: start-up is the one recovery path, and it is always right."""
    log.critical("process ends with code %d: %s", exit_code, reason)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)
