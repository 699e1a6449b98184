"""What the launcher has to know of a process: data only."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from deploy.embedded.child import ChildOptions


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process is ended.

    ``politely`` is sent first, ``at_once`` when it has not ended after ``grace_s``, or when the launcher has died;
    ``group``: signals go to its whole process group. Processes of a higher ``rank`` are ended after all of the
    lower ones.
    """

    politely: signal.Signals = signal.SIGTERM
    at_once: signal.Signals = signal.SIGKILL
    grace_s: float = 5.0
    group: bool = True
    rank: int = 0


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """One process of the stack.

    ``health_url``: `http://...` (200 = ready) or `postgres://127.0.0.1:PORT`; None = ready when it has ended with
    exit code 0 (a step that is done once, not a service). ``after``: names that must have been ready once before it
    starts. ``env`` is added to the launcher's own environment without its TRIMTAB_ variables. ``before_start`` runs
    in a thread before each start. ``account``: whom it runs as, see ``ChildOptions``.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    health_url: str | None = None
    after: tuple[str, ...] = ()
    ending: Ending = field(default_factory=Ending)
    before_start: Callable[[], None] | None = None
    account: ChildOptions | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """Times of supervision, in seconds."""

    probe_starting_s: float = 0.1
    probe_running_s: float = 1.0
    start_within_s: float = 60.0
    unhealthy_after_s: float = 30.0
    back_off_first_s: float = 0.2
    back_off_most_s: float = 10.0
    healthy_again_after_s: float = 30.0
    stack_ready_within_s: float = 120.0
    # A process that has ended this often without ever having been ready will not be ready the next time either.
    failed_starts: int = 5


class BackOff:
    """Pauses between restarts, doubling from the first to the most; ``reset`` after a good while of health."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._next_s = patience.back_off_first_s

    def next_s(self) -> float:
        """The pause before the next start."""
        pause_s = self._next_s
        self._next_s = min(pause_s * 2, self._patience.back_off_most_s)
        return pause_s

    def reset(self) -> None:
        """Start again from the shortest pause."""
        self._next_s = self._patience.back_off_first_s
