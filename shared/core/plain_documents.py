"""The commonest strategy documents, read several times faster than ``parse_strategy`` reads them: for millions.

What is read here is equal to what ``parse_strategy`` makes of the same document; whatever is not of the commonest form
(a field more or less, a number that is not text, anything that may have to be refused) is left to it.
"""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeVar

from shared.core.auto_invest_documents import parse_auto_invest
from shared.core.errors import Refused
from shared.core.money import HUNDRED, ZERO, parse_asset
from shared.core.rule_documents import parse_exit_level, parse_rule
from shared.core.rules import RebalanceRule
from shared.core.strategy import (
    MAX_AMOUNT_USDT,
    MAX_ASSETS_EVER,
    MIN_ASSETS,
    REQUIRED_FIELDS,
    StrategyDefinition,
    parse_name,
    parse_venue,
)

_REQUIRED = frozenset(REQUIRED_FIELDS)
_READ = _REQUIRED | {"take_profit", "stop_loss", "auto_invest"}
_KEPT = 16_384
T = TypeVar("T")
_AMOUNT = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,18})?")


def plain_amount(text: object) -> Decimal | None:
    """What ``parse_decimal`` makes of it; None for whatever is not text in the commonest form of a number."""
    return Decimal(text) if type(text) is str and _AMOUNT.fullmatch(text) else None


class PlainDocuments:
    """Reads definitions; those with equal rules share one rule, and so with take-profit, stop-loss and Auto-Invest."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str], Any] = {}

    def definition(self, document: object) -> StrategyDefinition | None:
        """What ``parse_strategy`` makes of a document from JSON; None for one that is left to it."""
        if type(document) is not dict or not _REQUIRED <= document.keys() <= _READ:
            return None
        targets, amount = _targets(document["targets"]), plain_amount(document["amount"])
        if targets is None or amount is None or amount <= ZERO:
            return None
        name, venue, funding_asset = document["name"], document["venue"], document["funding_asset"]
        if type(name) is not str or type(venue) is not str or type(funding_asset) is not str:
            return None
        if funding_asset == "USDT" and amount >= MAX_AMOUNT_USDT:
            return None
        try:
            rule: RebalanceRule = self._shared(("rebalance", ""), document["rebalance"], parse_rule)
            if rule.threshold is not None and not rule.threshold.per_asset.keys() <= targets.keys():
                return None
            asset = _asset(funding_asset)
            further = {field: self._further(field, document[field], asset) for field in document.keys() - _REQUIRED}
            return StrategyDefinition(parse_name(name), _venue(venue), asset, amount, targets, rule, **further)
        except Refused:
            return None

    def _further(self, field: str, document: object, asset: str) -> Any:
        """What a definition has in a field that not every strategy has; ``asset``: the one it is funded in."""
        if field == "auto_invest":
            return self._shared((field, asset), document, lambda one: parse_auto_invest(one, asset))
        return self._shared((field, ""), document, lambda one: parse_exit_level(one, field))

    def _shared(self, kind: tuple[str, str], document: object, parse: Callable[[object], T]) -> T:
        key = (*kind, repr(document))
        found: T | None = self._kept.get(key)
        if found is None:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            found = self._kept[key] = parse(document)
        return found


def _targets(document: object) -> Mapping[str, Decimal] | None:
    if type(document) is not dict or not MIN_ASSETS <= len(document) <= MAX_ASSETS_EVER:
        return None
    try:
        targets = {_asset(asset): _weight(weight) for asset, weight in document.items() if type(weight) is str}
    except Refused:
        return None
    weights = [weight for weight in targets.values() if weight is not None]
    if len(weights) != len(document) or sum(weights, ZERO) != HUNDRED:
        return None
    return dict(zip(targets, weights, strict=True))


@lru_cache(maxsize=_KEPT)
def _weight(text: str) -> Decimal | None:
    weight = plain_amount(text)
    return weight if weight is not None and ZERO < weight < HUNDRED else None


@lru_cache(maxsize=_KEPT)
def _asset(text: str) -> str:
    return parse_asset(text, "targets")


@lru_cache(maxsize=_KEPT)
def _venue(text: str) -> str:
    return parse_venue(text)
