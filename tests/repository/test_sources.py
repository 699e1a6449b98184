"""Every source file keeps the rules in ``rules.py``; and each check finds what it is there for."""

from collections.abc import Callable

import pytest

from tests.repository import checks, rules

Check = Callable[[str, str], list[str]]

CHECKS: tuple[Check, ...] = (
    checks.too_long,
    checks.banned_names,
    checks.impure_core,
    checks.library_out_of_place,
    checks.foreign_service,
    checks.subscriber_out_of_place,
    checks.blocking,
    checks.tests_missing,
)


@pytest.fixture(scope="module")
def sources() -> dict[str, str]:
    """Every Python file of the repository."""
    return {checks.path_of(file): file.read_text(encoding="utf-8") for file in checks.files(".py")}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_sources_when_checked_keep_the_rule(check: Check, sources: dict[str, str]) -> None:
    wrong = [line for path, source in sources.items() for line in check(path, source)]
    assert not wrong, "\n" + "\n".join(wrong)


def test_sources_when_listed_are_all_packages_and_tests(sources: dict[str, str]) -> None:
    assert {path.split("/")[0] for path in sources} == {"services", "shared", "deploy", "tests"}
    assert len(sources) > 50


def test_texts_when_searched_hold_nothing_forbidden() -> None:
    wrong = []
    for file in checks.files(*rules.TEXT_ENDINGS):
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        wrong += checks.forbidden_text(checks.path_of(file), text)
    assert not wrong, "\n" + "\n".join(wrong)


CORE, SERVICE = "shared/core/x.py", "services/ledger/x.py"
WRONG: list[tuple[Check, str, str]] = [
    (checks.too_long, SERVICE, "\n" * 401),
    (checks.too_long, SERVICE, "def f():\n" + "    x = 1\n" * 60),
    (checks.too_long, SERVICE, "class A:\n    async def f(self):\n" + "        x = 1\n" * 60),
    (checks.banned_names, "shared/core/money_utils.py", ""),
    (checks.banned_names, "services/helpers/x.py", ""),
    (checks.banned_names, SERVICE, "class FillEvent: ..."),
    (checks.banned_names, SERVICE, "class OrderManager: ..."),
    (checks.impure_core, CORE, "import asyncpg"),
    (checks.impure_core, CORE, "from pydantic import BaseModel"),
    (checks.impure_core, CORE, "from shared.contracts import wire"),
    (checks.impure_core, CORE, "import time"),
    (checks.impure_core, CORE, "from os import environ"),
    (checks.impure_core, CORE, "import logging"),
    (checks.impure_core, CORE, "from datetime import datetime\ndatetime.now()"),
    (checks.impure_core, CORE, "open('x')"),
    (checks.impure_core, "shared/core/time_zones.py", "from datetime import datetime\ndatetime.now()"),
    (checks.impure_core, CORE, "async def f(): ..."),
    (checks.impure_core, CORE, "x = 0.1"),
    (checks.impure_core, CORE, "x = float('1')"),
    (checks.library_out_of_place, SERVICE, "import asyncpg"),
    (checks.library_out_of_place, "services/ledger/adapters/files.py", "from asyncpg import Pool"),
    (checks.library_out_of_place, SERVICE, "import nats.js"),
    (checks.library_out_of_place, SERVICE, "from zoneinfo import ZoneInfo"),
    (checks.library_out_of_place, CORE, "import tzdata"),
    (checks.library_out_of_place, SERVICE, "from faststream.nats import NatsBroker"),
    (checks.library_out_of_place, "shared/venues/x.py", "import ccxt"),
    (checks.library_out_of_place, SERVICE, "def f():\n    import websockets"),
    (checks.foreign_service, SERVICE, "from services.gateway import app"),
    (checks.foreign_service, SERVICE, "from services.ledger_two import app"),
    (checks.foreign_service, SERVICE, "import deploy.provision"),
    (checks.foreign_service, "shared/messaging/x.py", "from services.ledger import app"),
    (checks.subscriber_out_of_place, SERVICE, "broker.subscriber('x')"),
    (checks.blocking, SERVICE, "import time\ntime.sleep(1)"),
    (checks.blocking, SERVICE, "from time import sleep"),
    (checks.blocking, SERVICE, "try: ...\nexcept: ..."),
    (checks.tests_missing, "tests/core/test_x.py", "def nothing(): ..."),
    (checks.tests_missing, "tests/core/x.py", "def test_x(): ..."),
    (checks.forbidden_text, "README.md", "see TODO"),
    (checks.forbidden_text, SERVICE, "raise NotImplementedError"),
    (checks.forbidden_text, SERVICE, "path = '/home/me/data'"),
    (checks.forbidden_text, "justfile", "pip install --index-url https://pypi.org/simple x"),
]


@pytest.mark.parametrize(("check", "path", "source"), WRONG, ids=lambda value: getattr(value, "__name__", None))
def test_check_when_source_breaks_the_rule_finds_it(check: Check, path: str, source: str) -> None:
    assert check(path, source)


RIGHT: list[tuple[Check, str, str]] = [
    (checks.too_long, SERVICE, "def f():\n" + "    x = 1\n" * 59),
    (checks.banned_names, "shared/contracts/wire.py", "class Message: ..."),
    (checks.impure_core, CORE, "import numpy\nfrom datetime import datetime\nfrom shared.core.money import ZERO"),
    (checks.impure_core, "shared/core/certificates.py", "x = float('0.1') * 0.5"),
    (checks.impure_core, SERVICE, "import time"),
    (checks.impure_core, "shared/core/time_zones.py", "files('tzdata').joinpath('x').open('rb')"),
    (checks.library_out_of_place, "services/ledger/adapters/postgres_checks.py", "import asyncpg"),
    (checks.library_out_of_place, "services/price_feed/adapters/binance/connection.py", "import websockets"),
    (checks.foreign_service, SERVICE, "from services.ledger import app\nfrom shared.core import money"),
    (checks.subscriber_out_of_place, "shared/messaging/consuming.py", "broker.subscriber('x')"),
    (checks.blocking, "deploy/embedded/x.py", "import time\ntime.sleep(1)"),
    (checks.forbidden_text, SERVICE, "GET /api/v3/account and ./work/data and https://example.org/home/x"),
]


@pytest.mark.parametrize(("check", "path", "source"), RIGHT, ids=lambda value: getattr(value, "__name__", None))
def test_check_when_source_keeps_the_rule_is_content(check: Check, path: str, source: str) -> None:
    assert check(path, source) == []
