"""Fixtures of the auditor's tests."""

from tests.services.ledger.conftest import journal

__all__ = ["journal"]
