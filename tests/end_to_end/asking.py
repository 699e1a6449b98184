"""`trimtab strategy why`, as a process, about a stack of the test's own."""

import os
import subprocess
import sys

from tests.end_to_end.demo_process import REPOSITORY
from tests.end_to_end.running_stack import RunningStack


def why_command(running: RunningStack, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run it to its end."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "TRIMTAB_GATEWAY_URL": running.stack.ports.gateway_url,
        "TRIMTAB_API_TOKEN": running.stack.secrets.api_token,
    }
    return subprocess.run(
        [sys.executable, "-m", "deploy.command_line", "strategy", "why", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
