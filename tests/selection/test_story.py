"""The whole story of docs/select_problems.md, run as it is written, with a small server of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests.selection.conftest import ROOT

PAGE = (ROOT / "docs" / "select_problems.md").read_text(encoding="utf-8")
STORY = PAGE.partition("## The whole story")[2].partition("\n## ")[0]


class Answers(BaseHTTPRequestHandler):
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


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def test_the_story_of_the_page_runs_as_it_is_written(tmp_path: Path, url: str) -> None:
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "hf")}
    python = "export PATH=" + str(Path(sys.executable).parent) + ":$PATH\nset -e\n"
    blocks = re.findall(r"```(python|sh)\n(.*?)```", STORY, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["python", "sh", "python"]
    for kind, text in blocks:
        if "from datasets import" in text and importlib.util.find_spec("datasets") is None:
            continue  # make test-trainers has it
        words = [sys.executable, "-c", text]
        if kind == "sh":
            words = ["bash", "-c", python + text.replace("http://localhost:8000/v1", url)]
        done = subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
    training, selected = pq.read_table(tmp_path / "data.parquet"), pq.read_table(tmp_path / "train.parquet")
    assert selected.schema.names[: training.num_columns] == training.schema.names
    assert selected.select(training.column_names).schema.equals(training.schema, check_metadata=True)
    assert selected["extra_info"].combine_chunks().field("index").to_pylist() == list(range(4, 32))
    assert pq.read_metadata(tmp_path / "control.parquet").num_rows == 12  # all the others
    first = pd.read_json(tmp_path / "sft.jsonl", lines=True).iloc[0]
    assert first.prompt[0]["content"].startswith("What is 4 + 4?")
    assert first.completion[0]["content"].endswith("#### 8")
