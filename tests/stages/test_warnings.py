"""warnings: what is wrong, how much of it, and what to do, each in a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analyzer.cache.score_files import NO_ROLLOUTS
from analyzer.rollouts.dataset import Dataset
from analyzer.stages.warnings import (
    SourceReport,
    input_warnings,
    overruled_warnings,
    program_warnings,
    struct_remedy,
    uncounted_warnings,
    unmarked_warnings,
    unscored_warnings,
)

ANSWERS = {"score": 1, "value": "b", "target": "a"}


def of_column(value: Any) -> Dataset:
    """An input with this reward information."""
    return Dataset((), pa.Table.from_pylist([{"original_reward_model": value}]).schema)


@pytest.mark.parametrize(
    ("value", "shown", "path"),
    [
        (ANSWERS, "score, value, target", "original_reward_model.target"),
        (
            {"style": "rule", "ground_truth": ANSWERS},
            "score, value, target",
            "original_reward_model.ground_truth.target",
        ),
        ({"value": "b", "score": 1}, "value, score", "original_reward_model.value"),
    ],
)
def test_a_ground_truth_that_is_a_struct_is_answered_with_the_flag_that_takes_its_text(
    value: Any, shown: str, path: str
) -> None:
    said = struct_remedy(of_column(value), "original_reward_model")
    assert said is not None
    assert f"is a struct ({shown})" in said
    assert f"--columns '{{ground_truth: {path}}}'" in said


@pytest.mark.parametrize("value", ["a", {"style": "rule", "ground_truth": "a"}, {"score": 1, "target": 2}])
def test_a_ground_truth_without_a_text_to_take_has_no_such_answer(value: Any) -> None:
    assert struct_remedy(of_column(value), "original_reward_model") is None
    assert struct_remedy(of_column(value), None) is None


def test_each_status_without_a_reward_is_a_sentence_with_its_first_row_and_what_to_do() -> None:
    seen = [
        NO_ROLLOUTS._replace(failed={"timeout": (9, "too slow"), "gold_error": (3, "no number")}),
        NO_ROLLOUTS._replace(failed={"timeout": (7, "slow")}),
    ]
    sources = {str(at): SourceReport("gsm8k", "a number", one) for at, one in enumerate(seen)}
    counts = {"ok": 5, "timeout": 2, "gold_error": 1}
    late, gold = unscored_warnings(counts, sources)
    assert late.startswith("2 of 8 rollouts have no reward (timeout), left out of the means: ")
    assert late.endswith("raise --reward_timeout (row 7: slow).")
    assert gold.startswith("1 of 8 rollouts has no reward (gold_error)")
    assert gold.endswith("choose another with --reward_fn (row 3: no number).")
    assert unscored_warnings(counts, sources, "take the text")[1].endswith("take the text (row 3: no number).")
    assert unscored_warnings(counts, sources, "take the text")[0] == late
    # Rewards that came with the input are not ours to mend.
    assert all("--rescore scores every response, also what there is" in one for one in unscored_warnings(counts, {}))
    assert unscored_warnings({"ok": 5}, sources) == []


def test_programs_that_need_what_the_sandbox_does_not_give_are_counted_with_their_problems() -> None:
    texts = ['{"verdict":"refused"}', '{"verdict":"wrong"}', '{"code_verdict":"uncrossable","score":"refused"}']
    columns = pa.array(texts, pa.large_string())
    codes, extra = np.array([0, 0, 1, 1, 2], np.int32), np.array([0, 0, 0, 2, -1], np.int32)
    refused, uncrossable = program_warnings(codes, extra, columns)
    assert refused.startswith("3 programs (2 problems) count as wrong because they asked for what the sandbox refuses")
    assert uncrossable.startswith("1 program (1 problem) counts as wrong because they returned an object")
    assert program_warnings(codes, None, columns) == []
    assert program_warnings(codes, np.array([1, 1, 1, -1, -1], np.int32), columns) == []


@pytest.mark.parametrize(("replaced", "said"), [(1, "1 lone surrogate (half"), (2, "2 lone surrogates (half")])
def test_replaced_halves_of_characters_are_counted(replaced: int, said: str) -> None:
    (warning,) = input_warnings(replaced, [])
    assert warning.startswith(said)
    assert ("was replaced" in warning) == (replaced == 1)
    (kept,) = input_warnings(0, ["--reward_fn gsm8k"])
    assert "--reward_fn gsm8k was not used" in kept
    (both,) = input_warnings(0, ["--reward_fn gsm8k", "--data_source a"])
    assert "--reward_fn gsm8k and --data_source a were not used" in both


def test_data_sources_that_a_flag_overrules_are_named() -> None:
    assert overruled_warnings("a", {}) == []
    assert overruled_warnings("a", {"b": 1})[0].startswith(
        "1 rollout is of data source 'b' in the input, and scored as"
    )
    many = overruled_warnings("a", dict.fromkeys("bcdef", 2))[0]
    assert many.startswith("10 rollouts are of data source 'b', 'c', 'd', ... in the input, and scored as 'a'")


def test_tokens_that_were_not_counted_have_a_reason() -> None:
    assert uncounted_warnings("model", texts=True) == []
    assert "--model_path" in uncounted_warnings(None, texts=True)[0]
    assert "only rewards" in uncounted_warnings("model", texts=False)[0]


def test_files_of_a_store_without_marks_are_named_once() -> None:
    assert unmarked_warnings([]) == []
    (warning,) = unmarked_warnings(["s3://bucket/a.parquet", "s3://bucket/b.parquet"])
    assert "s3://bucket/a.parquet" in warning
