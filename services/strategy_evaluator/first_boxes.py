"""Which of many strategies can be watched without a look at each: the plain cases at one moment's prices."""

from collections.abc import Iterable, Mapping

from services.strategy_evaluator.portfolios import Portfolio
from shared.core.plain_cases import PlainCase, plain_case
from shared.core.situation import Market


def plain_cases(
    portfolios: Iterable[Portfolio], markets: Mapping[str, Market | None]
) -> dict[str, dict[int, PlainCase]]:
    """By venue and slot, those of the strategies that are plain; none at a venue without a market."""
    found: dict[str, dict[int, PlainCase]] = {venue: {} for venue in markets}
    bids: dict[str, dict[str, float]] = {venue: {} for venue in markets}
    for portfolio in portfolios:
        situation = portfolio.situation()
        if situation is None:
            continue
        venue = situation.strategy.definition.venue
        market = markets.get(venue)
        if market is None:
            continue
        case = plain_case(situation, market, bids[venue])
        if case is not None:
            found[venue][portfolio.slot] = case
    return found
