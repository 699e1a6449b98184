"""Data folders that are older than the logins: they get what is missing and lose nothing."""

import json
import shutil
import stat
from dataclasses import asdict
from pathlib import Path

import nats
import pytest

from deploy.embedded.data_folder import LOGINS, DataFolder
from deploy.embedded.nats_server import adopt_store
from tests.guarded_nats import PASSWORD, guarded_nats
from tests.servers import EmbeddedNats


def test_secrets_when_some_are_missing_are_completed_and_kept(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    first = folder.secrets()
    assert set(first.logins) == set(LOGINS)
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    older = asdict(first)
    del older["logins"]["nats.auditor"]
    (tmp_path / "secrets.json").write_text(json.dumps(older))
    second = folder.secrets()
    assert {name: word for name, word in second.logins.items() if name != "nats.auditor"} == older["logins"]
    assert second.logins["nats.auditor"] != first.logins["nats.auditor"]
    assert second == folder.secrets()
    oldest = {name: value for name, value in older.items() if name != "logins"}
    (tmp_path / "secrets.json").write_text(json.dumps(oldest))
    assert folder.secrets().nats_password == first.nats_password
    assert set(folder.secrets().logins) == set(LOGINS)


@pytest.mark.servers
async def test_store_when_begun_without_accounts_is_the_services(fresh_nats: EmbeddedNats) -> None:
    client = await nats.connect(fresh_nats.url)
    await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
    await client.jetstream().publish("kept", b"1")
    await client.close()
    fresh_nats.kill()
    server = guarded_nats()
    try:
        server.kill()
        store = server._folder / "store"
        shutil.rmtree(store)
        shutil.move(fresh_nats._folder / "store", store)
        adopt_store(store)
        adopt_store(store)
        server.restart()
        client = await nats.connect(server.url, user="trimtab", password=PASSWORD)
        assert (await client.jetstream().get_msg("KEPT", 1)).data == b"1"
        await client.close()
    finally:
        server.stop()
