"""Faults around requests over a websocket: the same kinds as over HTTP, in frames."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from services.simulated_exchange.faults.plan import Fault
from services.simulated_exchange.faults.requests import GARBAGE
from services.simulated_exchange.faults.rules import Kind


class FrameWriter(Protocol):
    """A client's socket."""

    def send(self, payload: bytes) -> None:
        """Write one message."""

    def close(self) -> None:
        """End the connection without a word."""

    def cut(self, payload: bytes, share: float, at: int | None) -> None:
        """Write the beginning of a message and reset the connection."""


def suffer(fault: Fault, socket: FrameWriter, answer: Callable[[], bytes], error: Callable[[Fault], bytes]) -> None:
    """Answer a request that a rule hit. ``answer`` does what was asked; ``error`` words the rule's error."""
    kind = fault.rule.kind
    if kind is Kind.ERROR_BEFORE:
        socket.send(error(fault))
    elif kind is Kind.LATE_REQUEST:
        _later(fault, lambda: socket.send(answer()))
    elif kind is Kind.LOST_REQUEST:
        _silent(fault, socket)
    else:
        _spoil(fault, socket, answer(), error)


def _spoil(fault: Fault, socket: FrameWriter, answer: bytes, error: Callable[[Fault], bytes]) -> None:
    kind = fault.rule.kind
    if kind is Kind.LOST_REPLY:
        _silent(fault, socket)
    elif kind is Kind.LATE_REPLY:
        _later(fault, lambda: socket.send(answer))
    elif kind is Kind.GARBAGE:
        socket.send(GARBAGE)
    elif kind is Kind.RESET:
        socket.cut(answer, fault.draw, fault.rule.bytes)
    else:
        socket.send(error(fault))


def _silent(fault: Fault, socket: FrameWriter) -> None:
    if fault.rule.ending == "close":
        socket.close()


def _later(fault: Fault, act: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(fault.rule.delay_ms / 1000, act)
