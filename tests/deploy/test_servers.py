"""The fixtures themselves: what every other test stands on."""

import asyncpg
import nats

from deploy.embedded.nats_server import USER
from deploy.provision import provision_streams
from shared.contracts.catalogue import STREAMS
from tests.guarded_nats import PASSWORD, guarded_nats
from tests.servers import EmbeddedNats, EmbeddedPostgres, NatsServer


async def test_nats_server_when_asked_has_jetstream(nats_server: NatsServer) -> None:
    client = await nats.connect(nats_server.url)
    try:
        assert (await client.jetstream().account_info()).memory >= 0
    finally:
        await client.close()


async def test_fresh_nats_when_killed_and_restarted_keeps_its_messages(fresh_nats: EmbeddedNats) -> None:
    client = await nats.connect(fresh_nats.url)
    stream = client.jetstream()
    await stream.add_stream(name="kept", subjects=["kept"])
    await stream.publish("kept", b"1")
    await client.close()
    fresh_nats.kill()
    fresh_nats.restart()
    client = await nats.connect(fresh_nats.url)
    try:
        assert (await client.jetstream().get_msg("kept", 1)).data == b"1"
    finally:
        await client.close()


async def test_postgres_dsn_when_used_twice_gives_databases_of_their_own(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    try:
        await connection.execute("CREATE TABLE only_here (id int)")
    finally:
        await connection.close()


async def test_postgres_dsn_when_another_test_wrote_is_clean(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(postgres_dsn)
    try:
        assert await connection.fetchval("SELECT to_regclass('only_here')") is None
    finally:
        await connection.close()


async def test_fresh_postgres_when_killed_and_restarted_keeps_what_was_committed(
    fresh_postgres: EmbeddedPostgres,
) -> None:
    url = fresh_postgres.dsn_of("trimtab")
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")
    fresh_postgres.kill()
    connection.terminate()
    fresh_postgres.restart()
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval("SELECT id FROM kept") == 7
    finally:
        await connection.close()


async def test_catalogue_when_provisioned_on_the_launchers_configuration_fits_its_limits() -> None:
    server = guarded_nats()
    try:
        await provision_streams(server.url, user=USER, password=PASSWORD)
        client = await nats.connect(server.url, user=USER, password=PASSWORD)
        names = {stream.config.name for stream in await client.jetstream().streams_info()}
        await client.close()
    finally:
        server.stop()
    assert names == {stream.name for stream in STREAMS}
