"""Free ports on loopback: the usual one where it is free, else another."""

import contextlib
import random
import socket
import sys
from collections.abc import Iterable

# Below the range from which the system takes ports for outgoing connections (32768 and up on Linux, 49152 elsewhere):
# a port found free stays free until the server that was given it has started.
_FIRST, _LAST = 20_000, 31_999


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now, on loopback or on every address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Connections of an earlier run that linger in TIME_WAIT do not matter; a listening socket still does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(usual: int | None = None, *, taken: Iterable[int] = ()) -> int:
    """The usual port if it is free and not in ``taken``, else one picked at random; raises ``OSError`` if none is."""
    avoided = set(taken)
    if usual is not None and usual not in avoided and is_free(usual):
        return usual
    start = random.randint(_FIRST, _LAST)  # noqa: S311 - two starts at once should not try the same ports
    for offset in range(_LAST - _FIRST + 1):
        port = _FIRST + (start - _FIRST + offset) % (_LAST - _FIRST + 1)
        if port not in avoided and is_free(port):
            return port
    raise OSError(f"no free port between {_FIRST} and {_LAST}")


class PortClaims:
    """Ports that this launcher has chosen, kept from other launchers until ``release``.

    Between choosing a port and its server listening, and while a server is being restarted, the port is free to
    everybody. Two launchers that start at once would both choose the usual ports. So each claim is a name in Linux's
    abstract socket namespace, which has the extent of the ports themselves (the network namespace), needs no file and
    goes with its process. Elsewhere there is no such thing, and claims hold within this process only.
    """

    def __init__(self) -> None:
        self._held: dict[int, socket.socket | None] = {}

    def choose(self, usual: int | None = None) -> int:
        """A free port that no launcher has claimed, claimed."""
        refused: set[int] = set()
        while True:
            port = free_port(usual, taken=refused | self._held.keys())
            if self._claim(port):
                return port
            refused.add(port)

    def release(self) -> None:
        """Give every claim up."""
        for holder in self._held.values():
            if holder is not None:
                holder.close()
        self._held.clear()

    def _claim(self, port: int) -> bool:
        if not sys.platform.startswith("linux"):
            self._held[port] = None
            return True
        holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with contextlib.suppress(OSError):
            holder.bind(f"\0trimtab-port-{port}")
            self._held[port] = holder
            return True
        holder.close()
        return False
