"""The launcher's parts that need no server."""

import json
import socket
from pathlib import Path

import pytest

from deploy.embedded.data_folder import DataFolder, is_same_process
from deploy.embedded.options import ExchangeOptions, StackOptions
from deploy.embedded.ports import PortClaims, free_port, is_free
from deploy.embedded.processes import bound_log, environment, tail_of
from deploy.embedded.service_spec import BackOff, Patience
from deploy.embedded.services import choose_ports, services_of


def test_back_off_when_asked_again_doubles_to_its_limit_and_starts_over_after_reset() -> None:
    back_off = BackOff(Patience())
    assert [round(back_off.next_s(), 1) for _ in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    back_off.reset()
    assert back_off.next_s() == 0.2


def test_log_when_too_large_is_moved_and_the_writer_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "one.log"
    with file.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 100)
        bound_log(file, limit_bytes=100)
        writer.write(b"new\n")
    assert file.read_bytes() == b"new\n"
    assert file.with_name("one.log.1").read_bytes() == b"old\n" * 100


def test_log_when_within_its_limit_stays(tmp_path: Path) -> None:
    file = tmp_path / "one.log"
    file.write_bytes(b"one\ntwo\n")
    bound_log(file, limit_bytes=8)
    assert tail_of(file, 1) == "two"
    assert not file.with_name("one.log.1").exists()


def test_environment_when_settings_are_set_outside_keeps_them_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_POSTGRES_DSN", "postgresql://elsewhere")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("no_proxy", "example.org")
    made = environment({"TRIMTAB_INSTANCE": "ledger"})
    assert "TRIMTAB_POSTGRES_DSN" not in made
    assert made["TRIMTAB_INSTANCE"] == "ledger"
    assert made["NO_PROXY"] == made["no_proxy"] == "example.org,127.0.0.1,localhost"


def test_free_port_when_somebody_listens_is_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(port)
        assert free_port(port) != port


def test_port_claims_when_two_launchers_choose_at_once_differ() -> None:
    usual = free_port()
    first, second = PortClaims(), PortClaims()
    try:
        assert first.choose(usual) == usual
        assert second.choose(usual) != usual
        first.release()
        assert second.choose(usual) == usual
    finally:
        first.release()
        second.release()


def test_process_when_its_number_is_used_again_is_not_the_same() -> None:
    assert not is_same_process(1, 0.0)


def test_folder_when_not_writable_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(Exception, match="cannot be used"):
        DataFolder(tmp_path / "file").acquire()


def test_services_when_built_get_only_the_settings_they_need(tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text("time,BTC\n")
    exchange = ExchangeOptions(prices_file=prices, seed=7, rows_per_second=40.0, start_paused=True)
    options = StackOptions(data_dir=tmp_path / "data", evaluators=2, exchange=exchange)
    claims = PortClaims()
    try:
        ports = choose_ports(options, claims)
    finally:
        claims.release()
    folder = DataFolder(options.data_dir)
    folder.acquire()
    secrets = folder.secrets()
    folder.release()
    specs = {spec.name: spec for spec in services_of(options, ports, secrets)}
    assert list(specs)[1:] == [
        "simulated_exchange",
        "ledger",
        "strategy_registry",
        "order_executor",
        "price_feed",
        "strategy_evaluator-1",
        "strategy_evaluator-2",
        "gateway",
    ]
    with_database = {name for name, spec in specs.items() if "TRIMTAB_POSTGRES_DSN" in spec.env}
    assert with_database == {"provision", "ledger", "strategy_registry", "order_executor"}
    with_key = {name for name, spec in specs.items() if "TRIMTAB_VENUE_API_SECRET" in spec.env}
    assert with_key == {"order_executor"}
    market = specs["simulated_exchange"].env
    assert market["TRIMTAB_EXCHANGE_PRICES_FILE"] == str(prices)
    assert (market["TRIMTAB_EXCHANGE_SEED"], market["TRIMTAB_EXCHANGE_ROWS_PER_SECOND"]) == ("7", "40.0")
    assert market["TRIMTAB_EXCHANGE_START_PAUSED"] == "true"
    assert "TRIMTAB_EXCHANGE_ROW_STEP_S" not in market
    assert json.loads(specs["gateway"].env["TRIMTAB_FAUCETS"]) == {"paper": f"http://127.0.0.1:{ports.exchange}"}
    assert specs["strategy_evaluator-2"].argv[-1] == "services.strategy_evaluator"
    assert len({spec.env["TRIMTAB_HEALTH_PORT"] for spec in specs.values() if spec.health_url}) == 8
