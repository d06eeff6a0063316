"""docs/input_formats.md: every command on it runs as it is written, on files of our own making."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from analyzer import dialects
from analyzer.commands import analyze_rollouts as cli
from tests.commands import ROOT, TOKENIZER
from tests.dialects import layouts
from tests.dialects.layouts import CASES, RATES

PAGE = ROOT / "docs" / "input_formats.md"
COMMAND = "python scripts/analyze_rollouts.py "


def own_layout(folder: Path) -> None:
    rows = [
        {"question": r.prompt, "sample": {"text": r.response}, "meta": {"gold": r.gold}, "verdict": r.reward > 0}
        for r in layouts.ROLLOUTS
    ]
    layouts.lines(folder / "rollouts.jsonl", rows)


def steps(folder: Path) -> None:
    for step in (1, 2):
        layouts.lines(folder / f"{step}.jsonl", [layouts._verl(r, step) for r in layouts.ROLLOUTS])


def rates(folder: Path) -> None:
    rows = [{"question": q, "rate": rate} for q, rate in zip(layouts.QUESTIONS, RATES, strict=True)]
    layouts.table(folder / "rates.parquet", rows)


FILES: dict[str, Callable[[Path], object]] = {
    "rollout_data": layouts.verl_rollouts,
    "rollout_data_v1": layouts.verl_rollouts_v1,
    "validation": layouts.verl_validation,
    "validation_v1": layouts.verl_validation_v1,
    "generation": layouts.verl_generation,
    "trl": layouts.trl,
    "swift": layouts.ms_swift,
    "roll": layouts.roll,
    "nemo_rl": layouts.nemo_rl,
    "gym": layouts.nemo_gym,
    "skills": layouts.nemo_skills,
    "vf": layouts.verifiers,
    "prime": layouts.prime_rl,
    "rllm": layouts.rllm,
    "rllm_eval": layouts.rllm_results,
    "traces": layouts.open_instruct,
    "filtering": layouts.open_instruct_filtering,
    "open_r1": layouts.open_r1_pass_rate,
    "reasoning": layouts.open_r1_generations,
    "openr1_math": layouts.openr1_math,
    "omr": layouts.open_math_reasoning,
    "distilabel": layouts.distilabel,
    "slime": layouts.slime,
    "areal": layouts.areal,
    "skyrl": layouts.skyrl,
    "openrlhf": layouts.openrlhf,
    "tinker": layouts.tinker,
    "lm_eval": layouts.lm_eval,
    "lighteval": layouts.lighteval,
    "inspect": layouts.inspect_eval,
    "batch": layouts.openai_batch,
    "run_batch": layouts.vllm_batch,
    "skywork": layouts.skywork_or1,
    "big_math": layouts.big_math,
    "deepscaler": layouts.deepscaler_difficulty,
    "nemotron": layouts.nemotron_blend,
    "own": layouts.ours_without_numbers,
    "own_layout": own_layout,
    "steps": steps,
    "rates": rates,
}


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
    code = cli.analyze_rollouts([*words, "--backend", "sequential"])
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
