"""The auditor's own books: every posting again, in whole units of 10^-18, so that nothing can be rounded."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

DECIMALS = 18
_MAY_OWE = ("venue:", "suspense:")
_FILL = "fill"
_SIGNS = {"buy": 1, "sell": -1}
_SCALES: tuple[int, ...] = tuple(10 ** (DECIMALS - decimals) for decimals in range(DECIMALS + 1))

_Key: TypeAlias = tuple[str, str]
"""An account and an asset."""


class Fill(NamedTuple):
    """What a fill moved, as its message says; amounts in units of 10^-18."""

    trade_id: str
    venue: str
    side: str
    base: str
    quote: str
    quantity: int
    quote_quantity: int
    fee: int
    fee_asset: str


class Books:
    """Balances by (account, asset) after every entry taken so far; all methods raise ValueError with the reason.

    ``relative``: what was there before is not known. Then balances are changes, and ``floors`` tells how far each
    account that may not owe has fallen at most. ``names``: of all entries.
    """

    def __init__(self, *, relative: bool = False) -> None:
        self.balances: dict[tuple[str, str], int] = {}
        self.floors: dict[tuple[str, str], int] = {}
        self.names: set[str] = set()
        self.postings = 0
        self._relative = relative

    def take(self, fields: Mapping[str, Any]) -> Fill | None:
        """Post an entry; what a fill says of itself is returned, and that its postings are exactly that is checked."""
        name = fields["transaction_id"]
        if name in self.names:
            raise ValueError(f"{name} was posted before")
        self.names.add(name)
        postings = fields["postings"]
        if not postings:
            raise ValueError("it has no postings")
        moved = self._post(postings)
        if fields["kind"] != _FILL:
            return None
        fill = fill_of(fields["request"])
        if name != f"fill:{fill.venue}:{fill.trade_id}" or fields["venue"] != fill.venue:
            raise ValueError(f"it books the trade {fill.trade_id} at {fill.venue} under another name")
        if not _moves_exactly(fill, moved):
            raise ValueError(f"its postings are not what the trade {fill.trade_id} moved")
        return fill

    def _post(self, postings: Sequence[Mapping[str, str]]) -> list[tuple[_Key, _Key, int]]:
        """Apply the postings; what each of them moves, from where and to where."""
        balances, moved, below = self.balances, [], []
        for made in postings:
            source, destination, asset = made["source"], made["destination"], made["asset"]
            units = units_of(made["amount"])
            if units <= 0 or source == destination:
                raise ValueError(f"it moves {made['amount']} {asset} from {source} to {destination}")
            given, taken = (source, asset), (destination, asset)
            balances[given] = left = balances.get(given, 0) - units
            balances[taken] = balances.get(taken, 0) + units
            moved.append((given, taken, units))
            if left < 0 and not source.startswith(_MAY_OWE):
                below.append(given)
        self.postings += len(moved)
        for account, asset in below:  # in the middle of an entry an account may be short: what counts is its end
            if balances[account, asset] < 0:
                self._owes(account, asset)
        return moved

    def _owes(self, account: str, asset: str) -> None:
        units = self.balances[account, asset]
        if not self._relative:
            raise ValueError(f"{account} would hold {text_of(units)} {asset}")
        self.floors[account, asset] = min(units, self.floors.get((account, asset), 0))

    def add(self, later: "Books") -> None:
        """Append relative books of the entries that follow. Raises ValueError, having changed nothing."""
        if not self.names.isdisjoint(later.names):
            raise ValueError("an entry was posted before")
        for key, floor in later.floors.items():
            if self.balances.get(key, 0) + floor < 0:
                raise ValueError(f"{key[0]} would owe {key[1]}")
        self.names |= later.names
        self.postings += later.postings
        for key, units in later.balances.items():
            self.balances[key] = self.balances.get(key, 0) + units

    def unbalanced(self) -> dict[str, int]:
        """Assets whose balances do not sum to zero."""
        totals: dict[str, int] = {}
        for (_, asset), units in self.balances.items():
            totals[asset] = totals.get(asset, 0) + units
        return {asset: total for asset, total in totals.items() if total}


def units_of(text: str) -> int:
    """An amount in plain decimal text in units of 10^-18. Raises ValueError."""
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    if digits.isdigit() and digits.isascii() and len(fraction) <= DECIMALS:
        return int(digits) * _SCALES[len(fraction)]
    if text.startswith("-") and not text.startswith("--"):
        return -units_of(text[1:])
    raise ValueError(f"{text[:80]!r} is not an amount")


def text_of(units: int) -> str:
    """Units of 10^-18 as plain decimal text."""
    digits = str(abs(units)).rjust(DECIMALS + 1, "0")
    text = f"{digits[:-DECIMALS]}.{digits[-DECIMALS:]}".rstrip("0").rstrip(".")
    return f"-{text}" if units < 0 else text


def fill_of(request: Mapping[str, Any]) -> Fill:
    """The fill in the message that led to an entry. Raises ValueError."""
    try:
        return Fill(
            request["trade_id"],
            request["venue"],
            request["side"].lower(),
            request["base"],
            request["quote"],
            units_of(request["quantity"]),
            units_of(request["quote_quantity"]),
            units_of(request["fee"]),
            request["fee_asset"],
        )
    except (KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"its message is no fill: {error!r}") from error


def _moves_exactly(fill: Fill, moved: Sequence[tuple[_Key, _Key, int]]) -> bool:
    """Whether the venue's side and fees gain what the trade says and nothing else; a rebate comes from the venue."""
    sign = _SIGNS.get(fill.side)
    if sign is None:
        raise ValueError(f"{fill.side!r} is not a side")
    venue, fees = f"venue:{fill.venue}", f"fees:{fill.venue}"
    left = {(venue, fill.quote): sign * fill.quote_quantity}
    for key, units in (
        ((venue, fill.base), -sign * fill.quantity),
        ((fees if fill.fee >= 0 else venue, fill.fee_asset), fill.fee),
    ):
        left[key] = left.get(key, 0) + units
    for given, taken, units in moved:
        if given[0] == venue or given[0] == fees:
            left[given] = left.get(given, 0) + units
        if taken[0] == venue or taken[0] == fees:
            left[taken] = left.get(taken, 0) - units
    return not any(left.values())
