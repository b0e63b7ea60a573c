"""`vifx watch`: the report of a run that is under way, as a page that keeps itself up to date."""

from __future__ import annotations

__all__ = ["serve", "watch_command"]

import http.server
import threading
from functools import partial
from http import HTTPStatus
from pathlib import Path

from vifx.cli.console import output
from vifx.cli.options import WatchOptions
from vifx.cli.parse import UsageError
from vifx.experiment.live import live_report, signature
from vifx.experiment.written import read_written

_HOST = "127.0.0.1"


def watch_command(options: WatchOptions) -> None:
    """Show a run in a browser of this machine until the command is stopped; nothing of its experiment is executed.

    Raises:
      UsageError: if it is not a run, or the port is taken.
    """
    try:
        read_written(options.directory)
        server = serve(options.directory, options.port)
    except (FileNotFoundError, ValueError) as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"--port {options.port} cannot be used ({error.strerror}); give another one") from error
    with server:
        address = f"http://{_HOST}:{server.server_port}/"
        output().print(f"{options.directory} is shown at {address} until Ctrl-C", markup=False)
        server.serve_forever()


def serve(directory: Path, port: int) -> http.server.ThreadingHTTPServer:
    """Return a server of one page on this machine alone; port 0 is any that is free."""
    server = http.server.ThreadingHTTPServer((_HOST, port), partial(_Page, _Reports(directory)))
    server.daemon_threads = True
    return server


class _Reports:
    """The report of a run, made anew when it has written something."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._lock = directory, threading.Lock()
        self._found: tuple[str, bytes] = "", b""

    def latest(self) -> tuple[str, bytes]:
        """Return the report with its tag."""
        with self._lock:
            tag = signature(self._directory)
            if tag != self._found[0]:
                self._found = tag, live_report(self._directory).encode()
            return self._found


class _Page(http.server.BaseHTTPRequestHandler):
    def __init__(self, reports: _Reports, *request: object) -> None:
        self._reports = reports
        super().__init__(*request)  # pyright: ignore[reportArgumentType]

    def do_GET(self) -> None:
        """Answer with the report, or that it is the one that is known."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        if self.path != "/" or host not in (_HOST, "localhost"):  # another name may be a stranger's page
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            tag, page = self._reports.latest()
        except (OSError, ValueError) as error:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, explain=str(error))
            return
        known = self.headers.get("If-None-Match") == tag
        self.send_response(HTTPStatus.NOT_MODIFIED if known else HTTPStatus.OK)
        self.send_header("ETag", tag)
        self.send_header("Cache-Control", "no-store")
        if not known:
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if not known:
            self.wfile.write(page)

    def log_message(self, format: str, *values: object) -> None:
        """Say nothing of requests."""
