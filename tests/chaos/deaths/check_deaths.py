"""Death at every fail point of executor and ledger; ``python -m tests.chaos.deaths.check_deaths --help``."""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from pathlib import Path

from deploy.provision import migrate
from tests.chaos.deaths import executor_stages, ledger_stages
from tests.chaos.deaths.fail_points import FailPoint, points_of
from tests.chaos.deaths.lives import Nursery
from tests.chaos.deaths.stages import Stage, until
from tests.chaos.deaths.sweep import Death, Player, Reference, deaths_of
from tests.chaos.deaths.world import World
from tests.servers import PostgresServer, execute, start_postgres
from tests.services.order_executor.rig import ExchangeProcess

TRIES = 6
"""How often a point that was passed in a rehearsal is waited for at least before it counts as not passed again."""
NOT_PASSED = (
    (
        "outbox_postgres.py",
        "enqueue",
        "",
        "neither executor nor ledger calls it: they add many events in one statement",
    ),
    ("publishing.py", "Publisher.send", "", "neither executor nor ledger sends on core NATS"),
    ("publishing.py", "Publisher.publish", "", "the ledger publishes through its outbox only"),
    ("publishing.py", "publish_stored", "asyncio.sleep", "a pause while NATS is away: nothing is half done"),
    (
        "outbox_postgres.py",
        "OutboxRelay.run",
        "asyncio.sleep(pause_s)",
        "a pause after a failure: nothing is half done",
    ),
    (
        "consuming.py",
        "_Consumption._failed",
        "self._to_dead_letters",
        "the same call as for what is unreadable, after 25 s",
    ),
    ("consuming.py", "_Consumption._take", "message.nack", "a pause while the database is away: nothing is half done"),
    ("consuming.py", "_Keepalive", "", "a word to NATS beside the handler's own work, which is died in"),
    ("ledger/adapters/postgres.py", "PostgresJournal.trouble", "", "reads for /healthz, writes nothing"),
    (
        "ledger/books.py",
        "Books._commit",
        "self._apart",
        "after a refusal by the database itself; it begins what is died in",
    ),
    ("ledger/books.py", "Books._apart", "", "after a refusal by the database itself; it begins what is died in"),
    ("ledger/books.py", "Books._commit", "asyncio.sleep", "a pause while the database is away: nothing is half done"),
    ("account_watch.py", "UserStreamWatch.run", "asyncio.TaskGroup", "runs for ever: it has no end but death"),
    ("account_watch.py", "UserStreamWatch", "asyncio.sleep", "a pause after a failure: nothing is half done"),
    ("account_watch.py", "SilenceKeeper", "asyncio.sleep", "a pause after a failure: nothing is half done"),
    ("account_watch.py", "DepositWatch.run", "", "between two looks: nothing is half done"),
    ("order_executor/app.py", "_joined", "", "runs for ever: it has no end but death"),
    ("order_executor/app.py", "Executor._until_answered", "asyncio.sleep", "a pause while the venue is away"),
    ("postgres_halts.py", "", "_cut_off_who_hangs", "ends what hangs, then begins again: see test_halts"),
    ("postgres_halts.py", "HaltStore._cut_off_who_hangs", "", "ends what hangs: one statement, see test_halts"),
    (
        "postgres_heads.py",
        "",
        "",
        "heads are signed from the journal anew, each in one transaction; no stage asks for one",
    ),
    ("postgres_log.py", "", "", "reads for proofs, and the leaves of a journal older than its tree"),
    ("ledger/proofs.py", "", "", "reads for proofs; no stage asks for one"),
    ("postgres_alarms.py", "", "", "a notification under its id, in one transaction; no stage fills a stream"),
    ("ledger/stream_alarm.py", "", "", "looks at streams and keeps nothing; no stage fills one"),
    ("halting.py", "HaltSwitch.run", "", "the guards' own halt; the transaction it makes is died in with a person's"),
    ("lease.py", "", "asyncio.sleep", "a pause between two questions: nothing is half done"),
    ("listing.py", "", "", "reads from the venue and keeps nothing"),
    ("order_executor/runner.py", "PlanRunners._run", "asyncio.sleep", "a pause after a failure: nothing is half done"),
    ("resolver.py", "Resolver._look", "asyncio.sleep", "a pause while the venue is away: nothing is half done"),
    ("late_proof.py", "", "", "asks the venue; what is found is one booking, which begins at the next start again"),
    ("postgres_reconciliation.py", "ReconciliationStore.not_booked", "", "reads for late_proof.py and keeps nothing"),
    ("ccxt_venue.py", "CcxtVenue._among_open", "", "orders of this kind never rest at the venue of the test"),
    ("ccxt_venue.py", "CcxtVenue._followed", "", "for venues whose replies carry no fills; reads and keeps nothing"),
    ("ccxt_venue.py", "CcxtVenue._found", "by_venue_id", "reads from the venue and keeps nothing"),
    ("adapters/wire.py", "Wire.turn", "", "for venues that want requests in order: waits its turn and keeps nothing"),
    ("outbox_postgres.py", "lock_outbox", "", "neither executor nor ledger calls it"),
    ("ccxt_venue.py", "CcxtVenue.cancel_order", "", "orders of this kind are never cancelled"),
    ("adapters/binance/dialect.py", "", "", "reads from the venue and keeps nothing"),
    ("adapters/wire.py", "Wire.set_clock", "", "reads the venue's clock and keeps nothing"),
    ("postgres_orders.py", "OrderStore.commit_intents", "closed", "reads why nothing was committed and keeps nothing"),
    ("postgres_orders.py", "OrderStore._count", "", "a fill of a closed plan: told in the transaction that books it"),
    ("postgres_reconciliation.py", "ReconciliationStore.tell_not_compared", "", "an alert after 20 s, one transaction"),
    ("reconciler.py", "Reconciler.run", "tell_not_compared", "an alert after 20 s, one transaction"),
    ("order_executor/resting.py", "", "", "orders that rest: the executor dies under them in test_styles"),
    ("runner.py", "PlanRunners._tend", "", "orders that rest: the executor dies under them in test_styles"),
    ("runner.py", "PlanRunners._while_resting", "", "orders that rest: the executor dies under them in test_styles"),
    ("runner.py", "PlanRunners._with_books", "", "reads the venue's book for slices and keeps nothing"),
    ("runner.py", "PlanRunners._work", "_with_books", "reads the venue's book for slices and keeps nothing"),
    ("ccxt_venue.py", "CcxtVenue.fetch_book", "", "reads the venue's book for slices and keeps nothing"),
    ("adapters/wire.py", "Wire.tell", "", "cancels what rests: the executor dies under it in test_styles"),
    ("postgres_answers.py", "", "", "reads for an answer and keeps nothing"),
    ("postgres_reservations.py", "AvailableAnswers.", "", "reads for an answer and keeps nothing"),
    ("postgres_export.py", "", "", "reads for a file that somebody asked for and keeps nothing"),
    ("ledger/export.py", "", "", "reads for a file that somebody asked for and keeps nothing"),
    ("postgres_rebuild.py", "", "", "computes into a schema that every rebuild makes anew"),
    ("postgres_projector.py", "", "", "within a step, which is one transaction and begins at its checkpoint again"),
    ("postgres_results.py", "", "", "within a step, which is one transaction and begins at its checkpoint again"),
)
"""Points that no stage need pass: end of the path, beginning of the function, part of the text, and why."""

MONEY = {"BTC": "50", "USDT": "1000000", "ADA": "100000"}
STAGES: dict[str, tuple[Stage, ...]] = {
    "order_executor": executor_stages.STAGES,
    "ledger": ledger_stages.STAGES,
}


@dataclass
class Report:
    """What a sweep has shown."""

    service: str
    points: tuple[FailPoint, ...]
    covered: set[int] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)
    missed: list[tuple[Death, int]] = field(default_factory=list)
    by_chance: list[tuple[Death, int]] = field(default_factory=list)
    late: list[tuple[Death, int]] = field(default_factory=list)
    unreached: list[FailPoint] = field(default_factory=list)
    deaths: Counter[str] = field(default_factory=Counter)
    planned: int = 0
    took_s: float = 0.0

    def add(self, death: Death, tries: int, *, has_died: bool) -> None:
        """Note a death that was tried so often, in the end with success or not."""
        if has_died:
            self.deaths[death.reference.stage.name] += 1
            self.covered.update(death.like)
            if tries > 1:
                self.late.append((death, tries))
        elif why_not(self.points[death.number]):
            self.by_chance.append((death, tries))
        else:
            self.missed.append((death, tries))

    @property
    def unexplained(self) -> list[FailPoint]:
        """Points that no stage passes and nobody has given a reason for."""
        return [point for point in self.unreached if not why_not(point)]

    @property
    def is_clean(self) -> bool:
        """Whether every death that was due was died, and ended as it should."""
        return not (self.failures or self.missed or self.unexplained)

    def __str__(self) -> str:
        by_stage = ", ".join(f"{count} in {name}" for name, count in self.deaths.most_common())
        lines = [
            f"{self.service}: {len(self.points)} points found, {len(self.covered)} died at in {self.deaths.total()} of "
            f"{self.planned} deaths ({by_stage}), {len(self.unreached)} not passed, {self.took_s:.0f} s"
        ]
        lines += [f"  not passed: {point} ({why_not(point) or 'NO REASON GIVEN'})" for point in self.unreached]
        lines += [f"  died at in the {tries}. try: {self.points[death.number]}" for death, tries in self.late]
        for death, tries in self.by_chance:
            point = self.points[death.number]
            lines.append(f"  passed by chance, again in none of {tries} tries: {point} ({why_not(point)})")
        lines += [
            f"  MISSED, not passed again in {tries} tries: {self.points[death.number]}" for death, tries in self.missed
        ]
        return "\n".join(lines + [f"  FAILED {failure}" for failure in self.failures])


def why_not(point: FailPoint) -> str:
    """Why a point need not be passed; "" when it must be."""
    for path, function, text, why in NOT_PASSED:
        if point.path.endswith(path) and point.function.startswith(function) and text in point.text:
            return why
    return ""


@asynccontextmanager
async def worlds_of(
    service: str, count: int, postgres: PostgresServer, exchange: ExchangeProcess, folder: Path
) -> AsyncIterator[list[World]]:
    """Worlds in which executor and ledger live."""
    nurseries = {name: Nursery(name, folder) for name in ("order_executor", "ledger")}
    made = []
    try:
        await asyncio.gather(*(nursery.open() for nursery in nurseries.values()))
        for number in range(count):
            name = f"deaths_{os.getpid()}_{service}_{number}"
            await execute(postgres.dsn, f"CREATE DATABASE {name}")
            await migrate(postgres.dsn_of(name))
            world = World(name, postgres.dsn_of(name), postgres.dsn, exchange, nurseries, folder)
            made.append(world)
        await asyncio.gather(*(_begin(world) for world in made))
        yield made
    finally:
        await asyncio.gather(*(world.close() for world in made))
        await asyncio.gather(*(nursery.close() for nursery in nurseries.values()))


async def _begin(world: World) -> None:
    await world.open()
    for asset, amount in MONEY.items():
        await world.exchange.deposit(asset, asset, amount)
    await world.live("ledger")
    await world.live("order_executor")
    posted = "SELECT FROM ledger.balances WHERE account = 'wallet:paper' HAVING count(*) = $1"
    await until(world, posted, len(MONEY))


async def sweep(service: str, worlds: Sequence[World], *, each: bool = False, share: int = 1, only: str = "") -> Report:
    """Rehearse every stage, then die at every point that was passed, in all worlds at once; with ``share`` n only in
    every n-th of the deaths, 0: in none.
    """
    began = time.monotonic()
    report = Report(service, points_of(service))
    references = await _rehearsed(service, worlds, only)
    deaths = deaths_of(references, each=each)
    passed = {number for reference in references for number in reference.passed}
    report.unreached = [point for number, point in enumerate(report.points) if number not in passed]
    queue = list(reversed(deaths[::share])) if share else []
    report.planned = len(queue)

    async def work(player: Player) -> None:
        while queue:
            death = queue.pop()
            try:
                tries, has_died = await _tries(player, death, references)
            except AssertionError as error:
                report.failures.append(str(error))
                continue
            report.add(death, tries, has_died=has_died)

    await asyncio.gather(*(work(Player(world, service)) for world in worlds))
    report.took_s = time.monotonic() - began
    return report


async def _rehearsed(service: str, worlds: Sequence[World], only: str) -> list[Reference]:
    """Every stage undisturbed, in the order of the list; each is rehearsed in one of the worlds."""
    stages = [stage for stage in STAGES[service] if only in {"", stage.key}]

    async def rehearse(number: int) -> list[tuple[int, Reference]]:
        player = Player(worlds[number], service)
        return [
            (place, await player.rehearse(stage)) for place, stage in list(enumerate(stages))[number :: len(worlds)]
        ]

    found = await asyncio.gather(*(rehearse(number) for number in range(len(worlds))))
    return [reference for _, reference in sorted((pair for pairs in found for pair in pairs), key=lambda pair: pair[0])]


async def _tries(player: Player, death: Death, references: Sequence[Reference]) -> tuple[int, bool]:
    """Die the death, in whichever stage that has passed the point it comes up in again: some are passed by chance of
    timing. Returns how often it was tried, at most ``TRIES`` times and once in each of these stages, and whether it
    was died.
    """
    others = [one for one in references if death.number in one.passed and one is not death.reference]
    most = max(TRIES, 1 + len(others))
    for attempt, reference in enumerate(islice(cycle([death.reference, *others]), most)):
        if await player.die(replace(death, reference=reference, attempt=attempt)):
            return attempt + 1, True
    return most, False


async def _check(arguments: argparse.Namespace) -> int:
    folder = Path(tempfile.mkdtemp(prefix="trimtab-deaths-"))
    postgres = await asyncio.to_thread(start_postgres, os.environ)
    exchange = ExchangeProcess(folder)
    failed = False
    try:
        for service in arguments.services:
            async with worlds_of(service, arguments.worlds, postgres, exchange, folder) as worlds:
                report = await sweep(service, worlds, each=arguments.each, only=arguments.only, share=arguments.share)
            print(report, flush=True)  # noqa: T201 - the report
            failed = failed or bool(report.failures or report.missed or (report.unexplained and not arguments.only))
    finally:
        exchange.process.end()
        await asyncio.to_thread(postgres.stop)
        if not failed:
            shutil.rmtree(folder)
    return int(failed)


def main() -> None:
    """Run the sweep and end with 0 when every death ended as it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", nargs="+", default=sorted(STAGES), choices=sorted(STAGES))
    parser.add_argument("--worlds", type=int, default=4, help="how many are swept at once")
    parser.add_argument("--each", action="store_true", help="die at each point, not once per breath")
    parser.add_argument("--share", type=int, default=1, help="every n-th death only; 0: only tell what is passed")
    parser.add_argument("--only", default="", help="the key of one stage")
    sys.exit(asyncio.run(_check(parser.parse_args())))


if __name__ == "__main__":
    main()
