"""sft, dpo and kto: which responses are taken, against plain pandas; an unscored one is never rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import analyzer
from analyzer.errors import ConfigError, InputError
from analyzer.selection.formats._responses import without_end_tokens
from analyzer.selection.select import select
from tests.selection.conftest import TOKENIZER, Make, settings


def made(analysis: Path, tmp_path: Path, kind: str, **flags: Any) -> pd.DataFrame:
    output = tmp_path / f"{kind}_{'_'.join(map(str, flags.values()))}.parquet"
    return select(settings(analysis=analysis, output=output, format=kind, **flags)).problems


def usable(analysis: Path) -> pd.DataFrame:
    """The rollouts that may be taken, in plain pandas: scored, not cut off, distinct, by (tokens, text)."""
    table = pd.read_parquet(analysis / "rollouts_with_rewards.parquet")
    table = table[(table.reward_status == "ok") & (table.finish_reason != "length")]
    table = table.sort_values(["data_idx", "response_tokens", "response"])
    return table.drop_duplicates(["data_idx", "response"])


def test_shortest_is_what_pandas_takes(sample_analysis: Path, tmp_path: Path) -> None:
    table = usable(sample_analysis)
    passing = table[table.reward >= 0.5].groupby("data_idx")["response"].first()
    failing = table[table.reward < 0.5].groupby("data_idx")["response"].first()
    sft = made(sample_analysis, tmp_path, "sft")
    assert dict(zip(sft.difficulty_data_idx, sft.completion, strict=True)) == passing.to_dict()
    dpo = made(sample_analysis, tmp_path, "dpo").set_index("difficulty_data_idx")
    both = passing.index.intersection(failing.index)
    assert dpo.chosen.to_dict() == passing[both].to_dict()
    assert dpo.rejected.to_dict() == failing[both].to_dict()
    kto = made(sample_analysis, tmp_path, "kto")
    assert kto[kto.label].completion.tolist() == passing.tolist()
    assert kto[~kto.label].completion.tolist() == failing.tolist()


def test_all_takes_all_and_per_problem_that_many(sample_analysis: Path, tmp_path: Path) -> None:
    table = usable(sample_analysis)
    right = table[table.reward >= 0.5]
    assert sorted(made(sample_analysis, tmp_path, "sft", pick="all").completion) == sorted(right.response)
    three = right.groupby("data_idx").head(3)
    assert made(sample_analysis, tmp_path, "sft", per_problem=3).completion.tolist() == three.response.tolist()


def test_random_depends_on_the_seed_and_on_nothing_else(sample_analysis: Path, tmp_path: Path) -> None:
    one = made(sample_analysis, tmp_path, "sft", pick="random").set_index("difficulty_data_idx").completion
    some = made(sample_analysis, tmp_path, "sft", pick="random", where="pass_rate < 0.5", sort="random")
    for data_idx, text in zip(some.difficulty_data_idx, some.completion, strict=True):
        assert one[data_idx] == text
    other = made(sample_analysis, tmp_path, "sft", pick="random", seed=1).set_index("difficulty_data_idx").completion
    assert 0.2 < (one != other).mean() < 0.95


def rollout(sample: int, response: str, reward: float | None, **more: Any) -> dict[str, Any]:
    prompt = f"p{more.get('data_idx', 0)}"
    row = {"prompt": prompt, "response": response, "data_idx": 0, "sample_idx": sample, "reward": reward}
    return {**row, "reward_status": "ok" if reward is not None else "timeout", "max_tokens": 100, **more}


ROLLOUTS = [
    rollout(0, "right and long, longer than the others", 1.0),
    rollout(1, "right b<|im_end|>", 0.75),
    rollout(2, "right b", 0.75),  # the same text
    rollout(3, "right a", 0.75),
    rollout(4, "wrong b", 0.25),
    rollout(5, "wrong and long, longer than the others", 0.0),
    rollout(6, "unscored", None, max_tokens=5),  # cut off, too: it counts once
    rollout(7, "a b c d e f", 0.0, max_tokens=6),  # cut off: all six tokens
    rollout(8, "wrong a", 0.25),
    *(rollout(s, "only wrong", 0.0, data_idx=1) for s in range(2)),
    *(rollout(s, f"only unscored {s}", None, data_idx=2) for s in range(2)),
]


@pytest.fixture(scope="module", params=["as they are", "shuffled"])
def analysis(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("responses")
    rows = ROLLOUTS
    if request.param == "shuffled":
        rows = [ROLLOUTS[at] for at in np.random.default_rng(3).permutation(len(ROLLOUTS))]
    pq.write_table(pa.Table.from_pylist(rows), folder / "rollouts.parquet")
    flags: dict[str, Any] = {"model_path": TOKENIZER, "cache_dir": folder / "cache", "n_jobs": 1, "max_unscored": 1}
    analyzer.analyze(rollouts=folder / "rollouts.parquet", output_dir=folder / "out", **flags)
    return folder / "out"


def test_pairs_and_their_order(analysis: Path, tmp_path: Path) -> None:
    pairs = made(analysis, tmp_path, "dpo", per_problem=2)
    assert list(zip(pairs.chosen, pairs.rejected, strict=True)) == [("right a", "wrong a"), ("right b", "wrong b")]
    best = made(analysis, tmp_path, "dpo", pick="best")
    assert best.chosen.tolist() == ["right and long, longer than the others"]
    assert best.rejected.tolist() == ["wrong and long, longer than the others"]
    assert len(made(analysis, tmp_path, "dpo", pick="all")) == 3


def test_unscored_and_cut_off_responses_are_in_no_file(analysis: Path, tmp_path: Path) -> None:
    found = select(settings(analysis=analysis, output=tmp_path / "o.parquet", format="kto", pick="all"))
    texts = found.problems.completion.tolist()
    assert len(texts) == 7
    assert not [text for text in texts if "unscored" in text or text == "a b c d e f"]
    assert found.manifest["responses"] == {"unscored": 3, "cut_off": 1}
    assert "Responses left out: 3 without a reward, 1 cut off" in found.report
    assert "<|im_end|>" not in "".join(texts)


def test_what_is_left_out_is_counted_for_each_file_and_without_any_response_nothing_is_written(
    analysis: Path, tmp_path: Path
) -> None:
    flags: dict[str, Any] = {"analysis": analysis, "format": "kto", "pick": "all", "control": tmp_path / "c.parquet"}
    select(settings(output=tmp_path / "o.parquet", where="data_idx == 0", seed=2, **flags))
    manifests = [yaml.safe_load((tmp_path / f"{name}.manifest.yaml").read_text()) for name in ("o", "c")]
    assert manifests[0]["responses"] == {"unscored": 1, "cut_off": 1}
    assert manifests[1]["responses"] == {"unscored": 0, "cut_off": 0}
    with pytest.raises(InputError, match=r"s\.parquet: nothing to write: no response of .*; left out: 2 unscored$"):
        select(settings(analysis=analysis, output=tmp_path / "s.parquet", format="sft", where="data_idx == 2"))
    assert not list(tmp_path.glob("s.*"))


@pytest.mark.parametrize("kind", ["sft", "dpo", "kto"])
def test_an_analysis_of_counts_has_no_responses_to_take(kind: str, tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([{"question": "p", "rate": 0.5}]), tmp_path / "counts.parquet")
    columns = {"prompt": "question", "pass_rate": "rate", "samples": 4}
    flags: dict[str, Any] = {"cache_dir": tmp_path / "cache", "n_jobs": 1, "columns": columns}
    analyzer.analyze(rollouts=tmp_path / "counts.parquet", output_dir=tmp_path / "out", **flags)
    with pytest.raises(ConfigError, match=r"take responses, and .* has none: its rollouts are rewards or counts alone"):
        made(tmp_path / "out", tmp_path, kind)


def test_without_a_tokenizer_the_shortest_is_that_of_the_fewest_characters(tmp_path: Path) -> None:
    rows = [rollout(at, text, 1.0) for at, text in enumerate(["right and long", "right", "right too"])]
    pq.write_table(pa.Table.from_pylist([*rows, rollout(3, "wrong", 0.0)]), tmp_path / "rollouts.parquet")
    analyzer.analyze(
        rollouts=tmp_path / "rollouts.parquet", output_dir=tmp_path / "out", cache_dir=tmp_path / "c", n_jobs=1
    )
    assert made(tmp_path / "out", tmp_path, "sft").completion.tolist() == ["right"]
    assert made(tmp_path / "out", tmp_path, "dpo").rejected.tolist() == ["wrong"]


@pytest.mark.parametrize(
    ("prompt", "rendered"),
    [
        ("system\nThink.\nuser\nWhat is 2+2?\nassistant\n", True),
        ("<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n<think>\n", True),
        ("<start_of_turn>user\nWhat is 2+2?<end_of_turn>\n<start_of_turn>model\n", True),
        ("<|start_header_id|>assistant<|end_header_id|>\n\n", True),
        ("What is 2+2? Answer as a helpful assistant", False),
        ("Question: What is 2+2?\nAnswer:", False),
        ([{"role": "user", "content": "What is 2+2?"}], False),
    ],
)
def test_prompts_that_a_chat_template_made_are_said(prompt: Any, rendered: bool, tmp_path: Path) -> None:
    rows = [rollout(0, "right", 1.0) | {"prompt": prompt}, rollout(1, "wrong", 0.0) | {"prompt": prompt}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rollouts.parquet")
    analyzer.analyze(
        rollouts=tmp_path / "rollouts.parquet", output_dir=tmp_path / "out", cache_dir=tmp_path / "c", n_jobs=1
    )
    found = select(settings(analysis=tmp_path / "out", output=tmp_path / "o.parquet", format="rows"))
    assert ("--join train.parquet" in found.report) == rendered


def test_of_a_sum_of_rewards_the_deciding_part_says_which_responses_pass(tmp_path: Path) -> None:
    sums = [
        rollout(0, "right, badly formatted", 0.3, reward_pass_value=1.0),
        rollout(1, "wrong, well formatted", 0.7, reward_pass_value=0.0),
        rollout(2, "right, without parts", 0.8, reward_pass_value=None),
    ]
    pq.write_table(pa.Table.from_pylist(sums), tmp_path / "rollouts.parquet")
    flags: dict[str, Any] = {"model_path": TOKENIZER, "cache_dir": tmp_path / "cache", "n_jobs": 1}
    analyzer.analyze(rollouts=tmp_path / "rollouts.parquet", output_dir=tmp_path / "out", **flags)
    assert sorted(made(tmp_path / "out", tmp_path, "sft", pick="all").completion) == [
        "right, badly formatted",
        "right, without parts",
    ]
    assert made(tmp_path / "out", tmp_path, "dpo", pick="all").rejected.unique().tolist() == ["wrong, well formatted"]


def test_responses_pass_from_the_threshold_of_the_analysis_on_be_it_zero(tmp_path: Path) -> None:
    rewards = {"worse": -1.0, "at": 0.0, "better": 0.25}
    rows = [rollout(at, text, reward) for at, (text, reward) in enumerate(rewards.items())]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rollouts.parquet")
    flags: dict[str, Any] = {"model_path": TOKENIZER, "cache_dir": tmp_path / "cache", "n_jobs": 1}
    analyzer.analyze(rollouts=tmp_path / "rollouts.parquet", output_dir=tmp_path / "out", pass_threshold=0, **flags)
    assert sorted(made(tmp_path / "out", tmp_path, "sft", pick="all").completion) == ["at", "better"]
    labels = made(tmp_path / "out", tmp_path, "kto", pick="all").set_index("completion").label
    assert labels.to_dict() == {"at": True, "better": True, "worse": False}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("The answer is 5.<|im_end|>", "The answer is 5."),
        ("The answer is 5. \n<|im_end|>\n<|endoftext|>\n", "The answer is 5."),
        ("5</s>", "5"),
        ("5\n", "5\n"),
        ("<|im_end|> in the middle", "<|im_end|> in the middle"),
        ("x < y and <b>", "x < y and <b>"),
        ("</s>" * 50_000, ""),
        ("a" + "\n" * 200_000 + "b", "a" + "\n" * 200_000 + "b"),
    ],
    ids=range(8),
)
def test_end_tokens_go_and_nothing_else_does(text: str, left: str) -> None:
    assert without_end_tokens(text) == left


def test_a_chat_prompt_makes_the_responses_messages(analysis_of: Make, tmp_path: Path) -> None:
    output = tmp_path / "o.jsonl"
    table = select(settings(analysis=analysis_of("verl").folder, output=output, format="dpo", recipe="dapo")).problems
    row = table.iloc[0]
    assert row.prompt == [{"content": "What is 1 + 1?", "role": "user"}]
    assert row.chosen[0]["role"] == row.rejected[0]["role"] == "assistant"
    assert row.chosen[0]["content"].endswith("right")


def test_an_analysis_without_text_and_one_without_responses_are_said(analysis: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no response of the kept problems fits"):
        made(analysis, tmp_path, "sft", where="pass_rate == 0")
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("problems.parquet", "summary.json"):
        (bare / name).write_bytes((analysis / name).read_bytes())
    with pytest.raises(ConfigError, match=r"was written without it .*: run analyze_rollouts again"):
        made(bare, tmp_path, "sft", recipe="dapo")
    assert made(bare, tmp_path, "rows", recipe="dapo").difficulty_data_idx.tolist() == [0]
