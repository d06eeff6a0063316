"""Files that the frameworks' own writers made, with a known outcome: pass rates 1, 0.75, 0.25 and 0."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.commands import analyze_rollouts as cli
from tests.commands import TOKENIZER, flags
from tests.dialects.layouts import RATES

QUESTIONS = {
    "Tom has 3 apples and buys 4 more. How many apples has he?": "7",
    "A box holds 12 eggs. How many eggs are in 5 boxes?": "60",
    "What is 144 divided by 12, plus 1?": "13",
    "What is 17 * 23?": "391",
}
GSM8K = {"reward_fn": "gsm8k"}


class Shared(NamedTuple):
    """A file, what it is read as, and what its reading takes."""

    path: str
    framework: str
    flags: dict[str, Any] = {}  # noqa: RUF012  # never changed
    rewards: bool = True
    golds: bool = True
    rates: tuple[float, ...] = RATES


FILES = [
    Shared("verl_rollout_ray_trainer/1.jsonl", "verl rollouts"),
    Shared("verl_rollout_ray_trainer", "verl rollouts", {"rows": "step == 2"}),
    Shared("verl_rollout_ray_trainer", "verl rollouts", {"pool": True}),
    Shared("verl_rollout_v1", "verl v1 rollouts"),
    Shared("verl_main_generation", "verl main_generation", rewards=False),
    Shared(
        "trl_grpo/completions",
        "TRL completions",
        {"pool": True, "columns": {"reward": "accuracy_reward"}},
        rates=(0,) * 4,
    ),
    Shared("open_r1/pass_rate.parquet", "open-r1 pass rates with generations"),
    Shared("open_r1/gen", "open-r1 generations", rewards=False),
    Shared("nemo_skills", "NeMo-Skills generations"),
    Shared("openai_batch", "OpenAI or vLLM batch output", {"join": True}, rewards=False),
    Shared("vllm_run_batch/output.jsonl", "OpenAI or vLLM batch output", {"join": True}, rewards=False),
    Shared("lm_eval/fixed", "lm-eval samples", rewards=False),
    Shared("verifiers_results", "verifiers results"),
    Shared("nemo_rl/train_data_step1.jsonl", "NeMo-RL rollouts", golds=False),
    Shared("nemo_rl/train_data_step1.jsonl", "NeMo-RL rollouts", {"join": True}),
    Shared("nemo_rl/val", "NeMo-RL rollouts", golds=False),
    Shared("nemo_gym", "NeMo-Gym rollouts"),
    Shared("ms_swift", "ms-swift completions", {"columns": {"reward": "MathAccuracy"}, "rows": "step == '2'"}),
    Shared("prime_rl_traces", "prime-rl or verifiers v1 episodes", {"recursive": True}),
    Shared("skyrl/dumped_evals/global_step_5_evals", "SkyRL evaluation dumps"),
    Shared("open_instruct/run_rollouts_000000.jsonl", "open-instruct traces", golds=False),
    Shared("open_instruct/filtering", "open-instruct filtering generations", rewards=False),
    Shared("slime/samples.json", "slime rollouts"),
    Shared("tinker", "tinker-cookbook rollout summaries", golds=False),
    Shared("openrlhf", "OpenRLHF batch inference", rewards=False),
    Shared("ready_difficulty/openmathreasoning.parquet", "OpenMathReasoning", rewards=False),
    Shared("ready_difficulty/skywork.parquet", "Skywork-OR1 pass counts", golds=False, rates=(0.25, 0.5, 0.75, 1)),
]


@pytest.fixture
def analyzed(
    shared: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[[Shared, dict[str, Any]], tuple[list[float], str]]:
    """Pass rates and stderr of an analysis of a shared file."""
    train = tmp_path / "train.parquet"
    rows = [
        {"prompt": [{"role": "user", "content": question}], "reward_model": {"ground_truth": gold}, "id": f"gsm8k-{at}"}
        for at, (question, gold) in enumerate(QUESTIONS.items())
    ]
    pq.write_table(pa.Table.from_pylist(rows), train)

    def analyse(file: Shared, more: dict[str, Any]) -> tuple[list[float], str]:
        values = {**file.flags, **more, "rollouts": shared(f"dialects/{file.path}"), "output_dir": tmp_path / "out"}
        values |= {"join": train} if "join" in values else {}
        values |= {"cache_dir": tmp_path / "cache", "backend": "sequential", "outputs": "problems", "no_report": True}
        words = flags(**values, overwrite=True)
        code = cli.analyze_rollouts(words)
        said = capsys.readouterr().err
        assert code == 0, said
        metrics = json.loads((tmp_path / "out" / "problem_metrics.json").read_bytes())
        return sorted(problem["pass_rate"] for problem in metrics.values()), said

    return analyse


@pytest.mark.parametrize("file", FILES, ids=lambda file: "-".join([file.path.replace("/", "_"), *file.flags]))
def test_a_file_of_a_framework_has_the_pass_rates_that_are_known(
    file: Shared, analyzed: Callable[[Shared, dict[str, Any]], tuple[list[float], str]]
) -> None:
    rates, said = analyzed(file, {} if file.rewards else {"model_path": TOKENIZER, **GSM8K})
    assert rates == sorted(file.rates)
    assert f"read as {file.framework}: " in said
    if file.rewards and file.golds:
        rates, _ = analyzed(file, {"model_path": TOKENIZER, "rescore": True, **GSM8K})
        assert rates == sorted(file.rates)


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("verl_rollout_ray_trainer", '--rows "step == 1", or pass --pool'),
        ("trl_grpo/completions", "--columns '{reward: accuracy_reward}'"),
        ("openai_batch", "--join train.parquet"),
        ("vllm_run_batch/output.jsonl", "--join train.parquet"),
        ("prime_rl_traces", "--recursive"),
        ("lm_eval/fixed", "--data_source"),
    ],
)
def test_what_is_missing_is_one_line_with_the_remedy(
    path: str, remedy: str, shared: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = flags(rollouts=shared(f"dialects/{path}"), output_dir=tmp_path / "out", cache_dir=tmp_path / "cache")
    assert cli.analyze_rollouts(words) == 2
    [error] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert remedy in error
