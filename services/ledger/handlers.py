"""What arrives is posted; an exception tells the consumer whether to try again."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from services.ledger.bookkeeping import NotCovered
from services.ledger.books import Books
from services.ledger.requests import Body, Request
from shared.contracts.books import DustSwept, FundStrategy, ReleaseStrategy, SweepDust, WithdrawFromStrategy
from shared.contracts.orders import DepositObserved, OrderChanged, OrderFilled
from shared.contracts.reconciliation import AcceptSuspense, BalanceDiffered, SuspenseAccepted
from shared.contracts.wire import Message, Meta

Handler = Callable[[Any, Meta], Awaitable[None]]

TRIES_UNTIL_SUSPENSE = 6
"""How often a fill is tried that is not covered: fewer than its consumer delivers it, so it ends as no dead letter.
With the consumer's pauses that is about 6 s."""

_REMEMBERED = 10_000


class Handlers:
    """One handler for all that is only posted: what differs between the messages is in ``bookkeeping``."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._tries: dict[str, int] = {}

    async def post(self, body: Body, meta: Meta) -> None:
        """Return once it is durably posted, now or before. Raises NotCovered or Refused."""
        await self._books.post(Request(body, meta))

    async def fill(self, body: OrderFilled, meta: Meta) -> None:
        """The same for a fill. Raises NotCovered a few times only: then what is short goes to suspense."""
        request = Request(body, meta)
        tries = self._tries.pop(request.transaction_id, 0) + 1
        try:
            await self._books.post(replace(request, is_last_try=tries >= TRIES_UNTIL_SUSPENSE))
        except NotCovered:
            if len(self._tries) >= _REMEMBERED:
                self._tries.pop(next(iter(self._tries)))
            self._tries[request.transaction_id] = tries
            raise

    async def accept(self, command: AcceptSuspense, meta: Meta) -> SuspenseAccepted:
        """Post the acceptance and answer. Raises Refused with what is in suspense now, or what the wallet holds."""
        request = Request(command, meta)
        await self._books.post(request)
        names = {"venue": command.venue, "asset": command.asset, "amount": command.amount}
        return SuspenseAccepted(transaction_id=request.transaction_id, **names)

    async def sweep(self, command: SweepDust, meta: Meta) -> DustSwept:
        """Post the sweep and answer. Raises Refused with what there is."""
        request = Request(command, meta)
        await self._books.post(request)
        names = {"venue": command.venue, "asset": command.asset, "amount": command.amount}
        return DustSwept(transaction_id=request.transaction_id, **names)

    @property
    def fills(self) -> Mapping[type[Message], Handler]:
        """Handlers of the fills consumer."""
        return {OrderFilled: self.fill}

    @property
    def orders(self) -> Mapping[type[Message], Handler]:
        """Handlers of the orders consumer: what is said of an order, but for its fills."""
        return {OrderChanged: self.post}

    @property
    def deposits(self) -> Mapping[type[Message], Handler]:
        """Handlers of the deposits consumer."""
        return {DepositObserved: self.post}

    @property
    def commands(self) -> Mapping[type[Message], Handler]:
        """Handlers of the transfer commands consumer."""
        return {FundStrategy: self.post, WithdrawFromStrategy: self.post, ReleaseStrategy: self.post}

    @property
    def differences(self) -> Mapping[type[Message], Handler]:
        """Handlers of the differences consumer."""
        return {BalanceDiffered: self.post}
