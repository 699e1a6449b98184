"""Requests, Auto-Invest and versions in plain words. Pure."""

from collections.abc import Mapping, Sequence

from shared.contracts.strategies import AutoInvestProgress, RequestMade, RequestStage, StrategyChanged
from shared.core.auto_invest import AutoInvestStatus
from shared.core.money import plain
from shared.core.situation import RequestKind

_STAGES: Mapping[RequestStage, str] = {
    RequestStage.FUNDING: "its money is on its way from the wallet",
    RequestStage.OPEN: "at work on it",
    RequestStage.HOLDING: "sold what was needed, waits until no plan is open",
    RequestStage.PAYING: "being paid out to the wallet",
    RequestStage.FREEING: "paid out, plans are let in again",
}
_CAUSES: Mapping[str, str] = {
    "edit": " (the targets were edited)",
    "schedule": " (Auto-Invest, scheduled)",
    "drawdown": " (Auto-Invest, after a loss)",
}
_STANDING: Mapping[str, str] = {
    "short_balance": "the wallet held too little for a cycle",
    "over_limit": "a cycle would have put in more than a strategy may hold",
    "composition_changed": "the targets were edited",
    "total_reached": "the set total has been invested",
}
_CHANGES: Mapping[str, str] = {
    "confirmed": "Created from its preview",
    "funded": "Its money came from the wallet",
    "funding_refused": "Its money was refused",
    "activated": "The first purchase was done: it is active",
    "peak_raised": "The profit reached a new peak",
    "edited": "The definition was edited",
    "paused": "Paused",
    "resumed": "Resumed",
    "rebalance_requested": "A rebalance was asked for",
    "money_added": "Money was put in, on its way from the wallet",
    "money_arrived": "Money that was put in has arrived",
    "money_refused": "Money that was to be put in was refused",
    "withdrawal_requested": "A withdrawal was asked for",
    "request_advanced": "A request went on",
    "withdrawal_paid": "Money was paid out to the wallet",
    "withdrawal_refused": "A withdrawal was refused",
    "request_done": "A request was carried out",
    "cycle_made": "A cycle of Auto-Invest was made",
    "cycle_left_out": "A cycle of Auto-Invest was left out",
    "auto_invest_paused": "Auto-Invest paused",
    "auto_invest_stopped": "Auto-Invest stopped",
    "exit_requested": "It was asked to end",
    "sealed": "It takes no more plans",
    "closed": "Closed: what it held is back in the wallet",
    "failed": "What it holds could not be returned",
}
_ABOUT_MONEY = frozenset(
    {
        "money_added",
        "money_arrived",
        "money_refused",
        "withdrawal_requested",
        "withdrawal_paid",
        "withdrawal_refused",
        "cycle_made",
    }
)
"""Changes whose inputs name an asset, with an amount or a percent of the value."""


def request_sentence(request: RequestMade, *, is_first: bool, is_paused: bool, funding_asset: str) -> str:
    """What was asked and how far it is: only the first of a strategy's requests is worked on."""
    asset = request.asset or funding_asset
    wanted = f"{plain(request.amount)} {asset}" if request.amount is not None else ""
    if request.percent is not None:
        wanted = f"{plain(request.percent)} % of the value, in {asset}"
    asked = {
        RequestKind.REBALANCE: "Rebalance to the targets",
        RequestKind.INVEST: f"Put in {wanted}",
        RequestKind.WITHDRAW: f"Withdraw {wanted}",
    }[request.kind]
    stage = _STAGES[request.stage]
    if request.stage is RequestStage.OPEN and not is_first:
        stage = "waits for what was asked before"
    elif request.stage is RequestStage.OPEN and is_paused and request.kind is not RequestKind.WITHDRAW:
        stage = "waits until the strategy is resumed"
    return f"{asked}{_CAUSES.get(request.cause, '')}: {stage}"


def auto_invest_sentence(progress: AutoInvestProgress, asset: str, *, is_paused: bool) -> str:
    """Whether it goes on, and why not."""
    if progress.status is not AutoInvestStatus.RUNNING:
        because = _STANDING.get(progress.reason, progress.reason.replace("_", " "))
        restart = "a higher total" if progress.status is AutoInvestStatus.PAUSED else "an edit of it"
        return f"{progress.status.value.capitalize()}{f': {because}' if because else ''}; {restart} starts it again"
    if progress.pending:
        return f"Cycle {progress.cycle}: its money is on its way"
    if is_paused:
        return "Waits until the strategy is resumed"
    carried = f", with {plain(progress.carried)} {asset} left from before" if progress.carried else ""
    return f"Waits for cycle {progress.cycle + 1}{carried}"


def _money_in(inputs: Mapping[str, str]) -> str:
    """How much it was about, as far as the inputs tell: what was paid rather than what was wanted."""
    asset, amount = inputs.get("asset", ""), inputs.get("paid") or inputs.get("amount", "")
    if asset and amount:
        return f": {amount} {asset}"
    return f": {inputs['percent']} % of the value, in {asset}" if asset and "percent" in inputs else ""


def change_sentence(state: StrategyChanged, fields: Sequence[str]) -> str:
    """What a version is about; ``fields``: the names of those that changed."""
    told = _CHANGES.get(state.change, state.change.replace("_", " ").capitalize())
    if state.change in _ABOUT_MONEY:
        told += _money_in(state.inputs)
    if state.change == "edited" and fields:
        parts = dict.fromkeys(field.partition(".")[0] for field in fields)
        told = f"{told}: {', '.join(part.replace('_', ' ') for part in parts)}"
    reason = state.exit_reason if state.change == "exit_requested" else state.reason
    because = _STANDING.get(reason, reason.replace("_", " "))
    return f"{told} ({because})" if because and reason != "paused_by_user" else told
