"""Comparing analyses: the same problems are found, chance is not called a change, and a change is not called chance."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analyzer
from analyzer import buckets
from analyzer.commands.compare_analyses import compare_analyses
from analyzer.difficulty.comparison import FALSE_DISCOVERIES, Run, mean_change, mid_p, moves_by_chance, q_values
from analyzer.difficulty.stability import placing
from analyzer.errors import ConfigError, InputError, OutputError
from analyzer.report.comparison import _differs
from tests import processes
from tests.commands import ROOT, parquet
from tests.report.test_page import HOSTILE, Page

AIME = ROOT.parent / "shared" / "data" / "aime_amc_50.parquet"
Analysed = Callable[..., Path]


def rows(passes: dict[Any, int], n: int = 8, truth: Callable[[Any], str] = str, **values: Any) -> list[dict[str, Any]]:
    """Rollouts that bring rewards along: of each problem the first k of n pass."""
    return [
        {
            "prompt": f"What is {name}?",
            "response": f"{'right' if s < k else 'wrong'} {s}",
            "data_idx": name,
            "sample_idx": s,
            "reward": float(s < k),
            "original_data_source": "sums",
            "original_reward_model": {"style": "rule", "ground_truth": truth(name)},
        }
        | values
        for name, k in passes.items()
        for s in range(n)
    ]


@pytest.fixture
def analyzed(tmp_path: Path) -> Analysed:
    """An analysis of rows; returns its folder."""

    def analyse(name: str, records: list[dict[str, Any]], **options: Any) -> Path:
        analyzer.analyze(
            rollouts=parquet(tmp_path / f"{name}.parquet", records),
            output_dir=tmp_path / name,
            cache_dir=tmp_path / "cache",
            backend="sequential",
            no_report=True,
            **options,
        )
        return tmp_path / name

    return analyse


def compared(folders: list[Path], out: Path) -> dict[str, Any]:
    analyzer.compare(folders, output_dir=out)
    found: dict[str, Any] = json.loads((out / "compare.json").read_bytes())
    return found


@pytest.mark.parametrize("strategy", ["percentile", "mean_reward"])
def test_buckets_by_rank_are_those_among_the_problems_compared(
    analyzed: Analysed, tmp_path: Path, strategy: str
) -> None:
    """Beside easy problems that the last analysis alone has, all others were in a harder bucket in it."""
    passes = {number: number % 9 for number in range(27)}
    easy = dict.fromkeys(range(100, 140), 8)
    folders = [
        analyzed(name, rows(each), bucketing_strategy=strategy) for name, each in (("a", passes), ("b", passes | easy))
    ]
    found = compared(folders, tmp_path / "out")
    assert (found["unmatched"], found["changed_bucket"], found["verdict"]) == (40, 0, "no more than chance")
    assert "buckets are by rank: those here are among the 27 problems compared" in found["warnings"][0]
    table = pq.read_table(tmp_path / "out" / "compare.parquet")
    assert table["bucket_1"].to_pylist() == table["bucket_2"].to_pylist()
    again = [folders[0], analyzed("c", rows(passes), bucketing_strategy=strategy)]
    assert compared(again, tmp_path / "same")["warnings"] == []


def test_means_are_of_the_problems_that_both_have_scored(
    analyzed: Analysed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The ten easy problems have no reward in the second analysis: its mean alone would show a fall by a third.
    passes = dict.fromkeys(range(20), 2) | dict.fromkeys(range(20, 30), 8)
    unscored = [row | ({"reward": None} if row["data_idx"] >= 20 else {}) for row in rows(passes)]
    folders = [analyzed("a", rows(passes)), analyzed("b", unscored)]
    found = compared(folders, tmp_path / "out")
    assert (found["pass_rates"], found["mean_change"], found["unscored"]) == ([0.25, 0.25], 0.0, 10)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "10 problems have no reward in the first or the last, and are not compared" in page
    assert page.count(">25.0 %<") == 2
    command = ["--analyses", *map(str, folders), "--output_dir", str(tmp_path / "again")]
    assert compare_analyses(command) == 0
    said = capsys.readouterr().out
    assert "Problems compared: 30 (0 unmatched, 10 without a reward in one of the two)" in said
    assert "Mean pass rate: 0.250 -> 0.250, change +0.000" in said


def test_analyses_without_a_problem_that_both_have_scored_are_not_called_equal(
    analyzed: Analysed, tmp_path: Path
) -> None:
    scored = rows(dict.fromkeys(range(5), 2))
    folders = [analyzed("a", scored), analyzed("b", [row | {"reward": None} for row in scored])]
    with pytest.raises(InputError, match="have no problem with a reward in both"):
        compared(folders, tmp_path / "out")
    assert not (tmp_path / "out" / "compare.json").exists()


def test_a_change_is_reported_with_the_problems_that_changed(analyzed: Analysed, tmp_path: Path) -> None:
    before = dict.fromkeys(range(40), 2)
    after = before | dict.fromkeys(range(5), 16)
    folders = [analyzed("a", rows(before, 16)), analyzed("b", rows(after, 16))]
    found = compared(folders, tmp_path / "out")
    assert (found["problems"], found["unmatched"], found["verdict"]) == (40, 0, "more than chance")
    assert [(one["data_idx"], one["k"], one["n"]) for one in found["changed"]] == [
        (i, [2, 16], [16, 16]) for i in range(5)
    ]
    assert all(one["p"] <= one["q"] <= 0.1 for one in found["changed"])
    assert found["mean_change"] == pytest.approx(5 * 14 / 16 / 40)
    assert found["low"] < found["mean_change"] < found["high"]
    assert found["by_data_source"]["sums"]["problems"] == 40
    table = pq.read_table(tmp_path / "out" / "compare.parquet")
    assert table["k_2"].to_pylist() == [after[i] for i in range(40)]
    assert {"data_idx", "n_1", "n_2", "bucket_1", "bucket_2", "p", "q"} <= set(table.column_names)
    moved = sum(a != b for a, b in zip(table["bucket_1"].to_pylist(), table["bucket_2"].to_pylist(), strict=True))
    assert moved == found["changed_bucket"] == np.sum(found["moves"]) - np.trace(found["moves"])
    words = " ".join(" ".join(Page((tmp_path / "out" / "report.html").read_text()).text).split())
    assert "2 of 16 → 16 of 16" in words
    assert "wrong 2" in words
    assert "right 0" in words


def test_data_sources_that_change_against_each_other_are_no_chance(analyzed: Analysed, tmp_path: Path) -> None:
    fewer = {number: 4 + number % 5 for number in range(40)}
    more = {number: passes + 1 + number % 2 for number, passes in fewer.items()}
    second = {100 + number: passes for number, passes in more.items()}
    second_after = {100 + number: passes for number, passes in fewer.items()}
    other: dict[str, Any] = {"original_data_source": "products", "response": "the very same words " * 20}
    folders = [
        analyzed("a", rows(fewer, 16) + rows(second, 16, original_data_source="products")),
        analyzed("b", rows(more, 16) + rows(second_after, 16, **other)),
    ]
    found = compared(folders, tmp_path / "out")
    assert found["mean_change"] == 0
    assert found["changed"] == []
    assert found["changed_bucket"] <= found["changed_bucket_by_chance"]
    assert found["verdict"] == "more than chance"
    assert found["changed_data_sources"] == ["products", "sums"]
    text = analyzer.compare(folders, output_dir=tmp_path / "out").to_text()
    assert "; data sources that have changed: products -0.094, sums +0.094\n" in text
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Data sources whose own mean has changed: products, sums." in page
    assert re.findall(r'<div class="scroll[^"]*"(?! tabindex="0" role="group" aria-labelledby=)', page) == []
    assert [warning for warning in found["warnings"] if "duplicate another sample" in warning] == [
        f"of {folders[1]} responses duplicate another sample of the same problem, so there are fewer independent ones "
        "than are counted here: chance alone changes more than said, and 'more than chance' may be chance"
    ]


def test_problems_are_matched_by_id_and_prompt_else_by_prompt_and_ground_truth(
    analyzed: Analysed, tmp_path: Path
) -> None:
    first = analyzed("a", rows({"x": 1, "y": 2, "z": 3, "only": 4}))
    renumbered = [
        row | {"data_idx": {"x": "x", "y": "z", "z": "77", "new": "only"}[row["data_idx"]]}
        for row in rows({"x": 5, "y": 6, "z": 7, "new": 8})
    ]
    chat = [row | {"prompt": [{"role": "user", "content": row["prompt"]}]} for row in renumbered]
    for name, records in (("text", renumbered), ("chat", chat)):
        found = compared([first, analyzed(name, records)], tmp_path / f"out_{name}")
        assert (found["problems"], found["unmatched"], found["unmatched_by_analysis"]) == (3, 2, [1, 1])
        table = pq.read_table(tmp_path / f"out_{name}" / "compare.parquet").to_pylist()
        assert [(row["data_idx"], row["data_idx_2"], row["k_1"], row["k_2"]) for row in table] == [
            ("x", "x", 1, 5),
            ("y", "z", 2, 6),
            ("z", "77", 3, 7),
        ]
    other = analyzed("other", rows({"x": 5, "y": 6}, truth=lambda name: f"not {name}"))
    assert compared([first, other], tmp_path / "by_id")["problems"] == 2  # the prompt agrees
    strange = analyzed("strange", [row | {"prompt": "?"} for row in rows({"x": 1, "y": 1})])
    with pytest.raises(InputError, match="no problem in common"):
        analyzer.compare([first, strange], output_dir=tmp_path / "none")


def test_three_analyses_have_a_pass_rate_each_and_two_steps(analyzed: Analysed, tmp_path: Path) -> None:
    folders = [analyzed(name, rows(dict.fromkeys(range(10), k))) for name, k in (("a", 2), ("b", 4), ("c", 5))]
    found = compared(folders, tmp_path / "out")
    assert found["pass_rates"] == [0.25, 0.5, 0.625]
    assert [step["mean_change"] for step in found["steps"]] == [0.25, 0.125]
    assert found["mean_change"] == 0.375
    words = " ".join((tmp_path / "out" / "report.html").read_text().split())
    assert "Step by step" in words


def test_what_cannot_be_compared_is_one_line(analyzed: Analysed, tmp_path: Path) -> None:
    a = analyzed("a", rows({0: 1, 1: 2}))
    b = analyzed("b", rows({0: 1, 1: 2}), bucketing_strategy="pass_rate")
    c = analyzed("c", rows({0: 1, 1: 2}), pass_threshold=0.9)
    with pytest.raises(ConfigError, match="buckets by percentile and by pass_rate"):
        analyzer.compare([a, b], output_dir=tmp_path / "out")
    with pytest.raises(ConfigError, match=r"rewards from 0\.5 and from 0\.9"):
        analyzer.compare([a, c], output_dir=tmp_path / "out")
    with pytest.raises(ConfigError, match="two output folders"):
        analyzer.compare([a], output_dir=tmp_path / "out")
    with pytest.raises(ConfigError, match="named twice"):
        analyzer.compare([a, a], output_dir=tmp_path / "out")
    for other in (tmp_path, a / "summary.json"):  # a folder of something else, and a file
        with pytest.raises(InputError, match="there is no summary"):
            analyzer.compare([a, other], output_dir=tmp_path / "out")
    d = analyzed("d", rows({0: 1, 1: 2}, response="other"))
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="would be replaced"):
            analyzer.compare([a, d], output_dir=a, overwrite=overwrite)
    with pytest.raises(OutputError, match=r"holds problems\.parquet, which a comparison would remove; give another"):
        analyzer.compare([a, d], output_dir=b, overwrite=True)
    assert json.loads((a / "summary.json").read_bytes())["total_problems"] == 2
    analyzer.compare([a, d], output_dir=tmp_path / "out")
    analyzer.compare([a, d], output_dir=tmp_path / "out")
    with pytest.raises(OutputError, match="--overwrite"):
        analyzer.compare([d, a], output_dir=tmp_path / "out")


def test_text_of_a_model_is_inert_in_the_page(analyzed: Analysed, tmp_path: Path) -> None:
    def hostile(k: int) -> list[dict[str, Any]]:
        text = "\n".join(HOSTILE)
        return [
            row | {"prompt": text + row["prompt"], "response": text, "original_data_source": HOSTILE[0]}
            for row in rows({f"<b>{at}": k for at in range(6)}, 20)
        ]

    compared([analyzed("a", hostile(0)), analyzed("<i>", hostile(20))], tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text()
    page = Page(text)
    assert {tag for tag, _ in page.elements} & {"script", "img", "i", "iframe", "link", "base", "form"} == set()
    assert "default-src 'none'" in str(page.elements)
    assert not any(character in text for character in "\u202e\u200b\x1b\x07")
    assert "<U+202E>gnp.exe" in "".join(page.text)


# ---------------------------------------------------------------- one policy against itself


def halves(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(problem, reward, half) of each rollout of one policy, split at random within each problem."""
    if not AIME.exists():
        pytest.skip(f"the real rollouts are not here: {AIME}")
    table = pq.read_table(AIME, columns=["data_idx", "label"])
    _, code = np.unique(table["data_idx"].to_numpy(), return_inverse=True)
    order = np.lexsort((np.random.default_rng(seed).random(len(code)), code))
    half = np.empty(len(code), np.int64)
    half[order] = np.arange(len(code)) % 2
    return code, table["label"].to_numpy().astype(float), half


def test_the_command_says_no_more_than_chance_of_one_policy_sampled_twice(tmp_path: Path) -> None:
    _, reward, half = halves(0)
    table = pq.read_table(AIME).drop(["label"]).append_column("reward", pa.array(reward))
    for number in (0, 1):
        analyzer.analyze(
            rollouts=parquet(tmp_path / f"{number}.parquet", table.filter(pa.array(half == number))),
            output_dir=tmp_path / f"half_{number}",
            cache_dir=tmp_path / "cache",
            backend="sequential",
            no_report=True,
        )
    words = [
        "--analyses",
        *(str(tmp_path / half) for half in ("half_0", "half_1")),
        "--output_dir",
        str(tmp_path / "out"),
    ]
    done = processes.run([ROOT / "scripts" / "compare_analyses.py", *words], check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == 4
    assert lines[0] == "Problems compared: 70 (0 unmatched)"
    assert lines[2].endswith(": no more than chance")
    assert "no single problem has detectably changed" in lines[3]
    assert json.loads((tmp_path / "out" / "compare.json").read_bytes())["verdict"] == "no more than chance"


def split(seed: int, strategy: buckets.Strategy) -> tuple[bool, int, float, bool]:
    """Of one split: is a problem named, how many move, how many by chance, does the interval hold 0."""
    code, reward, half = halves(seed)
    problems = int(code.max()) + 1
    both = ((code[half == number], reward[half == number]) for number in (0, 1))
    runs = [Run(codes, values, values >= 0.5) for codes, values in both]
    k = [np.bincount(run.codes, run.passing, problems).astype(np.int64) for run in runs]
    n = [np.bincount(run.codes, minlength=problems) for run in runs]
    place = placing(strategy)
    places = [place(run.codes, [(run.rewards, run.passing)], problems)[0] for run in runs]
    moved = int((places[0] != places[1]).sum())
    chance = moves_by_chance(place, len(strategy.buckets), (runs[0], runs[1]), np.zeros(problems, np.int64), seed=seed)
    total = mean_change(k[0] / n[0], k[1] / n[1])
    assert chance.expected.sum() == pytest.approx(problems)
    named = q_values(mid_p(k[0], n[0], k[1], n[1])) <= FALSE_DISCOVERIES
    return bool(named.any()), moved, chance.changed, total.low <= 0 <= total.high


def figures(strategy: str, splits: int) -> tuple[float, float, float]:
    """Shares of the splits with a wrong 'changed', moves by chance over true moves, and intervals that hold 0."""
    built = buckets.build(strategy)
    named, moved, chance, held = np.array([split(seed, built) for seed in range(splits)], float).T
    print(f"{strategy}: named {named.mean():.2f}, moved {moved.mean():.2f}, by chance {chance.mean():.2f}", end=", ")
    print(f"interval holds 0 {held.mean():.2f}")
    return float(named.mean()), float(chance.mean() / moved.mean()), float(held.mean())


def test_moves_by_chance_are_about_those_of_one_policy_sampled_twice() -> None:
    named, ratio, held = figures("percentile", 10)
    assert named <= 0.2
    assert 0.75 <= ratio <= 1.25
    assert held >= 0.6


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["percentile", "pass_rate", "mean_reward"])
def test_a_hundred_splits_of_one_policy_are_called_chance(strategy: str) -> None:
    named, ratio, held = figures(strategy, 100)
    assert named <= 0.1
    assert 0.8 <= ratio <= 1.2
    assert 0.85 <= held <= 0.95


def test_the_verdict_is_wrong_of_few_pairs_of_runs_of_one_policy() -> None:
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(150):
        rate = random.beta(0.7, 0.7, 200)
        first, second = (random.binomial(8, rate) / 8 for _ in range(2))
        wrong += _differs(first, second, 0.99)
    assert wrong <= 6  # 1.5 expected; of the 90 % interval it would be 15
