"""The server's users and their rights, from ``shared.contracts.access``, as a file for nats-server."""

from collections.abc import Iterable

from shared.contracts import catalogue
from shared.contracts.access import (
    AUDITOR,
    OPERATOR,
    SERVICES,
    Permissions,
    auditor_calls,
    auditor_subjects,
    permissions_of,
)

LOGINS = (*(service.name for service in SERVICES), AUDITOR)
"""Who logs in besides the operator."""

_HEAD = """# Generated from shared/contracts/access.py by `just docs`: change it there.
#
# Passwords come from the environment. What is not allowed here is refused and told in the server's log.
"""


def password_variable(login: str) -> str:
    """The environment variable the server takes a user's password from."""
    return "TRIMTAB_NATS_PASSWORD" if login == OPERATOR else f"TRIMTAB_NATS_PASSWORD_{login.upper()}"


def users_conf() -> str:
    """The text of ``deploy/nats/users.conf``."""
    audited = (Permissions(auditor_calls(), (), ("_INBOX.>", *auditor_subjects())),)
    users = [_user(OPERATOR), *(_user(service.name, permissions_of(service)) for service in SERVICES)]
    lines = [
        _HEAD,
        "accounts {",
        "  TRIMTAB {",
        "    jetstream: enabled",
        "    users: [",
        *users,
        "    ]",
        "    exports: [",
        *(f"      {{ service: {_quoted(call)}, response: stream, accounts: [AUDIT] }}" for call in auditor_calls()),
        *(f"      {{ stream: {_quoted(subject)}, accounts: [AUDIT] }}" for subject in auditor_subjects()),
        "    ]",
        "  }",
        f"  # Reads of {', '.join(catalogue.AUDIT_STREAMS)}; nothing else of the other account exists here.",
        "  AUDIT {",
        "    users: [",
        _user(AUDITOR, *audited),
        "    ]",
        "    imports: [",
        *(f"      {{ service: {{ account: TRIMTAB, subject: {_quoted(call)} }} }}" for call in auditor_calls()),
        *(f"      {{ stream: {{ account: TRIMTAB, subject: {_quoted(one)} }} }}" for one in auditor_subjects()),
        "    ]",
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _user(name: str, rights: Permissions | None = None) -> str:
    login = f"user: {name}, password: ${password_variable(name)}"
    if rights is None:
        return f"      {{ {login} }}"
    return "\n".join(
        [
            f"      {{ {login}, permissions: {{",
            f"          publish: {{ allow: {_listed(rights.publish)}",
            f"                     deny: {_listed(rights.publish_denied)} }}",
            f"          subscribe: {{ allow: {_listed(rights.subscribe)} }}",
            "      } }",
        ]
    )


def _listed(subjects: Iterable[str]) -> str:
    inside = "".join(f"\n            {_quoted(subject)}" for subject in subjects)
    return f"[{inside} ]" if inside else "[]"


def _quoted(text: str) -> str:
    return f'"{text}"'
