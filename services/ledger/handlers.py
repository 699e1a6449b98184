"""What arrives is posted; an exception tells the consumer whether to try again."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from services.ledger.books import Books
from services.ledger.requests import Body, Request
from shared.contracts.books import FundStrategy, ReleaseStrategy, WithdrawFromStrategy
from shared.contracts.orders import DepositObserved, OrderFilled
from shared.contracts.wire import Message, Meta

Handler = Callable[[Any, Meta], Awaitable[None]]


class Handlers:
    """One handler for all five messages: what differs between them is in ``bookkeeping``."""

    def __init__(self, books: Books) -> None:
        self._books = books

    async def post(self, body: Body, meta: Meta) -> None:
        """Return once it is durably posted, now or before. Raises NotCovered or Refused."""
        await self._books.post(Request(body, meta))

    @property
    def fills(self) -> Mapping[type[Message], Handler]:
        """Handlers of the fills consumer."""
        return {OrderFilled: self.post}

    @property
    def deposits(self) -> Mapping[type[Message], Handler]:
        """Handlers of the deposits consumer."""
        return {DepositObserved: self.post}

    @property
    def commands(self) -> Mapping[type[Message], Handler]:
        """Handlers of the transfer commands consumer."""
        return {FundStrategy: self.post, WithdrawFromStrategy: self.post, ReleaseStrategy: self.post}
