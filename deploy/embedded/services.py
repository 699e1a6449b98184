"""Which processes a stack consists of: servers, provisioning, and the services with their environment."""

import json
import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy import nats_users, postgres_roles
from deploy.embedded.data_folder import Secrets
from deploy.embedded.lockstep import LOCKSTEP_SETTINGS
from deploy.embedded.nats_server import PASSWORD_VARIABLE, NatsAddress, adopt_store, nats_argv
from deploy.embedded.nats_server import USER as NATS_USER
from deploy.embedded.options import StackOptions
from deploy.embedded.ports import PortClaims
from deploy.embedded.postgres_server import (
    clear_leftovers,
    cluster_at,
    dsn,
    ensure_cluster,
    postgres_argv,
)
from deploy.embedded.service_spec import Ending, ServiceSpec

NATS_PORT = 4222
POSTGRES_PORT = 5432
EXCHANGE_PORT = 8090
VENUE = "paper"
# A paper market may pass months in a minute, and lists a coin at its first price: look often what there is.
INSTRUMENTS_REFRESH_S = 1.0
# For the same reason guards that count by the wall clock are wide here: a month of orders takes a minute, and
# prices move by days between a look at them and the order. A real venue keeps the defaults.
PAPER_GUARDS = {"TRIMTAB_GUARD_ORDERS_PER_MINUTE": "1000000", "TRIMTAB_GUARD_TRIPS_TO_HALT": "100"}


@dataclass(frozen=True, slots=True)
class Ports:
    """Every port of a stack, all on loopback; ``health`` by service name."""

    nats: int
    nats_monitoring: int
    postgres: int
    exchange: int
    gateway: int
    health: Mapping[str, int] = field(default_factory=dict)

    @property
    def exchange_url(self) -> str:
        """The simulated exchange over HTTP."""
        return f"http://127.0.0.1:{self.exchange}"

    @property
    def gateway_url(self) -> str:
        """Where a user's requests go."""
        return f"http://127.0.0.1:{self.gateway}"


def evaluator_names(options: StackOptions) -> list[str]:
    """`strategy_evaluator-1` to `-N`."""
    return [f"strategy_evaluator-{number}" for number in range(1, options.evaluators + 1)]


def service_names(options: StackOptions) -> list[str]:
    """Every service in the order in which they are listed to people."""
    singles = ["simulated_exchange", "ledger", "strategy_registry", "order_executor", "price_feed"]
    return [*singles, *evaluator_names(options), "gateway"]


def choose_ports(options: StackOptions, claims: PortClaims) -> Ports:
    """The usual ports where they are free, others where not; held in ``claims``."""
    return Ports(
        nats=claims.choose(NATS_PORT),
        nats_monitoring=claims.choose(),
        postgres=claims.choose(POSTGRES_PORT),
        exchange=claims.choose(EXCHANGE_PORT),
        gateway=claims.choose(options.gateway_port),
        health={name: claims.choose() for name in service_names(options)},
    )


def servers_of(data_dir: Path, ports: Ports, secrets: Secrets) -> list[ServiceSpec]:
    """NATS and PostgreSQL: started first, ended last (NATS, then PostgreSQL)."""
    address = NatsAddress(ports.nats, ports.nats_monitoring, data_dir / "nats")
    cluster = cluster_at(data_dir / "postgres")

    def prepare() -> None:
        ensure_cluster(cluster, secrets.postgres_password)
        clear_leftovers(cluster)

    return [
        ServiceSpec(
            name="nats",
            argv=tuple(nats_argv(address)),
            env={PASSWORD_VARIABLE: secrets.nats_password, **_passwords(secrets, "nats")},
            health_url=address.health_url,
            ending=Ending(rank=1),
            before_start=lambda: adopt_store(address.store_dir),
        ),
        ServiceSpec(
            name="postgres",
            argv=tuple(postgres_argv(cluster, ports.postgres)),
            health_url=f"postgres://127.0.0.1:{ports.postgres}",
            # SIGINT = fast shutdown: sessions are ended, the log is flushed. SIGQUIT = immediate: it replays on start.
            ending=Ending(signal.SIGINT, signal.SIGQUIT, grace_s=30.0, group=False, rank=2),
            before_start=prepare,
            account=cluster.child_options(),
        ),
    ]


def services_of(options: StackOptions, ports: Ports, secrets: Secrets) -> list[ServiceSpec]:
    """Provisioning and the services. Those that need streams and tables come after provisioning."""
    builder = _Builder(options, ports, secrets)
    provision = ServiceSpec(
        name="provision",
        argv=_module("deploy.provision"),
        env={**builder.operator(), **_passwords(secrets, "postgres")},
        after=("nats", "postgres"),
    )
    return [
        provision,
        builder.service("simulated_exchange", builder.exchange(), after=()),
        builder.service("ledger", {**builder.database("ledger"), **builder.signing()}),
        builder.service("strategy_registry", builder.database("strategy_registry")),
        builder.service(
            "order_executor", {**builder.database("order_executor"), **builder.venue(), **builder.venue_account()}
        ),
        builder.service("price_feed", builder.venue()),
        *(builder.service(name, {}, module="services.strategy_evaluator") for name in evaluator_names(options)),
        builder.service("gateway", builder.gateway()),
    ]


def _passwords(secrets: Secrets, server: str) -> dict[str, str]:
    """The passwords of a server's logins, by the variables it takes them from."""
    of = nats_users if server == "nats" else postgres_roles
    return {of.password_variable(login): secrets.logins[f"{server}.{login}"] for login in of.LOGINS}


def _module(name: str) -> tuple[str, ...]:
    # -P: a folder called `services` where the launcher was started is not taken for ours.
    return (sys.executable, "-P", "-m", name)


@dataclass(frozen=True, slots=True)
class _Builder:
    """The environment of each service, in groups of settings."""

    options: StackOptions
    ports: Ports
    secrets: Secrets

    def service(
        self,
        name: str,
        env: Mapping[str, str],
        *,
        after: Iterable[str] = ("provision", "simulated_exchange"),
        module: str | None = None,
    ) -> ServiceSpec:
        health_port = self.ports.health[name]
        module = module or f"services.{name}"
        lockstep = LOCKSTEP_SETTINGS.get(module, {}) if self.options.lockstep else {}
        return ServiceSpec(
            name=name,
            argv=_module(module),
            env={
                **self.shared(name, module.rpartition(".")[2]),
                "TRIMTAB_HEALTH_PORT": str(health_port),
                **env,
                **lockstep,
            },
            health_url=f"http://127.0.0.1:{health_port}/healthz",
            after=tuple(after),
        )

    def shared(self, name: str, service: str) -> dict[str, str]:
        """What every service is told; one that has no user of its own is told of no broker."""
        told = {"TRIMTAB_INSTANCE": name, "TRIMTAB_LOG_LEVEL": self.options.log_level}
        if service not in nats_users.LOGINS:
            return told
        return {**told, **self.nats(service, self.secrets.logins[f"nats.{service}"])}

    def nats(self, user: str, password: str) -> dict[str, str]:
        address = NatsAddress(self.ports.nats, self.ports.nats_monitoring, Path())
        return {"TRIMTAB_NATS_URL": address.url, "TRIMTAB_NATS_USER": user, "TRIMTAB_NATS_PASSWORD": password}

    def operator(self) -> dict[str, str]:
        """For provisioning, which owns the streams and the tables."""
        return {
            **self.nats(NATS_USER, self.secrets.nats_password),
            "TRIMTAB_POSTGRES_DSN": dsn(self.ports.postgres, self.secrets.postgres_password),
            "TRIMTAB_LOG_LEVEL": self.options.log_level,
        }

    def database(self, service: str) -> dict[str, str]:
        password = self.secrets.logins[f"postgres.{service}"]
        return {"TRIMTAB_POSTGRES_DSN": dsn(self.ports.postgres, password, user=postgres_roles.role_of(service))}

    def signing(self) -> dict[str, str]:
        folder = self.options.data_dir.expanduser().resolve()
        return {"TRIMTAB_LEDGER_SIGNING_KEY_FILE": str(folder / "signing-key.pem")}

    def venue(self) -> dict[str, str]:
        address = f"127.0.0.1:{self.ports.exchange}"
        return {
            "TRIMTAB_VENUE_NAME": VENUE,
            "TRIMTAB_VENUE_DIALECT": "binance",
            "TRIMTAB_VENUE_REST_URL": f"http://{address}",
            "TRIMTAB_VENUE_WS_URL": f"ws://{address}",
            "TRIMTAB_VENUE_WS_API_URL": f"ws://{address}/ws-api/v3",
        }

    def venue_account(self) -> dict[str, str]:
        return {
            "TRIMTAB_VENUE_API_KEY": self.secrets.venue_api_key,
            "TRIMTAB_VENUE_API_SECRET": self.secrets.venue_api_secret,
            "TRIMTAB_VENUE_INSTRUMENTS_REFRESH_S": str(INSTRUMENTS_REFRESH_S),
            **PAPER_GUARDS,
        }

    def gateway(self) -> dict[str, str]:
        return {
            "TRIMTAB_GATEWAY_HOST": "127.0.0.1",
            "TRIMTAB_GATEWAY_PORT": str(self.ports.gateway),
            "TRIMTAB_API_TOKEN": self.secrets.api_token,
            "TRIMTAB_FAUCETS": json.dumps({VENUE: self.ports.exchange_url}),
            "TRIMTAB_FAUCET_TOKEN": self.secrets.exchange_control_token,
        }

    def exchange(self) -> dict[str, str]:
        chosen = self.options.exchange
        prices = chosen.prices_file
        optional = {
            "TRIMTAB_EXCHANGE_PRICES_FILE": None if prices is None else str(prices.expanduser().resolve()),
            "TRIMTAB_EXCHANGE_SEED": _text(chosen.seed),
            "TRIMTAB_EXCHANGE_ROW_STEP_S": _text(chosen.row_step_s),
            "TRIMTAB_EXCHANGE_ROWS_PER_SECOND": _text(chosen.rows_per_second),
            "TRIMTAB_EXCHANGE_CROSS_PAIRS": chosen.cross_pairs,
        }
        return {
            "TRIMTAB_EXCHANGE_HOST": "127.0.0.1",
            "TRIMTAB_EXCHANGE_PORT": str(self.ports.exchange),
            "TRIMTAB_EXCHANGE_STATE_DIR": str(self.options.data_dir.expanduser().resolve() / "exchange"),
            "TRIMTAB_EXCHANGE_START_PAUSED": "true" if chosen.start_paused else "false",
            "TRIMTAB_EXCHANGE_API_KEY": self.secrets.venue_api_key,
            "TRIMTAB_EXCHANGE_API_SECRET": self.secrets.venue_api_secret,
            "TRIMTAB_EXCHANGE_CONTROL_TOKEN": self.secrets.exchange_control_token,
            **{name: value for name, value in optional.items() if value is not None},
        }


def _text(value: float | None) -> str | None:
    return None if value is None else str(value)
