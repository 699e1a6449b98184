"""The calls of the dialect: one function each, reached over REST and over the websocket API alike."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from services.simulated_exchange.accounts import Account
from services.simulated_exchange.binance.parameters import Parameters
from services.simulated_exchange.desk import Desk
from services.simulated_exchange.reads import Reads
from services.simulated_exchange.venue import Venue


class Security(Enum):
    """What a call must carry: nothing, an API key, or a key and a signature."""

    NONE = auto()
    KEY = auto()
    SIGNED = auto()


@dataclass(frozen=True, slots=True)
class Call:
    """One call: the desk, its parameters, the venue's clock (ms), and the account for KEY and SIGNED calls."""

    desk: Desk
    parameters: Parameters
    clock_ms: int
    signer: Account | None = None

    @property
    def venue(self) -> Venue:
        """The venue."""
        return self.desk.venue

    @property
    def reads(self) -> Reads:
        """What the account is shown of itself."""
        return self.desk.reads

    @property
    def account(self) -> Account:
        """The account that signed. Only endpoints whose security asks for one may read it."""
        assert self.signer is not None  # noqa: S101 - endpoints without security never ask
        return self.signer


Answer = Callable[[Call], object]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A call's REST method and path, its name in the websocket API ("" = none), security, weight and function."""

    method: str
    path: str
    answer: Answer
    ws_method: str = ""
    security: Security = Security.NONE
    weight: int = 1
    is_order: bool = False
