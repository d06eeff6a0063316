"""docs/input_formats.md: every command on it runs as it is written, on files of our own making."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from analyzer import dialects
from analyzer.commands import analyze_rollouts as cli
from tests.commands import ROOT, TOKENIZER
from tests.dialects import layouts
from tests.dialects.layouts import CASES, RATES
from tests.documentation.files import FILES

PAGE = ROOT / "docs" / "input_formats.md"
COMMAND = "python scripts/analyze_rollouts.py "


def commands() -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    inline = re.findall(rf"`({re.escape(COMMAND)}[^`]+)`", text)
    return inline + re.findall(rf"^    ({re.escape(COMMAND)}.+)$", text, re.MULTILINE)


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.removeprefix(COMMAND + "--rollouts "))
def test_a_command_of_the_page_runs_as_written(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = shlex.split(command.removeprefix(COMMAND))
    name = words[words.index("--rollouts") + 1].partition("/")[0]
    (tmp_path / name).mkdir()
    FILES[name](tmp_path / name)
    layouts.training(tmp_path / "train.parquet")
    layouts.batch_requests(tmp_path / "requests.jsonl")
    shutil.copytree(TOKENIZER, tmp_path / "tokenizer")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code = cli.analyze_rollouts([*words, "--backend", "sequential", "--no_report"])
    said = capsys.readouterr().err
    assert code == 0, said
    assert "read as " in said
    metrics = json.loads((tmp_path / "analysis" / "problem_metrics.json").read_bytes())
    assert sorted(problem["pass_rate"] for problem in metrics.values()) == sorted(RATES)
    table = pq.read_table(tmp_path / "analysis" / "rollouts_with_rewards.parquet")
    without = "--model_path" not in words
    assert table["response_tokens"].null_count == (table.num_rows if without else 0)


def test_every_format_is_in_the_table_of_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in dialects.names() if f"\n| {name} |" not in text] == []
    assert len(commands()) > len(CASES) - 5


def test_the_four_lines_that_make_jsonl_of_a_pickle_are_four() -> None:
    code = PAGE.read_text(encoding="utf-8").rpartition("are alike):\n\n")[2]
    assert len(code.strip().splitlines()) == 4
    compile("\n".join(line[4:] for line in code.splitlines()), "page", "exec")
