"""Cancellation that was lost on its way."""

import asyncio


def end_if_cancelled() -> None:
    """Raises CancelledError when this task was asked to end, whatever swallowed the first one.

    Python 3.11's ``asyncio.wait_for``, which the clients of NATS and of websockets use, loses a cancellation that comes
    together with its result.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
