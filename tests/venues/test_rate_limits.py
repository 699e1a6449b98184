"""The request budget against a venue that counts, refuses and bans: never a ban, and never a word during one."""

import random
from collections import deque

import pytest

from services.simulated_exchange.binance.rate_gate import RateGate, RateLimitedError, RateRules
from shared.venues.dialects import BINANCE_RATES
from shared.venues.rate_limits import Cost, RateBudget, RateLimits

ORDER, LOOK_UP, READ = "POST /api/v3/order", "GET /api/v3/order", "GET /api/v3/account"
LIMITS = RateLimits(600, 10, 1_000, costs=BINANCE_RATES.costs)
MINUTE_MS = 60_000
NOW = 30_000_000 * MINUTE_MS


def used_up(budget: RateBudget, call: str, now_ms: int) -> int:
    """How many calls go out at once before one has to wait."""
    count = 0
    while not budget.wait_ms(call, now_ms):
        budget.take(call, now_ms)
        count += 1
        assert count < 10_000
    return count


def test_weight_when_used_up_by_reads_leaves_a_reserve_to_look_up_orders() -> None:
    budget = RateBudget(LIMITS)
    assert used_up(budget, READ, NOW) == 480 // 20
    assert budget.wait_ms(ORDER, NOW) == MINUTE_MS
    assert used_up(budget, LOOK_UP, NOW + 1_000) == 120 // 4
    assert budget.wait_ms(LOOK_UP, NOW + 1_000) == MINUTE_MS - 1_000
    assert budget.wait_ms(READ, NOW + MINUTE_MS) == 0


def test_orders_when_used_up_wait_for_the_next_ten_seconds_and_for_the_day() -> None:
    budget = RateBudget(RateLimits(600_000, 10, 30, costs=BINANCE_RATES.costs))
    assert used_up(budget, ORDER, NOW) == 9
    assert budget.wait_ms(ORDER, NOW + 4_000) == 6_000
    assert budget.wait_ms(LOOK_UP, NOW) == 0
    assert used_up(budget, ORDER, NOW + 10_000) == 9
    assert used_up(budget, ORDER, NOW + 20_000) == 9
    day_ms = 86_400_000
    assert budget.wait_ms(ORDER, NOW + 30_000) == day_ms - (NOW + 30_000) % day_ms


def test_count_of_the_venue_when_higher_is_believed_and_when_lower_is_not() -> None:
    budget = RateBudget(LIMITS)
    budget.observe({"x-mbx-used-weight-1m": "470", "X-MBX-ORDER-COUNT-10S": "9"}, NOW)
    assert budget.wait_ms(READ, NOW) > 0
    assert budget.wait_ms(ORDER, NOW) == 10_000
    budget.observe({"X-MBX-USED-WEIGHT-1M": "3", "X-Other": "9999"}, NOW)
    assert budget.wait_ms(READ, NOW) > 0


@pytest.mark.parametrize(
    ("status", "headers", "text", "wait_ms"),
    [
        (429, {"Retry-After": "7"}, "", 7_000),
        (429, {}, "", MINUTE_MS - 5_000),
        (418, {"retry-after": "300"}, "", 300_000),
        (418, {}, "no word", 120_000),
        (418, {}, f"IP banned until {NOW + 905_000}. Please", 900_000),
        (418, {"Retry-After": "60"}, f"IP banned until {NOW + 905_000}.", 900_000),
        (400, {"Retry-After": "60"}, "", 0),
        (503, {}, "", 0),
    ],
)
def test_refusal_when_it_comes_silences_everything_until_the_stated_end(
    status: int, headers: dict[str, str], text: str, wait_ms: int
) -> None:
    budget, now_ms = RateBudget(LIMITS), NOW + 5_000
    assert budget.refused(status, headers, text, now_ms) is (wait_ms > 0)
    for call in (ORDER, LOOK_UP, READ, "GET /new"):
        assert budget.wait_ms(call, now_ms) == wait_ms
        assert budget.wait_ms(call, now_ms + wait_ms) == 0
    budget.stay_silent(NOW)
    assert budget.wait_ms(READ, now_ms) == wait_ms


def test_limits_when_the_venue_lists_others_are_those() -> None:
    budget = RateBudget(LIMITS)
    budget.learn(RateRules(weight_per_minute=60_000, orders_per_10s=7).listed())
    assert used_up(budget, ORDER, NOW) == 6
    assert used_up(budget, READ, NOW) > 1_000
    budget.learn([{"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": "many"}, {}])
    assert budget.wait_ms(ORDER, NOW) > 0


def test_call_when_it_costs_more_than_there_ever_is_goes_alone() -> None:
    budget = RateBudget(RateLimits(10, 10, 10, costs={"GET /big": Cost(50)}))
    assert used_up(budget, "GET /big", NOW) == 1


@pytest.mark.parametrize("skew_ms", [0, 1_500, -1_500])
def test_day_when_ten_times_too_much_is_wanted_ends_without_a_ban(skew_ms: int) -> None:
    """24 hours in which ten times the limit is wanted, replies take 100 ms, and the venue's clock is off."""
    chosen = random.Random(7)
    gate = RateGate(RateRules(600, 10, 1_000))
    budget = RateBudget(LIMITS)
    replies: deque[tuple[int, dict[str, str], int]] = deque()
    now_ms, end_ms, done = NOW, NOW + 24 * 60 * MINUTE_MS, 0
    while now_ms < end_ms:
        now_ms += 150
        while replies and replies[0][0] <= now_ms:
            at_ms, headers, status = replies.popleft()
            budget.observe(headers, at_ms)
            budget.refused(status, headers, "", at_ms)
        call = chosen.choice((ORDER, READ, LOOK_UP, READ))
        if budget.wait_ms(call, now_ms):
            continue
        budget.take(call, now_ms)
        done += 1
        replies.append((now_ms + 100, *_answer(gate, call, now_ms + skew_ms)))
    assert gate.counts.bans == 0
    assert gate.counts.while_banned == 0
    assert gate.counts.refused == 0 or skew_ms
    assert gate.counts.refused <= done / 1_000
    assert done > 20_000, "hardly anything was let through: the budget is too narrow"


def _answer(gate: RateGate, call: str, now_ms: int) -> tuple[dict[str, str], int]:
    try:
        gate.admit("address", BINANCE_RATES.cost(call).weight, now_ms)
        headers = gate.admit_order("address", "key", now_ms) if call == ORDER else {}
    except RateLimitedError as limited:
        return {"Retry-After": str(limited.retry_after_s)}, limited.status
    return headers | {"X-MBX-USED-WEIGHT-1M": str(gate.weight_used("address", now_ms))}, 200


def test_venue_when_a_client_goes_on_after_refusals_bans_it_longer_each_time() -> None:
    gate = RateGate(RateRules(10, patience=2))
    statuses = []
    for _ in range(14):
        try:
            gate.admit("address", 1, NOW)
            statuses.append(200)
        except RateLimitedError as limited:
            statuses.append(limited.status)
    assert statuses == [200] * 10 + [429, 429, 418, 418]
    assert gate.counts.while_banned == 1
    gate.admit("another", 1, NOW)
    gate.admit("address", 1, NOW + 120_000)
