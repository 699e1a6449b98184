"""Death before and after every await and commit of executor and ledger: always the end of an undisturbed run.

Here every sixteenth of the deaths is died, and every point must be one that is passed; ``just check-deaths`` dies them
all.
"""

from pathlib import Path

import pytest

from tests.chaos.deaths.check_deaths import sweep, worlds_of
from tests.chaos.deaths.fail_points import points_of
from tests.servers import PostgresServer
from tests.services.order_executor.rig import ExchangeProcess

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

WORLDS, SHARE = 2, 16


@pytest.mark.parametrize("service", ["ledger", "order_executor"])
async def test_service_when_it_dies_at_any_point_ends_as_if_it_had_not(
    service: str, postgres_server: PostgresServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exchange = ExchangeProcess(tmp_path)
    try:
        async with worlds_of(service, WORLDS, postgres_server, exchange, tmp_path) as worlds:
            report = await sweep(service, worlds, share=SHARE)
    finally:
        exchange.process.end()
    with capsys.disabled():
        print(f"\n{report}")  # noqa: T201 - what was not passed, and why
    assert not report.failures
    assert not report.missed
    assert not report.unexplained


def test_points_when_found_are_around_every_await_and_the_end_of_every_transaction() -> None:
    points = {str(point) for point in points_of("ledger")}
    post = "services/ledger/adapters/postgres.py"
    commits = [text for text in points if text.startswith(post) and "the end with connection.transaction()" in text]
    assert len(commits) == 4  # before and after, in two functions
    awaited = [text for text in points if text.startswith(post) and "PostgresJournal.post: before await" in text]
    assert len(awaited) == 2
