"""A simulated exchange for tests: in this process on a free port, or as a process of its own to be killed."""

import asyncio
import contextlib
import csv
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import ccxt.async_support as ccxt
import ccxt.pro as ccxt_pro
import pytest

from services.simulated_exchange.app import ExchangeApp, build_app
from services.simulated_exchange.settings import Settings

KEY, SECRET = "paper-key", "paper-secret"
ROOT = Path(__file__).parents[3]


class Running:
    """An exchange that answers at ``http`` and ``ws``."""

    def __init__(self, port: int, app: ExchangeApp | None = None) -> None:
        self.port = port
        self.http = f"http://127.0.0.1:{port}"
        self.ws = f"ws://127.0.0.1:{port}"
        self._app = app

    @property
    def app(self) -> ExchangeApp:
        assert self._app is not None
        return self._app

    async def control(self, path: str, body: Mapping[str, Any] | None = None, status: int = 200) -> dict[str, Any]:
        """POST with a body, GET without one."""
        async with aiohttp.ClientSession() as session:
            method = "GET" if body is None else "POST"
            async with session.request(method, f"{self.http}/control/{path}", json=body) as response:
                answer: dict[str, Any] = await response.json()
                assert response.status == status, answer
                return answer

    async def deposit(self, asset: str, amount: str, deposit_id: str = "") -> None:
        await self.control(
            "deposits", {"id": deposit_id or f"deposit-{asset}-{amount}", "asset": asset, "amount": amount}
        )

    async def advance(self, rows: int = 1) -> dict[str, Any]:
        return await self.control("market/advance", {"rows": rows})

    def ccxt(self, key: str = KEY, secret: str = SECRET) -> Any:
        return self._point(ccxt.binance(_options(key, secret)))

    def ccxt_pro(self, key: str = KEY, secret: str = SECRET) -> Any:
        client = self._point(ccxt_pro.binance(_options(key, secret)))
        client.urls["api"]["ws"]["spot"] = f"{self.ws}/ws"
        client.urls["api"]["ws"]["ws-api"]["spot"] = f"{self.ws}/ws-api/v3"
        return client

    def _point(self, client: Any) -> Any:
        api = client.urls["api"]
        for name in ("public", "private", "v1"):
            api[name] = f"{self.http}/api/v3"
        for name in ("sapi", "sapiV2", "sapiV3"):
            api[name] = f"{self.http}/sapi/v1"
        return client


def _options(key: str, secret: str) -> dict[str, Any]:
    options = {"fetchMarkets": {"types": ["spot"]}}
    return {"apiKey": key, "secret": secret, "options": options, "enableRateLimit": False}


def settings(state_dir: Path, **fields: Any) -> Settings:
    """Paused at row 0 on a free port, unless told otherwise."""
    chosen: dict[str, Any] = {
        "exchange_port": 0,
        "exchange_state_dir": state_dir,
        "exchange_api_key": KEY,
        "exchange_api_secret": SECRET,
        "exchange_start_paused": True,
    }
    return Settings(**(chosen | fields))


@contextlib.asynccontextmanager
async def serving(state_dir: Path, **fields: Any) -> AsyncIterator[Running]:
    """An exchange in this process."""
    app = build_app(settings(state_dir, **fields))
    await app.start()
    tasks = [asyncio.ensure_future(coroutine) for coroutine in app.background()]
    try:
        yield Running(app.port, app)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await app.stop()


class ExchangeProcess:
    """An exchange as a process; ``kill`` is kill -9, ``start`` starts it again on the same port and folder."""

    def __init__(self, state_dir: Path, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.running = Running(self.port)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TRIMTAB_")},
            "TRIMTAB_EXCHANGE_PORT": str(self.port),
            "TRIMTAB_EXCHANGE_STATE_DIR": str(state_dir),
            "TRIMTAB_EXCHANGE_API_KEY": KEY,
            "TRIMTAB_EXCHANGE_API_SECRET": SECRET,
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self._spawn()
        await until(self._answers)

    def _spawn(self) -> None:
        command = [sys.executable, "-m", "services.simulated_exchange"]
        self._process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    async def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the exchange ended"
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self.running.http}/healthz") as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False


async def until(condition: Callable[[], Any], deadline_s: float = 60.0) -> None:
    """Poll a condition (plain or async) until it holds."""
    end = time.monotonic() + deadline_s
    while True:
        result = condition()
        if await result if asyncio.iscoroutine(result) else result:
            return
        assert time.monotonic() < end, "condition not met in time"
        await asyncio.sleep(0.01)


def write_prices(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    """A csv file."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def real_data(name: str) -> Path:
    """A file of recorded prices; skips the test where they are absent."""
    folder = Path(os.environ.get("TRIMTAB_TEST_DATA") or ROOT.parent / "shared" / "data")
    path = folder / name
    if not path.is_file():
        pytest.skip(f"recorded prices are absent: {name} (set TRIMTAB_TEST_DATA to their folder)")
    return path
