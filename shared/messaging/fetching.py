"""Fetching for durable consumers: at least one message, with whatever else is there, and never a wait for more.

nats-py's own fetch of several leaves requests behind at the server. What such a request brings during the next fetch
looks like the first of a batch whose rest is on its way, and is kept until the time runs out: up to a second.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext

Fetch = Callable[..., Awaitable[list[Msg]]]

ANSWER_WITHIN_S = 1.0


def fetch_what_is_there(jetstream: JetStreamContext) -> None:
    """Make every pull subscription of ``jetstream`` fetch like that."""
    subscribe = jetstream.pull_subscribe

    async def pull_subscribe(*args: Any, **options: Any) -> JetStreamContext.PullSubscription:
        subscription = await subscribe(*args, **options)
        vars(subscription)["fetch"] = _fetching(subscription, subscription.fetch)
        return subscription

    vars(jetstream)["pull_subscribe"] = pull_subscribe


def _fetching(subscription: JetStreamContext.PullSubscription, fetch: Fetch) -> Fetch:
    async def fetch_now(batch: int = 1, timeout: float | None = 5) -> list[Msg]:  # noqa: ASYNC109 - as nats-py has it
        """Wait for one message, and take what else there is, up to ``batch``. Raises nats.errors.TimeoutError.

        nats-py raises asyncio's own TimeoutError, not its own, when the time runs out between two of its steps:
        FastStream's pull loop would end, and nobody fetch any more.
        """
        try:
            messages = await fetch(1, timeout=timeout)
        except TimeoutError as error:
            raise nats.errors.TimeoutError from error
        return messages if batch == 1 else messages + await _others(subscription, batch - 1)

    return fetch_now


async def _others(subscription: JetStreamContext.PullSubscription, most: int) -> list[Msg]:
    """What the server has right now. An answer that does not come is none: its messages are there at the next fetch."""
    asked = {"batch": most, "no_wait": True}
    found: list[Msg] = []
    try:
        await subscription._nc.publish(subscription._nms, json.dumps(asked).encode(), subscription._deliver)
        while len(found) < most:
            message = await subscription._sub.next_msg(timeout=ANSWER_WITHIN_S)
            if JetStreamContext.is_status_msg(message):  # that is all, or the server cannot say
                break
            found.append(message)
    except (TimeoutError, OSError, nats.errors.Error):
        pass  # whoever fetches next finds out what is the matter; what is here is handled
    return found
