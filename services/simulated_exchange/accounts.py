"""Accounts of the venue: balances with a free and a locked part, which never go below zero."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256

from shared.core.errors import Stop
from shared.core.money import MONEY_CONTEXT, ZERO


@dataclass(slots=True)
class Balance:
    """What an account has of one asset: ``locked`` backs open orders."""

    free: Decimal = ZERO
    locked: Decimal = ZERO


@dataclass(slots=True)
class Account:
    """One customer: key and secret for signed calls, balances by asset. ``touched`` collects assets not yet saved.

    ``takes_discount``: commission is taken from the venue's discount asset while the account has enough of it free.
    """

    account_id: int
    api_key: str
    api_secret: str = field(repr=False)
    balances: dict[str, Balance] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    takes_discount: bool = False

    @property
    def listen_key(self) -> str:
        """Key of the account's user data stream: the same for ever, so that it outlives a restart of the venue."""
        return sha256(f"listen-key:{self.api_key}:{self.api_secret}".encode()).hexdigest()

    def free(self, asset: str) -> Decimal:
        """Free balance, zero for an asset never held."""
        balance = self.balances.get(asset)
        return balance.free if balance else ZERO

    def copied_balances(self, assets: Iterable[str]) -> dict[str, Balance]:
        """Balances of some assets as they are now."""
        found = {asset: self.balances.get(asset) or Balance() for asset in assets}
        return {asset: Balance(balance.free, balance.locked) for asset, balance in found.items()}

    def add_free(self, asset: str, change: Decimal) -> None:
        """Change the free part. Raises Stop rather than let it fall below zero."""
        balance = self._touch(asset)
        balance.free = self._not_negative(asset, MONEY_CONTEXT.add(balance.free, change))

    def add_locked(self, asset: str, change: Decimal) -> None:
        """Change the locked part. Raises Stop rather than let it fall below zero."""
        balance = self._touch(asset)
        balance.locked = self._not_negative(asset, MONEY_CONTEXT.add(balance.locked, change))

    def lock(self, asset: str, amount: Decimal) -> None:
        """Move from free to locked."""
        self.add_free(asset, -amount)
        self.add_locked(asset, amount)

    def _touch(self, asset: str) -> Balance:
        self.touched.add(asset)
        return self.balances.setdefault(asset, Balance())

    def _not_negative(self, asset: str, amount: Decimal) -> Decimal:
        if amount < 0:
            raise Stop(f"account {self.account_id}: {asset} would fall to {amount}")
        return amount
