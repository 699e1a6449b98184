"""Stacks for the launcher's tests: real servers, and stand-ins for the services."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import psutil

from deploy.embedded.data_folder import Secrets
from deploy.embedded.options import StackOptions
from deploy.embedded.service_spec import Ending, Patience, ServiceSpec
from deploy.embedded.services import Ports

DUMMY = Path(__file__).resolve().parent / "dummy_service.py"

QUICK = Patience(
    probe_running_s=0.05,
    start_within_s=20.0,
    unhealthy_after_s=0.5,
    back_off_first_s=0.05,
    back_off_most_s=0.2,
    stack_ready_within_s=40.0,
    failed_starts=2,
)

Services = Callable[[StackOptions, Ports, Secrets], list[ServiceSpec]]


def dummies(extra: Mapping[str, Mapping[str, str]] | None = None, *, grace_s: float = 5.0) -> Services:
    """Stand-ins for provisioning, `ledger` and `gateway`; ``extra`` is environment by name."""

    def services(options: StackOptions, ports: Ports, secrets: Secrets) -> list[ServiceSpec]:
        provision = ServiceSpec("provision", (sys.executable, "-c", "print('done')"), after=("nats", "postgres"))
        return [provision, *(replace(_dummy(name, ports), env=_env(name, ports)) for name in ("ledger", "gateway"))]

    def _dummy(name: str, ports: Ports) -> ServiceSpec:
        return ServiceSpec(
            name=name,
            argv=(sys.executable, str(DUMMY)),
            health_url=f"http://127.0.0.1:{ports.health[name]}/healthz",
            after=("provision",),
            ending=Ending(grace_s=grace_s),
        )

    def _env(name: str, ports: Ports) -> dict[str, str]:
        return {"TRIMTAB_HEALTH_PORT": str(ports.health[name]), **(extra or {}).get(name, {})}

    return services


def is_gone(pid: int) -> bool:
    """No such process, or one that has ended and waits to be collected."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def processes_of(folder: Path) -> list[psutil.Process]:
    """Every living process that has something of the folder open, works in it or names it on its command line."""
    found = []
    for process in psutil.process_iter():
        if process.pid == os.getpid() or is_gone(process.pid):
            continue
        try:
            named = [*process.cmdline(), process.cwd(), *(file.path for file in process.open_files())]
        except psutil.Error:
            continue
        if any(str(folder) in one for one in named):
            found.append(process)
    return found
