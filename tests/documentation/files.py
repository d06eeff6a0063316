"""The files that the commands of the documentation read, as the programs that write them would have left them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

import analyzer
from tests.commands import SAMPLE, TOKENIZER
from tests.dialects import layouts
from tests.dialects.layouts import RATES


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
    **{name: case.write for name, case in layouts.CASES.items()},
    "rollout_data": layouts.verl_rollouts,
    "rollout_data_0_5": layouts.verl_rollouts_0_5,
    "rollout_data_v1": layouts.verl_rollouts_v1,
    "validation": layouts.verl_validation,
    "validation_v1": layouts.verl_validation_v1,
    "generation": layouts.verl_generation,
    "swift": layouts.ms_swift,
    "gym": layouts.nemo_gym,
    "skills": layouts.nemo_skills,
    "vf": layouts.verifiers,
    "prime": layouts.prime_rl,
    "outputs": lambda folder: layouts.verifiers_traces(folder.parent),
    "rllm_eval": layouts.rllm_results,
    "traces": layouts.open_instruct,
    "filtering": layouts.open_instruct_filtering,
    "open_r1": layouts.open_r1_pass_rate,
    "reasoning": layouts.open_r1_generations,
    "omr": layouts.open_math_reasoning,
    "inspect": layouts.inspect_eval,
    "batch": layouts.openai_batch,
    "run_batch": layouts.vllm_batch,
    "skywork": layouts.skywork_or1,
    "deepscaler": layouts.deepscaler_difficulty,
    "nemotron": layouts.nemotron_blend,
    "own": layouts.ours_without_numbers,
    "own_layout": own_layout,
    "steps": steps,
    "rates": rates,
}


def for_page(page: str, folder: Path) -> None:
    """What the commands of that page (its name without .md) read, in a clone."""
    if page == "README":
        _readme(folder)
    elif page == "input_formats":
        for name, write in FILES.items():
            (folder / name).mkdir()
            write(folder / name)
        layouts.training(folder / "train.parquet")
        layouts.batch_requests(folder / "requests.jsonl")
        shutil.copytree(TOKENIZER, folder / "tokenizer")
    elif page == "report":
        _analyses(folder)
    elif page == "generate_rollouts":
        layouts.table(folder / "train.parquet", doubles())
    elif page in ("custom_rewards", "scale", "sandbox"):
        shutil.copy(SAMPLE, folder / "rollouts.parquet")


def _readme(folder: Path) -> None:
    layouts.table(folder / "data.parquet", [row | {"id": f"p-{at}"} for at, row in enumerate(doubles())])
    for step in (100, 200):
        layouts.lines(folder / "rollout_data" / f"{step}.jsonl", [layouts._verl(r, step) for r in layouts.ROLLOUTS])
    layouts.trl(folder)
    layouts.nemo_rl(folder)
    layouts.prime_rl(folder / "traces")
    layouts.openai_batch(folder)
    rows = [{"question": r.prompt, "output": r.response, "gold": r.gold} for r in layouts.ROLLOUTS]
    layouts.lines(folder / "mine.jsonl", rows)


def doubles() -> list[dict[str, object]]:
    """Training data in verl's layout for the server of adder.py."""
    return [
        {
            "data_source": "openai/gsm8k",
            "prompt": [{"role": "user", "content": f"What is {n} + {n}? End with #### and the number."}],
            "reward_model": {"style": "rule", "ground_truth": str(2 * n)},
            "extra_info": {"index": n, "split": "train"},
        }
        for n in range(40)
    ]


def _analyses(folder: Path) -> None:
    """An analysis of the sample, and one of each half of its responses as if they were those of two checkpoints."""
    sample = pq.read_table(SAMPLE)
    early = pc.less(sample["sample_idx"], 4)
    tables = {"analysis": sample, "analysis_step_100": sample.filter(early)}
    tables["analysis_step_200"] = sample.filter(pc.invert(early))
    for name, rows in tables.items():
        pq.write_table(rows, folder / f"{name}.parquet")
        analyzer.analyze(
            rollouts=folder / f"{name}.parquet",
            model_path=TOKENIZER,
            output_dir=folder / name,
            cache_dir=folder / "cache",
            n_jobs=1,
        )
