"""A small OpenAI-compatible server for the commands of the documentation."""

from __future__ import annotations

import json
import re
from http.server import BaseHTTPRequestHandler


class Adder(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that adds n + n, the more often rightly the smaller n is."""

    def do_GET(self) -> None:
        self.answer({"object": "list", "data": [{"id": "adder", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        n = int(re.findall(r"\d+", body["messages"][-1]["content"])[0])
        choices = [
            {
                "index": sample,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": f"Sum {sample}.\n#### {2 * n + (sample < n // 4)}"},
            }
            for sample in range(body.get("n") or 1)
        ]
        usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        self.answer({"id": "x", "object": "chat.completion", "model": "adder", "choices": choices, "usage": usage})

    def answer(self, value: object) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""
