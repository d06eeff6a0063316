"""What the tests of selection share: training files as different people make them, and analyses of their rollouts.

verl   a chat prompt, data_source, reward_model, extra_info; written by the datasets library, with its metadata
trl    a text prompt and a solution; written by pandas, with its metadata
hf     a chat prompt and an answer; large strings and dictionaries, as polars and arrow write them
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analyzer
from analyzer.commands.parsing import from_values
from analyzer.config import SelectionSettings
from analyzer.generation import prompts, writer
from analyzer.generation.journal import Answer
from tests.grading import warm

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "examples" / "sample" / "tokenizer"
SAMPLE = ROOT / "examples" / "sample" / "rollouts.parquet"
SAMPLES = 8


class Made(NamedTuple):
    """An analysis, and the training file that its rollouts were generated for."""

    folder: Path
    training: Path
    problems: int
    rollouts: int


Make = Callable[[str], Made]


def settings(**values: Any) -> SelectionSettings:
    """Settings of select_problems, checked as flags are."""
    return from_values(SelectionSettings, values)


def training_table(origin: str, problems: int = 24) -> pa.Table:
    """Sums, in the layout and with the types and metadata of one kind of training file."""
    numbers = range(problems)
    questions = [f"What is {n} + {n}?" for n in numbers]
    chats = [[{"content": question, "role": "user"}] for question in questions]
    answers = [str(2 * n) for n in numbers]
    if origin == "trl":
        frame = pd.DataFrame({"prompt": questions, "solution": answers, "bucket": "mine", "pass_rate": 0.5})
        return pa.Table.from_pandas(frame)
    if origin == "hf":
        message = pa.struct([("role", pa.large_string()), ("content", pa.large_string())])
        columns = {
            "prompt": pa.array(chats, pa.large_list(message)),
            "answer": pa.array(answers, pa.large_string()),
            "source": pa.array(["a", "b"] * (problems // 2)).dictionary_encode(),
            "level": pa.array(numbers, pa.uint8()),
        }
        return pa.table(columns)
    reward_models = [{"ground_truth": answer, "style": "rule"} for answer in answers]
    columns = {
        "data_source": pa.array(["openai/gsm8k", "sums"] * (problems // 2)),
        "prompt": pa.array(chats),
        "reward_model": pa.array(reward_models),
        "extra_info": pa.array([{"index": n, "split": "train"} for n in numbers]),
    }
    value = {"dtype": "string", "_type": "Value"}
    features = {
        "data_source": value,
        "prompt": [{"content": value, "role": value}],
        "reward_model": {"ground_truth": value, "style": value},
        "extra_info": {"index": {"dtype": "int64", "_type": "Value"}, "split": value},
    }
    return pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def made_rollouts(training: Path, path: Path, limit: int | None = None) -> int:
    """Rollouts of a training file, written by the writer of generate_rollouts; problem n passes n % 9 times of 8."""
    data = prompts.open_data(str(training), "prompt", limit, str(path.parent / "cache"))

    def answers() -> Any:
        for n in range(data.rows):
            texts = [f"sample {s}\n#### {'right' if s < n % (SAMPLES + 1) else 'wrong'}" for s in range(SAMPLES)]
            tokens: list[int | None] = [10 + (s * 7 + n) % 5 for s in range(SAMPLES)]
            yield Answer(n, 0, texts, [*["stop"] * (SAMPLES - 1), "length"], tokens, 5)

    return writer.write_rollouts(path, "parquet", data, answers(), writer.Sampling(0.7, 0.9, 64, "made"))


@pytest.fixture(scope="session")
def analysis_of(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Analyses by the kind of their training file, each made once."""
    known: dict[str, Made] = {}
    folder = tmp_path_factory.mktemp("analyses")

    def make(origin: str) -> Made:
        if origin not in known:
            training = folder / f"{origin}.parquet"
            pq.write_table(training_table(origin), training)
            rollouts = made_rollouts(training, folder / f"{origin}_rollouts.parquet")
            known[origin] = analyzed(folder, origin, training, rollouts)
        return known[origin]

    return make


def analyzed(folder: Path, origin: str, training: Path, rollouts: int) -> Made:
    """The analysis of rollouts in `folder`, graded by their last word."""
    (folder / "reward.py").write_text(
        "def reward(data_source, solution_str, ground_truth, extra_info=None):\n"
        "    return float(solution_str.endswith('right'))\n"
    )
    keys = {"verl": "reward_model", "trl": "solution", "hf": "answer"}
    with warm.warm_zygotes():
        analyzer.analyze(
            rollouts=folder / f"{origin}_rollouts.parquet",
            model_path=TOKENIZER,
            output_dir=folder / origin,
            cache_dir=folder / "cache",
            reward_fn=f"{folder / 'reward.py'}:reward",
            reward_fn_key=keys.get(origin, "reward_model"),
            data_source=None if origin == "verl" else "made",
            n_jobs=1,
            no_report=True,
        )
    return Made(folder / origin, training, rollouts // SAMPLES, rollouts)


@pytest.fixture(scope="session")
def sample_analysis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The analysis of the embedded sample: 200 problems, 8 rollouts each."""
    folder = tmp_path_factory.mktemp("sample")
    analyzer.analyze(
        rollouts=SAMPLE, model_path=TOKENIZER, output_dir=folder / "out", cache_dir=folder / "cache", n_jobs=1
    )
    return folder / "out"


def passes_of(table: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Passes of each problem of problem_metrics.parquet, in plain pandas."""
    return (table["pass_rate"].fillna(0) * table["num_scored"]).round().astype(int).to_numpy()
