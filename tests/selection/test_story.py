"""The whole story of docs/select_problems.md, run as it is written, with a small server of its own."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests import processes
from tests.commands import known_tokenizer
from tests.documentation.adder import Adder
from tests.selection.conftest import ROOT

PAGE = (ROOT / "docs" / "select_problems.md").read_text(encoding="utf-8")
STORY = PAGE.partition("## The whole story")[2].partition("\n## ")[0]


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Adder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def test_the_story_of_the_page_runs_as_it_is_written(tmp_path: Path, url: str) -> None:
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "hf")}
    known_tokenizer(tmp_path / "cache" / "rollout-analyzer", tmp_path / "examples" / "sample" / "tokenizer")
    (tmp_path / "bin").mkdir()
    python = f"export PATH={processes.python(tmp_path / 'bin').parent}:$PATH\nset -e\n"
    blocks = re.findall(r"```(python|sh)\n(.*?)```", STORY, re.DOTALL)
    assert [kind for kind, _ in blocks] == ["python", "sh", "python"]
    for kind, text in blocks:
        if "from datasets import" in text and importlib.util.find_spec("datasets") is None:
            continue  # make test-trainers has it
        if kind == "sh":
            shell = ["bash", "-c", python + text.replace("http://localhost:8000/v1", url)]
            done = subprocess.run(shell, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        else:
            done = processes.run(["-c", text], cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
    training, selected = pq.read_table(tmp_path / "data.parquet"), pq.read_table(tmp_path / "train.parquet")
    assert selected.schema.names[: training.num_columns] == training.schema.names
    assert selected.select(training.column_names).schema.equals(training.schema, check_metadata=True)
    assert selected["extra_info"].combine_chunks().field("index").to_pylist() == list(range(4, 32))
    assert pq.read_metadata(tmp_path / "control.parquet").num_rows == 12  # all the others
    first = pd.read_json(tmp_path / "sft.jsonl", lines=True).iloc[0]
    assert first.prompt[0]["content"].startswith("What is 4 + 4?")
    assert first.completion[0]["content"].endswith("#### 8")
