"""merge: every score at its row, and what passes and what rollouts agree on, against plain pandas."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.errors import AnalyzerError
from analyzer.planning import sharding
from analyzer.report.analysis import Analysis
from analyzer.report.lengths import count_rollouts
from analyzer.rollouts.sizes import Sizes
from analyzer.stages import merge, read
from tests.commands import Outcome

Analyze = Callable[..., Outcome]
ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "examples" / "sample" / "rollouts.parquet"


def rollouts(path: Path, problems: dict[str, list[tuple[float | None, str | None]]]) -> Path:
    """Rollouts with rewards and answers, by data_idx: [(reward, answer), ...]."""
    rows = [
        {
            "prompt": name,
            "response": "text",
            "data_idx": name,
            "sample_idx": sample,
            "reward": reward,
            "reward_status": "timeout" if reward is None else "ok",
            "reward_answer": answer,
        }
        for name, samples in problems.items()
        for sample, (reward, answer) in enumerate(samples)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def metrics_of(outcome: Outcome) -> pd.DataFrame:
    assert outcome.code == 0, outcome.err
    return pd.read_parquet(outcome.folder / "problem_metrics.parquet").set_index("data_idx")


def test_a_reward_at_the_threshold_passes_and_one_just_below_does_not(tmp_path: Path, analyze: Analyze) -> None:
    path = rollouts(tmp_path / "r.parquet", {"a": [(0.5, None), (0.49999, None)], "b": [(0.75, None), (0.5, None)]})
    assert metrics_of(analyze(path)).pass_rate.to_dict() == {"a": 0.5, "b": 1.0}
    higher = analyze(path, pass_threshold=0.75, output_dir=tmp_path / "higher")
    assert metrics_of(higher).pass_rate.to_dict() == {"a": 0.0, "b": 0.5}


@pytest.mark.parametrize(
    ("rewards", "threshold", "passes"),
    [
        (pa.array([0.7, 0.7, 0.3], pa.float32()), 0.7, 2),  # 0.699999988
        (pa.array([0.7 + 0.2 + 0.1, 1.0, 0.9999], pa.float64()), 1, 2),  # 0.9999999999999999
        (pa.array([-0.1, -0.1, -0.1001], pa.float32()), -0.1, 2),  # -0.100000001
        (pa.array([0.0, 0.5, -1e-6], pa.float64()), 0, 2),
    ],
    ids=["32 bits", "a sum", "a penalty", "zero"],
)
def test_a_reward_that_was_rounded_down_from_the_threshold_passes(
    rewards: pa.Array, threshold: float, passes: int, tmp_path: Path, analyze: Analyze
) -> None:
    table = pa.Table.from_pylist(
        [{"prompt": "p", "response": f"r{at}", "data_idx": 0, "sample_idx": at} for at in range(3)]
    )
    pq.write_table(table.append_column("reward", rewards), tmp_path / "r.parquet")
    outcome = analyze(tmp_path / "r.parquet", pass_threshold=threshold)
    assert metrics_of(outcome).passes.tolist() == [passes]
    # The report counts for itself.
    assert Analysis(outcome.folder).threshold == threshold
    counted = Analysis(outcome.folder).rollouts
    assert counted is not None
    assert int(count_rollouts(counted, threshold).right.sum()) == passes


def test_the_majority_is_the_most_frequent_answer(tmp_path: Path, analyze: Analyze) -> None:
    """Also the one that sorts before all others, and with answers that another problem has too."""
    path = rollouts(
        tmp_path / "r.parquet",
        {
            "a": [(1.0, "0"), (1.0, "0"), (0.0, "9")],
            "b": [(0.0, "9"), (0.0, "9"), (1.0, "0")],
            "c": [(0.0, None), (0.0, None), (1.0, "5")],
            "d": [(0.0, None), (0.0, None)],
        },
    )
    found = metrics_of(analyze(path))
    assert found.majority_answer.fillna("").to_dict() == {"a": "0", "b": "9", "c": "5", "d": ""}
    assert found.distinct_answers.to_dict() == {"a": 2, "b": 2, "c": 1, "d": 0}


def test_majorities_of_the_sample_are_those_that_pandas_counts(tmp_path: Path, analyze: Analyze) -> None:
    outcome = analyze(SAMPLE)
    found = metrics_of(outcome)
    rows = pd.read_parquet(outcome.folder / "rollouts_with_rewards.parquet")
    counts = rows.dropna(subset="reward_answer").groupby(["data_idx", "reward_answer"]).size()
    assert found.distinct_answers.to_dict() == rows.groupby("data_idx").reward_answer.nunique().to_dict()
    clear = 0
    for name, of_problem in counts.groupby("data_idx"):
        top = of_problem[of_problem == of_problem.max()]
        clear += len(top) == 1
        assert found.majority_answer[name] in top.index.get_level_values("reward_answer")
    assert clear > len(found) / 2


def test_answers_counted_some_shards_at_a_time_are_those_counted_at_once(
    tmp_path: Path, analyze: Analyze, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = metrics_of(analyze(SAMPLE))
    monkeypatch.setattr(merge, "_ENOUGH_ROWS", 1)
    pd.testing.assert_frame_equal(metrics_of(analyze(SAMPLE, output_dir=tmp_path / "in_parts")), at_once)


def test_a_row_that_is_there_twice_or_not_at_all_is_a_damaged_cache(tmp_path: Path, analyze: Analyze) -> None:
    assert analyze(SAMPLE, sizes=Sizes(shard=1 << 14)).code == 0
    (folder,) = (tmp_path / "cache" / "runs").glob("*/shards")
    numbering = sharding.number_problems(read.open_files(str(SAMPLE), str(tmp_path / "cache")).dataset)
    total = len(list(folder.iterdir()))
    assert len(merge.merge_shards(str(folder), total, numbering).codes) == 1600
    with pytest.raises(AnalyzerError, match="the cache is damaged"):
        merge.merge_shards(str(folder), total - 1, numbering)
    shutil.copy(folder / "shard-000000.parquet", folder / f"shard-{total:06d}.parquet")
    with pytest.raises(AnalyzerError, match="the cache is damaged"):
        merge.merge_shards(str(folder), total + 1, numbering)


@pytest.mark.parametrize("threshold", [0.25, 0.5])
def test_what_passes_is_the_deciding_part_where_there_is_one(
    threshold: float, tmp_path: Path, analyze: Analyze
) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "p", "response": "r", "data_idx": 0, "sample_idx": at, "reward": reward, "reward_pass_value": part}
        for at, (reward, part) in enumerate([(0.9, 0.0), (0.1, 1.0), (0.3, None), (0.9, 0.3)])
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "r.parquet")
    found = metrics_of(analyze(tmp_path / "r.parquet", pass_threshold=threshold))
    assert found.pass_rate.to_dict() == {0: {0.25: 0.75, 0.5: 0.25}[threshold]}
