"""A NATS server with the users and rights of the launcher's and compose's configuration; every password is known."""

import re

from deploy.embedded.nats_server import CONFIG_FILE
from deploy.nats_users import users_conf
from tests.servers import EmbeddedNats

PASSWORD = "secret"


def guarded_nats() -> EmbeddedNats:
    """The server, started, with nothing in it."""
    text = CONFIG_FILE.read_text(encoding="utf-8").replace('include "users.conf"', users_conf())
    return EmbeddedNats(re.sub(r"\$TRIMTAB_NATS_PASSWORD\w*", PASSWORD, text))
