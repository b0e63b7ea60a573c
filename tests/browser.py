"""A site in a headless browser, if the machine has one: what does not fit, what is hard to read, what fails to load."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
OPTIONS = (
    *("--headless=new", "--disable-gpu", "--no-first-run", "--hide-scrollbars", "--window-size=1400,1000"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"),
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


class Handler(SimpleHTTPRequestHandler):
    """Serves a site and the page that measures it; keeps what is missing and what was measured."""

    def do_GET(self):
        if self.path in ("/measure.html", "/pages.json"):
            body = Path(__file__).with_name("pages.html").read_bytes()
            if self.path == "/pages.json":
                body = json.dumps(self.server.addresses).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html" if self.path == "/measure.html" else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            super().do_GET()

    def do_POST(self):
        self.server.measured = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        self.server.done.set()

    def log_request(self, code="-", size="-"):
        if int(code) >= 400:
            self.server.missing.append(self.path)

    def log_message(self, format, *arguments):
        """Print nothing."""


def measured(site, seconds=240):
    """What is wrong with the pages of a site, by page; and what was asked for and is not there."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site)))
    server.addresses = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    server.missing, server.measured, server.done = [], {"error": "the browser did not answer"}, threading.Event()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as profile:
        page = f"http://127.0.0.1:{server.server_port}/measure.html"
        command = [BROWSER, *OPTIONS, *root, f"--user-data-dir={profile}", page]
        browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            server.done.wait(seconds)
        finally:
            browser.terminate()
            browser.wait(20)
            server.shutdown()
            server.server_close()
    return server.measured, server.missing
