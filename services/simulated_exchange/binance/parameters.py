"""Parameters of a call, read with Binance's own error codes for what is missing or malformed."""

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import TypeVar

import orjson

from services.simulated_exchange.binance.errors import BinanceError, missing

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_DECIMAL = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?|\.[0-9]{1,20}")
_CLIENT_ID = re.compile(r"[a-zA-Z0-9-_.:/]{1,36}")
_SYMBOL = re.compile(r"[A-Z0-9-_.]{1,20}")
_E = TypeVar("_E", bound=Enum)


class Parameters:
    """Values by name, as text."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str) -> str | None:
        """A value, or None when absent or empty."""
        return self._values.get(name) or None

    def required(self, name: str) -> str:
        """A value that must be there (-1102)."""
        value = self.text(name)
        if value is None:
            raise missing(name)
        return value

    def symbol(self) -> str:
        """The symbol, capital letters (-1102, -1100)."""
        return self._checked_symbol(self.required("symbol"))

    def symbols(self) -> list[str] | None:
        """``symbol`` or the JSON list ``symbols``; None = all (-1128 when both are given)."""
        one, several = self.text("symbol"), self.text("symbols")
        if one and several:
            raise BinanceError(-1128, "Combination of optional parameters invalid.")
        if one:
            return [self._checked_symbol(one)]
        if several is None:
            return None
        try:
            names = orjson.loads(several)
        except orjson.JSONDecodeError:
            names = None
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise _illegal("symbols", '["BTCUSDT","ETHUSDT"]')
        return [self._checked_symbol(name) for name in names]

    def integer(self, name: str, low: int = 0, high: int = 2**53) -> int | None:
        """A whole number within bounds, or None (-1100, -1130)."""
        value = self.text(name)
        if value is None:
            return None
        if not _INTEGER.fullmatch(value):
            raise _illegal(name, "^[0-9]{1,20}$")
        number = int(value)
        if not low <= number <= high:
            raise BinanceError(-1130, f"Data sent for parameter '{name}' is not valid.")
        return number

    def limit(self, default: int, most: int) -> int:
        """``limit``: above ``most`` counts as ``most``, as Binance does."""
        value = self.integer("limit", 1)
        return default if value is None else min(value, most)

    def decimal(self, name: str, decimals: int) -> Decimal | None:
        """A positive amount with at most ``decimals`` places, or None (-1100, -1111, -1013)."""
        value = self.text(name)
        if value is None:
            return None
        if not _DECIMAL.fullmatch(value):
            raise _illegal(name, "^([0-9]{1,20})(\\.[0-9]{1,20})?$")
        number = Decimal(value)
        if number <= 0:
            raise BinanceError(-1013, f"Invalid {name}.")
        exponent = number.normalize().as_tuple().exponent
        if isinstance(exponent, int) and -exponent > decimals:
            raise BinanceError(-1111, f"Parameter '{name}' has too much precision.")
        return number

    def choice(self, name: str, kind: type[_E], code: int, what: str) -> _E:
        """One of an enumeration's values (-1102 when missing, ``code`` when unknown)."""
        value = self.required(name)
        try:
            return kind(value.upper())
        except ValueError:
            raise BinanceError(code, f"Invalid {what}.") from None

    def client_id(self, name: str) -> str | None:
        """A client order id, or None (-1100)."""
        value = self.text(name)
        if value is not None and not _CLIENT_ID.fullmatch(value):
            raise _illegal(name, "^[a-zA-Z0-9-_]{1,36}$")
        return value

    def refuse(self, *names: str) -> None:
        """Parameters that this kind of call does not take (-1106)."""
        for name in names:
            if self.text(name) is not None:
                raise BinanceError(-1106, f"Parameter '{name}' sent when not required.")

    def _checked_symbol(self, name: str) -> str:
        if not _SYMBOL.fullmatch(name):
            raise _illegal("symbol", "^[A-Z0-9-_.]{1,20}$")
        return name


def _illegal(name: str, legal: str) -> BinanceError:
    return BinanceError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")
