"""The viewer: the report's page with all rollouts behind it, served to this machine alone.

    http://127.0.0.1:43121/?token=Jq3...      GET /          the page
                                              GET /problem   one problem: number=7 (first=64: from that rollout on)
                                              GET /response  one whole response: number=7, sample=3
                                              GET /search    numbers of the problems whose prompt holds text=...

What guards it: it listens on 127.0.0.1; every request must carry the token that was drawn at start, since other users
of the machine reach that address as well; the Host must be this machine, against names that are made to lead here; a
request that another page sent is refused by its Origin. It only reads, and only files of the analysis.
The standard library's server is enough for one reader; a web framework would be one more dependency of every user.
"""

from __future__ import annotations

import functools
import hmac
import secrets
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from analyzer.errors import AnalyzerError, ConfigError
from analyzer.report.analysis import Analysis
from analyzer.report.build import render
from analyzer.report.texts import read_problem

ADDRESS = "127.0.0.1"
_HOSTS = (ADDRESS, "localhost")  # any port: a tunnel may have another one at its near end
_HTML, _JSON, _TEXT = "text/html; charset=utf-8", "application/json", "text/plain; charset=utf-8"
_WHOLE = 1 << 40  # characters
_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",  # beside the policy in the page: there it has no effect
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Viewer(ThreadingHTTPServer):
    """A server of one analysis. `url` leads to it; `serve_forever` serves until `shutdown`, or a signal."""

    daemon_threads = True

    def __init__(self, analysis: Analysis, port: int = 0, seed: int = 42) -> None:
        """Raises InputError where the folder holds no analysis, ConfigError where the port is taken."""
        _ = analysis.summary, analysis.problems  # now, and not at the first request
        self.analysis, self.seed = analysis, seed
        self.token = secrets.token_urlsafe(24)
        self.reading = threading.Lock()  # one request reads at a time: the caches of an Analysis are not shared safely
        try:
            super().__init__((ADDRESS, port), _Request)
        except OSError as error:
            raise ConfigError(f"--port {port}: {error.strerror or error}; 0 takes a free one") from None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """The address of the page, with the token."""
        return f"http://{ADDRESS}:{self.port}/?token={self.token}"

    @functools.cached_property
    def page(self) -> bytes:
        """The page."""
        return render(self.analysis, self.seed, server=True).encode("utf-8", errors="replace")

    def answer(self, path: str, query: dict[str, str]) -> tuple[str, bytes] | None:
        """(content type, body) of what is asked; None where there is no such thing. Raises ValueError for no number."""
        if path == "/":
            return _HTML, self.page
        if path == "/search":
            return _JSON, orjson.dumps(self.analysis.search(query.get("text", "")))
        if path not in ("/problem", "/response"):
            return None
        number = int(query.get("number", ""))
        if not 0 <= number < self.analysis.problems.num_rows:
            return None
        if path == "/problem":
            text, total = read_problem(self.analysis, number, first=max(int(query.get("first", 0)), 0))
            body = text._asdict() | {"samples": [one._asdict() for one in text.samples], "total": total}
            return _JSON, orjson.dumps(body)
        place = int(query.get("sample", ""))
        text, total = read_problem(self.analysis, number, first=max(place, 0), most=1, chars=_WHOLE)
        return (_JSON, orjson.dumps({"text": text.samples[0].head})) if 0 <= place < total else None


class _Request(BaseHTTPRequestHandler):
    """One request: checked, answered by the viewer."""

    server: Viewer
    protocol_version = "HTTP/1.1"
    timeout = 60
    server_version, sys_version = "rollout-analyzer", ""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, max_num_fields=8).items()}
        if refusal := self._refusal(query.get("token", "")):
            return self._send(403, _TEXT, refusal.encode())
        try:
            with self.server.reading:
                found = self.server.answer(parts.path, query)
        except ValueError:
            return self._send(400, _TEXT, b"not a number\n")
        except AnalyzerError as error:
            return self._send(500, _TEXT, f"{error}\n".encode(errors="replace"))
        return self._send(200, *found) if found else self._send(404, _TEXT, b"there is no such thing here\n")

    def _refusal(self, token: str) -> str:
        """Why the request is not answered; "" where it is."""
        host = self.headers.get("Host", "")
        if host.rpartition(":")[0] not in _HOSTS and host not in _HOSTS:
            return "this server answers to 127.0.0.1 and localhost only\n"
        # A page of another site can have the browser send requests here; the browser then says whose page it was.
        if self.headers.get("Origin", f"http://{host}") != f"http://{host}":
            return "requests of other pages are refused\n"
        # Compared in a time that does not tell how much of a guess is right.
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            return "the token is missing or wrong: open the address that view_analysis printed\n"
        return ""

    def _send(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **_HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal shows the address alone."""
