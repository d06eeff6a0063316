"""The embedded sample: made by its script and nothing else, small, and of a realistic spread."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from tests import processes

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SAMPLE = EXAMPLES / "sample"


@pytest.fixture(scope="module")
def rollouts() -> pd.DataFrame:
    frame = pd.read_parquet(SAMPLE / "rollouts.parquet")
    found = frame["response"].str.extract(r"#### ([0-9.,]+)$")[0].str.replace(",", "")
    return frame.assign(found=found, right=found == frame["original_reward_model"].str.get("ground_truth"))


def test_the_script_makes_the_committed_files_again(tmp_path: Path) -> None:
    processes.run([EXAMPLES / "make_sample.py", "--out", tmp_path], check=True)
    for name in ("tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (SAMPLE / name).read_bytes(), name
    # The bytes of a parquet file depend on the version of pyarrow, its table does not.
    assert pq.read_table(tmp_path / "rollouts.parquet").equals(pq.read_table(SAMPLE / "rollouts.parquet"))
    made = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert made == {path.relative_to(SAMPLE) for path in SAMPLE.rglob("*") if path.is_file()}


def test_the_sample_is_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) < 500_000


def test_there_are_eight_rollouts_of_each_of_two_hundred_distinct_problems(rollouts: pd.DataFrame) -> None:
    assert rollouts["prompt"].nunique() == 200
    assert rollouts["sample_idx"].tolist() == list(range(8)) * 200
    assert rollouts["data_idx"].is_monotonic_increasing
    assert rollouts["response"].nunique() > 1500


def test_some_problems_are_never_solved_some_always_and_most_in_between(rollouts: pd.DataFrame) -> None:
    pass_rate = rollouts.groupby("data_idx")["right"].mean()
    assert 0.05 < (pass_rate == 0).mean() < 0.3
    assert 0.05 < (pass_rate == 1).mean() < 0.3
    assert pass_rate.nunique() == 9


def test_longer_solutions_are_harder(rollouts: pd.DataFrame) -> None:
    steps = rollouts["original_extra_info"].str.get("steps").astype(int)
    assert rollouts["right"].groupby(steps <= 3).mean().diff().iloc[-1] > 0.15


def test_a_few_responses_lack_the_marker_and_a_few_are_cut(rollouts: pd.DataFrame) -> None:
    cut = rollouts["finish_reason"] == "length"
    assert 0.005 < cut.mean() < 0.05
    assert 0.01 < (rollouts["found"].isna() & ~cut).mean() < 0.06
    assert not rollouts["found"][cut].notna().any()


def test_the_arithmetic_of_right_responses_is_right(rollouts: pd.DataFrame) -> None:
    sums = rollouts["response"][rollouts["right"]].str.extractall(r"(\d+) ([-+*x×/]) (\d+) = (\d+)\b")
    assert len(sums) > 2000
    for left, sign, right, result in sums.itertuples(index=False, name=None):
        a, b = int(left), int(right)
        assert int(result) == {"+": a + b, "-": a - b, "/": a / b}.get(sign, a * b)


def test_the_tokenizer_loads_offline_and_gives_every_text_back(
    rollouts: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SAMPLE / "tokenizer")
    assert len(tokenizer) == 2048
    assert set(tokenizer.all_special_tokens) == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}
    assert re.search("add_generation_prompt", tokenizer.chat_template)
    for text in (*rollouts["response"][:50], "Ünïcode 漢字 \t\r\n 🎲", ""):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.decode(tokenizer("42<|im_end|>")["input_ids"], skip_special_tokens=True) == "42"


def test_cut_responses_hold_max_tokens_tokens_and_all_others_fewer(rollouts: pd.DataFrame) -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(SAMPLE / "tokenizer" / "tokenizer.json"))
    tokens = pd.Series([len(tokenizer.encode(response).ids) for response in rollouts["response"]])
    cut = rollouts["finish_reason"] == "length"
    assert set(tokens[cut]) == {256}
    assert tokens[~cut].max() <= 256
