"""Registry and gateway as real processes: healthy when started, gone at SIGTERM, also with an open event feed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from deploy.embedded.ports import free_port
from tests.services.strategy_registry.world import TOKEN, World

pytestmark = pytest.mark.servers


@contextmanager
def running(service: str, world: World, **settings: str) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """The service's process and the URL of its health page."""
    port = free_port()
    env = {
        "PATH": os.environ["PATH"],
        "TRIMTAB_NATS_URL": world.nats_url,
        "TRIMTAB_POSTGRES_DSN": world.dsn,
        "TRIMTAB_HEALTH_PORT": str(port),
        **settings,
    }
    process = subprocess.Popen([sys.executable, "-m", f"services.{service}"], env=env, stdout=subprocess.PIPE)
    try:
        yield process, f"http://127.0.0.1:{port}/healthz"
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=10)


def is_healthy(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def ended(process: "subprocess.Popen[bytes]") -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=15)


def test_registry_when_a_second_one_runs_beside_it_is_healthy_and_ends_on_request(world: World) -> None:
    with running("strategy_registry", world) as (process, health):
        world.until(lambda: is_healthy(health), "health", within_s=30)
        assert ended(process) == 0


def test_gateway_when_a_feed_is_open_ends_on_request(world: World) -> None:
    port = free_port()
    settings = {
        "TRIMTAB_GATEWAY_PORT": str(port),
        "TRIMTAB_API_TOKEN": TOKEN,
        "TRIMTAB_FAUCETS": '{"paper": "http://x"}',
    }
    with running("gateway", world, **settings) as (process, health):
        world.until(lambda: is_healthy(health), "health", within_s=30)
        url = f"http://127.0.0.1:{port}"
        assert is_healthy(f"{url}/healthz")
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with (
            httpx.Client(trust_env=False) as client,
            client.stream("GET", f"{url}/events", headers=headers) as feed,
        ):
            assert next(feed.iter_lines()) == ": connected"
            assert ended(process) == 0


@pytest.mark.parametrize("token", ["", "short"])
def test_gateway_when_the_token_is_weak_does_not_start(world: World, token: str) -> None:
    with running("gateway", world, TRIMTAB_API_TOKEN=token) as (process, _):
        assert process.wait(timeout=30) != 0
