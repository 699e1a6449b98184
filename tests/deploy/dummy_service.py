"""A stand-in for a service, run as a process: serves /healthz as its environment says.

DUMMY_UNHEALTHY_FILE   while this file exists, the answer is 503
DUMMY_GRANDCHILD_FILE  a child of its own is started and its pid written here
DUMMY_DEAF             SIGTERM is ignored
DUMMY_CRASH            it ends at once with exit code 7
"""

import http.server
import os
import signal
import subprocess
import sys
from pathlib import Path


class Page(http.server.BaseHTTPRequestHandler):
    """One page."""

    def do_GET(self) -> None:
        file = os.environ.get("DUMMY_UNHEALTHY_FILE")
        unwell = file is not None and Path(file).exists()
        self.send_response(503 if unwell else 200)
        self.end_headers()
        self.wfile.write(b'{"reasons": ["told to be unwell"]}' if unwell else b"{}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


if __name__ == "__main__":
    if "DUMMY_CRASH" in os.environ:
        sys.exit(7)
    if "DUMMY_DEAF" in os.environ:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "DUMMY_GRANDCHILD_FILE" in os.environ:
        grandchild = subprocess.Popen(["sleep", "600"])
        Path(os.environ["DUMMY_GRANDCHILD_FILE"]).write_text(str(grandchild.pid))
    sys.stdout.write("dummy is up\n")
    address = ("127.0.0.1", int(os.environ["TRIMTAB_HEALTH_PORT"]))
    http.server.ThreadingHTTPServer(address, Page).serve_forever()
