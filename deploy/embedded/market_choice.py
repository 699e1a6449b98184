"""Which market a data folder was begun with: a paper exchange keeps its accounts for one market and refuses another.

Kept beside the data: a later start need not repeat the options, and one that contradicts them is refused at once.
"""

import json
from dataclasses import replace
from pathlib import Path

from deploy.embedded.data_folder import write_json
from deploy.embedded.options import DEFAULT_SEED, ExchangeOptions
from shared.core.errors import Refused

_ELSEWHERE = "or another folder with --data"


def chosen_market(file: Path, asked: ExchangeOptions) -> ExchangeOptions:
    """The market to run: as at the folder's first start where ``asked`` leaves it open.

    Raises Refused when ``asked`` is another kind of market or another seed, or the price file has gone. A price file
    at another place is left to the exchange, which compares the content.
    """
    try:
        kept = json.loads(file.read_text())
        prices, seed = kept["prices_file"], kept["seed"]
    except (OSError, ValueError, KeyError, TypeError):
        is_open = asked.prices_file is None and asked.seed is None
        return replace(asked, seed=DEFAULT_SEED) if is_open else asked
    if prices is None:
        if asked.prices_file is not None:
            raise Refused.one(
                "prices", asked.prices_file, f"no --prices, {_ELSEWHERE}", "this folder's market is synthetic"
            )
        if asked.seed not in (None, seed):
            raise Refused.one("seed", asked.seed, f"{seed}, {_ELSEWHERE}", "this folder's market has another seed")
        return replace(asked, seed=seed)
    if asked.seed is not None:
        raise Refused.one("seed", asked.seed, f"no --seed, {_ELSEWHERE}", f"this folder's market is {prices}")
    if asked.prices_file is None and not Path(prices).is_file():
        raise Refused.one(
            "prices", prices, f"its new place with --prices, {_ELSEWHERE}", "the folder's price file has gone"
        )
    return asked if asked.prices_file else replace(asked, prices_file=Path(prices))


def remember_market(file: Path, market: ExchangeOptions) -> None:
    """Keep what was chosen, once the exchange has accepted it."""
    prices = market.prices_file
    content = {"prices_file": None if prices is None else str(prices.expanduser().resolve()), "seed": market.seed}
    write_json(file, content, durable=True)
