"""The rules in force, which of them hits a request or event, and the record of what was injected.

Same rules, seeds and order of arrival: same faults. The plan lives in memory: a restarted venue has no faults.
"""

from collections import Counter, deque
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from random import Random

from services.simulated_exchange.faults.rules import BEFORE_KINDS, EVENT_KINDS, FaultRule

LOG_LENGTH = 10_000


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """A request as rules see it: REST method and path (of websocket requests: the call's), and what it names."""

    method: str
    path: str
    symbol: str = ""
    side: str = ""
    client_order_id: str = ""
    opens_socket: bool = False


@dataclass(frozen=True, slots=True)
class EventFacts:
    """A user event as rules see it."""

    event: str
    symbol: str = ""
    side: str = ""
    client_order_id: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule that hits. ``draw`` is a number in [0, 1) that belongs to this hit."""

    rule: FaultRule
    draw: float


class _Armed:
    """A rule in force with what it has seen."""

    def __init__(self, rule_id: int, rule: FaultRule) -> None:
        self.rule_id = rule_id
        self.rule = rule
        self.matched = 0
        self.injected = 0
        self._random = Random(rule.seed)  # noqa: S311 - reproducible on purpose

    def meets(self, facts: RequestFacts | EventFacts) -> Fault | None:
        if not _matches(self.rule, facts):
            return None
        self.matched += 1
        # Drawn for every match, hit or not: the n-th match always sees the same numbers.
        chance, draw = self._random.random(), self._random.random()
        rule = self.rule
        chosen = self.matched == rule.nth if rule.nth is not None else rule.rate is None or chance < rule.rate
        if not chosen or (rule.times is not None and self.injected >= rule.times):
            return None
        return Fault(rule, draw)


def _matches(rule: FaultRule, facts: RequestFacts | EventFacts) -> bool:
    if rule.symbol not in {"", facts.symbol} or rule.side not in {"", facts.side}:
        return False
    if isinstance(facts, EventFacts):
        return rule.kind in EVENT_KINDS and rule.event in {None, facts.event}
    if rule.kind in EVENT_KINDS or (facts.opens_socket and rule.kind not in BEFORE_KINDS):
        return False
    return rule.method in {"", facts.method} and (not rule.path or fnmatchcase(facts.path, rule.path))


class FaultPlan:
    """Rules by number. The first rule in order that hits decides; every rule counts what it would have seen."""

    def __init__(self) -> None:
        self._armed: dict[int, _Armed] = {}
        self._last_id = 0
        self._injected: Counter[str] = Counter()
        self._log: deque[dict[str, object]] = deque(maxlen=LOG_LENGTH)

    def add(self, rule: FaultRule) -> int:
        """Put a rule in force; its number."""
        self._last_id += 1
        self._armed[self._last_id] = _Armed(self._last_id, rule)
        return self._last_id

    def remove(self, rule_id: int | None) -> bool:
        """End one rule, or all. The counts by kind stay. False when there is no such rule."""
        if rule_id is None:
            self._armed.clear()
            return True
        return self._armed.pop(rule_id, None) is not None

    def draw(self, facts: RequestFacts | EventFacts) -> Fault | None:
        """The fault that hits this request or event, if any; counted and logged."""
        hit: tuple[_Armed, Fault] | None = None
        for armed in self._armed.values():
            fault = armed.meets(facts)
            if fault is not None and hit is None:
                hit = armed, fault
        if hit is None:
            return None
        armed, fault = hit
        armed.injected += 1
        self._injected[fault.rule.kind.value] += 1
        self._log.append({"rule": armed.rule_id, "kind": fault.rule.kind, **asdict(facts)})
        return fault

    def view(self) -> dict[str, object]:
        """Rules with what they matched and injected, and counts by kind since the start."""
        rules = [
            {"id": armed.rule_id, "matched": armed.matched, "injected": armed.injected}
            | armed.rule.model_dump(exclude_defaults=True)
            for armed in self._armed.values()
        ]
        return {"rules": rules, "injected": dict(sorted(self._injected.items()))}

    def log(self) -> list[dict[str, object]]:
        """What was injected into what, oldest first; the latest ten thousand."""
        return list(self._log)
