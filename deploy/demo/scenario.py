"""Which strategies a demo runs: those of the given files, or examples that fit the assets of the price source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from shared.core.money import HUNDRED, plain
from shared.core.strategy import StrategyDefinition, parse_strategy

VENUE = "paper"
QUOTE = "USDT"
CYCLES = 26
"""How many cycles of Auto-Invest the wallet has money for."""
BIGONE_EXAMPLE = ("ONE", "BTC", "ETH")
"""BigONE's own example of its AI Rebalance: 1,200 USDT at 40 % ONE, 30 % BTC, 30 % ETH."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A strategy to create as soon as every asset it names is listed."""

    definition: StrategyDefinition
    document: Mapping[str, Any]

    def missing(self, listed: Sequence[str]) -> list[str]:
        """The assets that are not listed yet."""
        needed = [*self.definition.targets, self.definition.funding_asset]
        return [asset for asset in needed if asset != QUOTE and asset not in listed]


def candidate(document: Mapping[str, Any]) -> Candidate:
    """A candidate from a strategy document. Raises Refused."""
    return Candidate(parse_strategy(document), document)


def example_documents(assets: Sequence[str]) -> list[dict[str, Any]]:
    """The default strategies for a market of these assets (in order of listing; at least 2).

    Three assets with a threshold of 5 points (BigONE's example where its assets exist), ten equal ones with 2 points,
    and a weekly one. With fewer assets the same shapes in fewer assets.
    """
    three = BIGONE_EXAMPLE if set(BIGONE_EXAMPLE) <= set(assets) else tuple(assets[:3])
    weights = ("40", "30", "30") if len(three) == 3 else ("60", "40")
    ten = tuple(assets[:10])
    two = tuple(assets[:2])
    return [
        _document(f"{' / '.join(weights)}", "1200", dict(zip(three, weights, strict=True)), {"threshold": "5"}),
        _document(f"{len(ten)} equal parts", "5000", _equal(ten), {"threshold": "2"}),
        _document("Weekly", "2000", dict(zip(two, ("60", "40"), strict=True)), {"interval": "7d"}),
    ]


def deposits_for(candidates: Sequence[Candidate]) -> dict[str, Decimal]:
    """Paper money to deposit by asset: what the strategies ask for, and a tenth more to stay in the wallet.

    For Auto-Invest that is ``CYCLES`` cycles: in a longer run it also shows what it does without money.
    """
    needed: dict[str, Decimal] = {}

    def add(asset: str, amount: Decimal) -> None:
        needed[asset] = needed.get(asset, Decimal(0)) + amount

    for one in candidates:
        add(one.definition.funding_asset, one.definition.amount)
        plan = one.definition.auto_invest
        if plan is not None:
            add(plan.asset, plan.amount * CYCLES)
    return {asset: amount + amount / 10 for asset, amount in needed.items()}


def _equal(assets: Sequence[str]) -> dict[str, str]:
    share = (HUNDRED / len(assets)).quantize(Decimal("0.01"))
    weights = dict.fromkeys(assets, share)
    weights[assets[0]] += HUNDRED - share * len(assets)
    return {asset: plain(weight) for asset, weight in weights.items()}


def _document(name: str, amount: str, targets: dict[str, str], rule: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "venue": VENUE,
        "funding_asset": QUOTE,
        "amount": amount,
        "targets": targets,
        "rebalance": rule,
    }
