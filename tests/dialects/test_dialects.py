"""Every dialect: recognized by its columns, and the same rollouts whatever layout they are in."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer import dialects
from analyzer.dialects import reading, table
from analyzer.dialects.reading import Request
from analyzer.errors import InputError
from analyzer.rollouts.dataset import Reader
from analyzer.rollouts.input import Input
from analyzer.stages import read
from tests.dialects import layouts
from tests.dialects.layouts import CASES, RATES, ROLLOUTS, Case


def opened(tmp_path: Path, spec: Path, **asked: Any) -> Input:
    return read.open_rollouts(Request(str(spec), **asked), str(tmp_path / "cache"))


def rows_of(found: Input) -> list[dict[str, Any]]:
    return [row for _, batch in Reader(found.dataset.files, None).all() for row in batch.to_pylist()]


def write(tmp_path: Path, case: Case) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return case.write(folder)


def joined(tmp_path: Path, case: Case) -> dict[str, Any]:
    """What a case needs to be read at all: the training data where it has neither rewards nor ground truths."""
    needed = not case.rewards and not case.golds
    return {**dict(case.flags), **({"join": str(layouts.training(tmp_path / "train.parquet"))} if needed else {})}


@pytest.mark.parametrize("name", CASES)
def test_the_rollouts_are_the_same_in_every_layout(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    found = opened(tmp_path, write(tmp_path, case), **joined(tmp_path, case))
    rows = rows_of(found)
    groups = defaultdict(list)
    for row in rows:
        groups[row["data_idx"]].append(row)
    assert [len(group) for group in groups.values()] == [case.samples] * 4
    for group in groups.values():
        numbers = sorted(row["sample_idx"] for row in group)
        assert numbers in (list(range(case.samples)), list(range(1, case.samples + 1)))
    if case.texts:
        told = sorted((row["response"].removesuffix("<|im_end|>")) for row in rows)
        assert told == sorted(rollout.response for rollout in ROLLOUTS)
    else:
        assert all(row["response"] is None for row in rows)
        assert not found.texts
    if case.rewards:
        rates = sorted(sum(row["reward"] > 0 for row in group) / len(group) for group in groups.values())
        assert rates == sorted(RATES)
    joined_golds = case.golds or not case.rewards
    if case.texts and joined_golds and name != "ours_with_floats":
        golds = {row["response"]: gold_of(row) for row in rows}
        for rollout in ROLLOUTS:
            assert golds[rollout.response] == rollout.gold


def gold_of(row: dict[str, Any]) -> Any:
    for name in ("original_reward_model", "original_ground_truth", "answer"):
        if row.get(name) is not None:
            return row[name]["ground_truth"] if isinstance(row[name], dict) else row[name]
    raise AssertionError(f"no ground truth in {sorted(row)}")


@pytest.mark.parametrize("name", CASES)
def test_each_is_recognized_by_its_columns(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    found = reading.settle(Request(str(write(tmp_path, case)), **dict(case.flags)))
    assert found.dialect.name == case.name


def test_every_dialect_has_a_case() -> None:
    assert {case.name for case in CASES.values()} == set(dialects.names())


def test_a_file_of_ours_is_read_as_it_stands(tmp_path: Path) -> None:
    row = {"prompt": "p", "response": "r", "data_idx": 0, "sample_idx": 0, "reward": 1.0}
    path = layouts.table(tmp_path / "r.parquet", [row])
    assert reading.settle(Request(str(path))).as_is
    assert not (tmp_path / "cache" / "inputs").exists()


def test_a_repeat_reuses_the_conversion_and_another_reading_does_not(tmp_path: Path) -> None:
    path = layouts.verl_rollouts(tmp_path)
    first = opened(tmp_path, path)
    made = Path(first.dataset.files[0].path)
    stamp = made.stat().st_mtime_ns
    assert opened(tmp_path, path).dataset.files[0].path == str(made)
    assert made.stat().st_mtime_ns == stamp
    assert opened(tmp_path, path, rows="acc").reading != first.reading


def test_the_table_names_what_it_reads_and_no_column_twice() -> None:
    for dialect in table.TABLE:
        assert dialect.framework
        assert dialect.file
        assert not dialect.requires & dialect.without


def test_a_difficulty_that_is_no_share_of_the_samples_is_not_taken_for_one(tmp_path: Path) -> None:
    rows = [{"problem": str(n), "answer": "1", "difficulty": n + 0.5} for n in range(9)]  # Omni-MATH's, from 1 to 10
    with pytest.raises(InputError, match=r"difficulty of .* of 9 problems is not a share of 128 samples"):
        opened(tmp_path, layouts.table(tmp_path / "train.parquet", rows))


def test_a_notice_says_what_a_column_of_counts_is_taken_for(tmp_path: Path) -> None:
    rows = [{"problem": str(n), "answer": "1", "difficulty": 25.0 * (n % 5)} for n in range(9)]  # may be anything
    found = opened(tmp_path, layouts.table(tmp_path / "train.parquet", rows))
    assert found.notes[0].startswith("read as DeepScaleR difficulty")
    taken = "difficulty is taken for the percentage of samples that fail: read as 128 rollouts of each problem"
    assert found.notes[1].startswith(taken)


def test_a_generation_may_be_a_text_or_a_list_of_texts(tmp_path: Path) -> None:
    rows = [{"instruction": r.prompt, "generation": r.response, "answer": r.gold} for r in ROLLOUTS]
    found = rows_of(opened(tmp_path, layouts.table(tmp_path / "train.parquet", rows)))
    assert [row["response"] for row in found] == [r.response for r in ROLLOUTS]
    assert [row["sample_idx"] for row in found] == [r.sample for r in ROLLOUTS]


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)


@st.composite
def verl_rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows that parquet can hold: all values of a column are of one type."""
    chats = st.lists(st.fixed_dictionaries({"role": texts, "content": texts}), max_size=2)
    prompts = draw(st.sampled_from([texts, chats]))
    golds = draw(st.sampled_from([texts, st.integers(-9, 9), st.lists(texts, max_size=2)]))
    row = st.fixed_dictionaries(
        {
            "input": prompts,
            "output": texts,
            "gts": st.none() | golds,
            "score": st.floats(0, 1) | st.none(),
            "step": st.just(1),
            "acc": st.booleans(),
        }
    )
    return draw(st.lists(row, min_size=1, max_size=6))


@given(verl_rows())
def test_jsonl_and_parquet_give_equal_rows(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        one = opened(Path(folder), layouts.lines(Path(folder) / "a" / "1.jsonl", rows))
        other = opened(Path(folder), layouts.table(Path(folder) / "b" / "1.parquet", rows))
        assert rows_of(one) == rows_of(other)
