"""What a rule is said to do, against simulation: problems near the cut, and informative groups after a selection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.schema import DIFFICULTY, MADE, METRIC
from analyzer.selection import effects
from analyzer.selection.effects_block import _hundredths
from analyzer.selection.select import select
from tests.selection.conftest import settings

PROBLEMS, SAMPLES = 4000, 8


def analysis_folder(folder: Path, rates: np.ndarray[Any, Any], random: np.random.Generator) -> np.ndarray[Any, Any]:
    """An output folder of problems with these solve rates; returns the passes that were drawn."""
    passes = random.binomial(SAMPLES, rates)
    share = passes / SAMPLES
    columns = {
        "data_idx": np.arange(len(rates)),
        "pass_rate": share,
        "mean_reward": share,
        "std_reward": np.sqrt(share * (1 - share)),
        "passes": passes,
        "num_scored": np.full(len(rates), SAMPLES),
        "num_samples": np.full(len(rates), SAMPLES),
        "mean@5": np.minimum(passes, 5) / 5,
    }
    arrays = {DIFFICULTY + name: pa.array(values) for name, values in columns.items()}
    fields = [pa.field(name, values.type, metadata={MADE: METRIC}) for name, values in arrays.items()]
    prompts = pa.array(["p"] * len(rates))
    schema = pa.schema([pa.field("prompt", pa.string()), *fields])
    pq.write_table(pa.Table.from_arrays([prompts, *arrays.values()], schema=schema), folder / "problems.parquet")
    (folder / "summary.json").write_text('{"bucket_distribution": {}}')
    return passes


RATES = {
    "beta": lambda random: random.beta(0.5, 0.5, PROBLEMS),
    "two humps": lambda random: random.choice([0.1, 0.9], PROBLEMS),
    "many never solved": lambda random: np.where(random.random(PROBLEMS) < 0.4, 0.0, random.random(PROBLEMS)),
}


@pytest.mark.parametrize("shape", RATES)
def test_the_printed_effects_are_what_another_sampling_shows(tmp_path: Path, shape: str) -> None:
    random = np.random.default_rng(5)
    rates = RATES[shape](random)
    passes = analysis_folder(tmp_path, rates, random)
    found = select(settings(analysis=tmp_path, dry_run=True, where="0.2 <= pass_rate <= 0.8")).manifest
    kept = (passes >= 2) & (passes <= 6)
    leave, enter = [], []
    for _ in range(20):
        again = random.binomial(SAMPLES, rates)
        inside = (again >= 2) & (again <= 6)
        leave.append((kept & ~inside).sum())
        enter.append((~kept & inside).sum())
    said = found["another_sampling"]
    assert abs(said["would_leave"] - np.mean(leave)) < 0.02 * PROBLEMS
    assert abs(said["would_enter"] - np.mean(enter)) < 0.02 * PROBLEMS
    for group in (8, 16):
        for which, chosen in (("before", np.ones(PROBLEMS, bool)), ("after", kept)):
            p = rates[chosen]
            true = float(np.mean(1 - p**group - (1 - p) ** group))
            estimate = found["informative_groups"][group][which]
            assert abs(estimate["share"] - true) < 0.03
            assert estimate["low"] - 0.02 <= true <= estimate["high"] + 0.02


def test_what_passes_do_not_tell_is_not_estimated(tmp_path: Path) -> None:
    analysis_folder(tmp_path, np.linspace(0, 1, 50), np.random.default_rng(1))

    def said(where: str) -> Any:
        return select(settings(analysis=tmp_path, dry_run=True, where=where)).manifest["another_sampling"]

    whole = said("0 < pass_rate < 1")
    taken = select(settings(analysis=tmp_path, dry_run=True, where="0 < pass_rate < 1", take=3, nearest=0.5)).manifest
    assert taken["another_sampling"] == whole  # what --take leaves out fits the rule as well
    assert said("`mean@5` > 0.5 and pass_rate < 1") is None
    assert said("data_idx > 3") is None
    assert said("data_idx > 3 and std_reward > 0")["would_leave"] > 0
    found = select(settings(analysis=tmp_path, dry_run=True, where="pass_rate <= 1"))
    assert "about 0 of the problems that fit" in found.report  # it was "-0"


def test_graded_rewards_are_not_taken_for_passes(tmp_path: Path) -> None:
    analysis_folder(tmp_path, np.linspace(0, 1, 50), np.random.default_rng(1))
    table = pq.read_table(tmp_path / "problems.parquet")
    at = table.schema.get_field_index("difficulty_mean_reward")
    graded = table.set_column(at, table.schema.field(at), pa.array(table["difficulty_pass_rate"].to_numpy() * 0.9))
    pq.write_table(graded, tmp_path / "problems.parquet")
    (tmp_path / "summary.json").write_text(
        '{"bucket_distribution": {}, "difficulty": {"informative": {"8": {"share": 1.0}, "16": {"share": 0.999}}}}'
    )
    found = select(settings(analysis=tmp_path, dry_run=True, where="mean_reward <= 0.5"))
    assert found.manifest["another_sampling"] is None
    # It said "keeps 0 to 4 passes of 8: the same set as intellect_2", as if the mean were the pass rate.
    assert found.manifest["at_this_n"] is None
    assert "different rewards, which teach too, all problems: of 8: 1.00, of 16: >0.99" in found.report
    assert select(settings(analysis=tmp_path, dry_run=True, where="pass_rate <= 0.5")).manifest["another_sampling"]


def test_two_rewards_of_any_size_are_told_from_passes(tmp_path: Path) -> None:
    passes = analysis_folder(tmp_path, np.linspace(0, 1, 50), np.random.default_rng(1))
    table = pq.read_table(tmp_path / "problems.parquet")
    rate = passes / SAMPLES
    values = {
        "mean_reward": 2 * rate - 1,
        "std_reward": 2 * np.sqrt(rate * (1 - rate)),
        "min_reward": np.where(passes == SAMPLES, 1.0, -1.0),
        "max_reward": np.where(passes > 0, 1.0, -1.0),
    }
    kept = [name for name in table.column_names if name.removeprefix(DIFFICULTY) not in values]
    table = table.select(kept)
    for name, array in values.items():
        table = table.append_column(pa.field(DIFFICULTY + name, pa.float64(), metadata={MADE: METRIC}), pa.array(array))
    pq.write_table(table, tmp_path / "problems.parquet")
    found = select(settings(analysis=tmp_path, dry_run=True, where="mean_reward <= 0.5")).manifest
    assert found["at_this_n"]["passes_kept"] == "0 to 6"  # of rewards of 0 and 1 it would be 0 to 4
    assert found["kept"] == (passes <= 6).sum()
    by_passes = select(settings(analysis=tmp_path, dry_run=True, where="passes <= 6")).manifest
    assert found["another_sampling"] == by_passes["another_sampling"]
    assert found["different_rewards"] is None


def test_with_one_sample_a_problem_nothing_is_said_of_new_ones(tmp_path: Path) -> None:
    analysis_folder(tmp_path, np.linspace(0, 1, 40), np.random.default_rng(1))
    table = pq.read_table(tmp_path / "problems.parquet")
    once = (table["difficulty_passes"].to_numpy() > 4) * 1.0
    for name, values in (("num_scored", np.ones(40, np.int64)), ("pass_rate", once), ("mean_reward", once)):
        at = table.schema.get_field_index(f"difficulty_{name}")
        table = table.set_column(at, table.schema.field(at), pa.array(values))
    pq.write_table(table, tmp_path / "problems.parquet")
    found = select(settings(analysis=tmp_path, dry_run=True, where="pass_rate > 0"))
    assert found.manifest["informative_groups"] == {group: {"before": None, "after": None} for group in (8, 16)}
    assert found.manifest["another_sampling"] is None
    assert "most have one sample, which does not tell" in found.report
    assert "keeps 1 pass of 1" in found.report


@pytest.mark.parametrize(
    ("share", "shown"), [(0.0, "0.00"), (1.0, "1.00"), (0.9996, ">0.99"), (0.004, "<0.01"), (0.786, "0.79")]
)
def test_two_decimals_are_all_or_nothing_only_where_it_is(share: float, shown: str) -> None:
    assert _hundredths(share) == shown


def test_the_block_counts_each_reason_of_each_data_source(tmp_path: Path) -> None:
    analysis_folder(tmp_path, np.linspace(0, 1, 40), np.random.default_rng(1))
    table = pq.read_table(tmp_path / "problems.parquet")
    passes = table["difficulty_passes"].to_numpy()
    sources = pa.array(np.where(passes == 0, "never", np.where(passes < 4, "seldom", "often")))
    scored = table.set_column(
        table.schema.get_field_index("difficulty_num_scored"),
        table.schema.field("difficulty_num_scored"),
        pa.array(np.where(passes == 0, 0, SAMPLES)),
    )
    rates = pa.array(np.where(passes == 0, np.nan, passes / SAMPLES), from_pandas=True)
    at = scored.schema.get_field_index("difficulty_pass_rate")
    scored = scored.set_column(at, scored.schema.field(at), rates).append_column("data_source", sources)
    pq.write_table(scored, tmp_path / "problems.parquet")
    found = select(settings(analysis=tmp_path, dry_run=True, where="pass_rate > 0.5"))
    lines = [line.split() for line in found.report.splitlines()]
    heads = lines[next(at for at, line in enumerate(lines) if line[:2] == ["data", "source"])]
    assert heads == ["data", "source", "problems", "kept", "excluded", "unscored"]
    kept, seldom = int((passes > 4).sum()), int(((passes > 0) & (passes < 4)).sum())
    expected = {
        "never": [int((passes == 0).sum()), 0, 0, int((passes == 0).sum())],
        "often": [int((passes >= 4).sum()), kept, int((passes == 4).sum()), 0],
        "seldom": [seldom, 0, seldom, 0],
    }
    expected["all"] = [sum(column) for column in zip(*expected.values(), strict=True)]
    assert {line[0]: [*map(int, line[1:])] for line in lines if line and line[0] in expected} == expected
    assert f"Problems kept: {kept} of 40" in found.report


@pytest.mark.parametrize(
    ("kept", "shown"),
    [([0, 1, 1, 0], "1 to 2"), ([1, 0, 1, 1], "0, 2 to 3"), ([1, 0, 0, 1], "0, 3"), ([0, 0, 0, 0], "none")],
)
def test_numbers_of_passes_are_shown_as_ranges(kept: list[int], shown: str) -> None:
    assert effects._ranges(np.array(kept, bool)) == shown
