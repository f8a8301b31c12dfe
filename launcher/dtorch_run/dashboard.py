"""``dtorch-run dashboard [JOB]``, and --dashboard: a web page of how a job is doing.

Python's own HTTP server does: there are two pages, for one user, on this machine alone.  Who asks must
know a token that is part of the address.  The page (dashboard.html) loads nothing from elsewhere.
"""

from __future__ import annotations

import argparse
import contextlib
import hmac
import json
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dtorch_run.options import UsageError
from dtorch_run.viewer import JobView, find

_PAGE = Path(__file__).with_name("dashboard.html")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def main(argv: Sequence[str]) -> int:
    """Serve until Ctrl-C.  UsageError where there is no such job, or no such port."""
    parser = argparse.ArgumentParser(prog="dtorch-run dashboard", description=__doc__)
    parser.add_argument(
        "job", nargs="?", help="a job's name, the begin of it, or its folder; default: the latest"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="where to listen; default: this machine alone"
    )
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    arguments = parser.parse_args(argv)
    job = find(arguments.job)
    try:
        server = Dashboard(job, arguments.host, arguments.port)
    except OSError as error:
        raise UsageError(
            f"cannot listen at {arguments.host}:{arguments.port}: {error.strerror}"
        ) from None
    print(f"dtorch-run: dashboard of {job.name}: {server.url}", flush=True)
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0


class Dashboard(ThreadingHTTPServer):
    """Serves the page of one job at `url`, which holds the token."""

    daemon_threads = True

    def __init__(self, job: JobView, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((host, port), _Handler)
        self.job = job
        self.token = secrets.token_urlsafe(16)
        self.url = f"http://{host}:{self.server_port}/?token={self.token}"

    def status(self) -> dict[str, Any]:
        """What the page shows."""
        status = self.job.ask("past")
        return {"name": self.job.name, "state": self.job.state(), "status": status}


class _Handler(BaseHTTPRequestHandler):
    server: Dashboard
    server_version, sys_version = "dtorch-run", ""
    timeout = 10  # seconds for a request to come in

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        token = parse_qs(address.query).get("token", [""])[0]
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self.send_error(HTTPStatus.FORBIDDEN, "The address that dtorch-run printed has a token")
        elif address.path == "/":
            self._answer("text/html; charset=utf-8", _PAGE.read_bytes())
        elif address.path == "/status":
            self._answer("application/json", json.dumps(self.server.status()).encode())
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is the job's, and the address has a token."""
