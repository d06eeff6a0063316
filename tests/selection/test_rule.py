"""Rules: unknown outcomes, nearness, numbers per group, order, weights, the control; and names that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import analyzer
from analyzer.errors import ConfigError, InputError
from analyzer.selection.analysis import open_analysis
from analyzer.selection.rule import make_rule
from analyzer.selection.select import Selection, select
from tests.selection.conftest import TOKENIZER, settings

RATES = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Problem p<n> passes n of 10 times, p<n>x n of 5; two are unscored; `level` is missing in one; two sources."""
    rows = []
    for n in RATES:
        rows += [row(f"p{n:02}", s, float(s < n), level=n, source="a") for s in range(10)]
        if n <= 5:
            rows += [row(f"p{n:02}x", s, float(s < n), level=n, source="b") for s in range(5)]
    rows += [row(name, s, None, level=3, source="b") for name in ("u0", "u1") for s in range(4)]
    rows += [row("z", s, float(s < 5), level=None, source=None) for s in range(10)]
    folder = tmp_path_factory.mktemp("rule")
    pq.write_table(pa.Table.from_pylist(rows), folder / "rollouts.parquet")
    analyzer.analyze(
        rollouts=folder / "rollouts.parquet",
        model_path=TOKENIZER,
        output_dir=folder / "out",
        cache_dir=folder / "cache",
        max_unscored=1,
        n_jobs=1,
    )
    return folder / "out"


def row(name: str, sample: int, reward: float | None, level: int | None, source: str | None) -> dict[str, Any]:
    return {
        "prompt": f"question {name}",
        "response": f"answer {sample}",
        "data_idx": name,
        "sample_idx": sample,
        "reward": reward,
        "reward_status": "error" if reward is None else "ok",
        "original_data_source": source,
        "original_extra_info": {"level": level},
        "original_pass_rate": 9.0,
        "original_bucket": "mine",
    }


def made(analysis: Path, output: Path, **flags: Any) -> Selection:
    return select(settings(analysis=analysis, output=output, **flags))


def names(selection: Selection) -> list[str]:
    return list(selection.problems["difficulty_data_idx"])


def test_an_unknown_outcome_is_never_kept_and_is_counted(analysis: Path, tmp_path: Path) -> None:
    found = made(analysis, tmp_path / "o.parquet", where="not pass_rate > 0.5")
    assert "u0" not in names(found)
    assert found.manifest["dropped"] == {"rule": 8, "unscored": 2}
    found = made(analysis, tmp_path / "p.parquet", where="extra_info.level <= 3")
    assert "z" not in names(found)
    assert {"u0", "u1"} <= set(names(found))
    assert found.manifest["dropped"] == {"rule": 9, "undecided": 1}
    assert found.manifest["kept_unscored"] == 2
    assert "2 of the kept have no reward" in found.report
    found = made(analysis, tmp_path / "q.parquet", where="pass_rate is null")
    assert names(found) == ["u0", "u1"]


def test_a_metric_wins_over_a_column_of_its_name_and_the_column_is_row(analysis: Path, tmp_path: Path) -> None:
    assert made(analysis, tmp_path / "o.parquet", where="row.pass_rate == 9 and bucket != 'mine'").kept > 10
    problems = made(analysis, tmp_path / "p.parquet", where="row.bucket == 'mine' and pass_rate == 1").problems
    assert list(problems["difficulty_data_idx"]) == ["p05x", "p10"]
    assert (problems["pass_rate"] == 9).all()
    assert (problems["bucket"] == "mine").all()
    with pytest.raises(ConfigError, match=r"there is no 'row.pas_rate' \(did you mean 'row.pass_rate'"):
        made(analysis, tmp_path / "q.parquet", where="row.pas_rate == 9")


def test_nearest_takes_ties_by_more_samples_then_by_id(analysis: Path, tmp_path: Path) -> None:
    assert names(made(analysis, tmp_path / "o.parquet", nearest=0.5, take=4)) == ["p05", "z", "p04", "p06"]
    found = names(made(analysis, tmp_path / "p.parquet", nearest=0.5, take=6))
    assert found[4:] == ["p02x", "p03x"]  # 0.4 and 0.6 of 5: as near as of 10, with fewer samples
    found = names(made(analysis, tmp_path / "q.parquet", nearest=0.7, take=3))
    assert found == ["p07", "p06", "p08"]
    assert "u0" not in names(made(analysis, tmp_path / "r.parquet", nearest=0.5, take=1000))


def test_take_per_column_takes_that_many_of_each_value(analysis: Path, tmp_path: Path) -> None:
    found = made(analysis, tmp_path / "o.parquet", nearest=0.5, take=2, per="data_source")
    assert names(found) == ["p05", "z", "p04", "p02x", "p03x"]
    counts = found.manifest["by_data_source"]
    assert {name: count.get("kept", 0) for name, count in counts.items()} == {"a": 2, "b": 2, "(none)": 1}
    assert found.manifest["dropped"] == {"unscored": 2, "not taken": 13}


def test_take_alone_is_random_by_seed(analysis: Path, tmp_path: Path) -> None:
    one, two, three = (
        names(made(analysis, tmp_path / f"{n}.parquet", where="num_scored > 0", take=9, seed=seed))
        for n, seed in enumerate((1, 1, 2))
    )
    assert one == two == sorted(one)
    assert len(one) == 9
    assert one != three
    shuffled = names(made(analysis, tmp_path / "s.parquet", where="num_scored > 0", sort="random"))
    assert shuffled != sorted(shuffled)
    assert len(shuffled) == 18


def test_sort_orders_the_output_and_decides_what_is_taken(analysis: Path, tmp_path: Path) -> None:
    hardest = made(analysis, tmp_path / "o.parquet", sort="pass_rate", take=3)
    assert names(hardest) == ["p00", "p00x", "p01"]
    down = made(analysis, tmp_path / "p.jsonl", where="data_source == 'a'", sort="-pass_rate")
    assert names(down) == [f"p{n:02}" for n in reversed(RATES)]
    last = names(made(analysis, tmp_path / "q.parquet", sort="pass_rate"))
    assert last[-2:] == ["u0", "u1"]  # what has no value comes last
    near = made(analysis, tmp_path / "r.parquet", nearest=0.5, take=4, sort="pass_rate")
    assert names(near) == ["p04", "p05", "z", "p06"]
    likeliest = made(analysis, tmp_path / "s.parquet", recipe="informative", take=4)
    ordered = made(analysis, tmp_path / "t.parquet", recipe="informative", take=4, sort="pass_rate")
    assert sorted(names(likeliest)) == sorted(names(ordered))  # the order of the file keeps no others
    assert ordered.problems["difficulty_pass_rate"].is_monotonic_increasing
    assert "4 first by -informative@8; sorted by pass_rate" in ordered.report


def test_a_take_that_cannot_be_met_is_reported(analysis: Path) -> None:
    def kept(**flags: Any) -> str:
        report = select(settings(analysis=analysis, dry_run=True, **flags)).report
        return next(line for line in report.splitlines() if line.startswith("Problems kept"))

    assert kept(take=3) == "Problems kept: 3 of 20"
    assert kept(take=19, sort="pass_rate") == "Problems kept: 18 of 20; --take asks for 19, no others fit the rule"
    assert kept(take=9, per="data_source").endswith("18 of 20; --take asks for 27, no others fit the rule")


def test_weights_come_from_the_first_pool_that_holds(analysis: Path, tmp_path: Path) -> None:
    pools = tmp_path / "pools.yaml"
    pools.write_text('[{where: "pass_rate < 0.3", weight: 0.5}, {where: "pass_rate <= 0.8", weight: 2}]')
    found = made(analysis, tmp_path / "o.parquet", weights=pools)
    weights = dict(zip(names(found), found.problems["difficulty_weight"], strict=True))
    assert weights["p02"] == 0.5
    assert weights["p03"] == 2
    assert "p09" not in weights
    assert "u0" not in weights
    assert found.manifest["dropped"] == {"rule": 3, "unscored": 2}
    pools.write_text('[{where: "extra_info.level <= 5", weight: 1}, {where: "pass_rate >= 0", weight: 2}]')
    found = made(analysis, tmp_path / "q.parquet", weights=pools)
    assert "z" not in names(found)  # it has no level, and may belong to the first pool
    assert found.manifest["dropped"] == {"undecided": 1}
    for text in ("{}", "- weight: 1", '[{where: "pass_rate < 1", weight: x}]', "[1", '[{where: "a", weight: -1}]'):
        pools.write_text(text)
        with pytest.raises(ConfigError, match="--weights"):
            made(analysis, tmp_path / "p.parquet", weights=pools)
    pools.write_text('[{where: "pas_rate < 1", weight: 1}]')
    with pytest.raises(
        ConfigError, match=r"--weights: at the \^ in `\^pas_rate .*`: there is no 'pas_rate' \(did you mean 'pass_rate'"
    ):
        made(analysis, tmp_path / "p.parquet", weights=pools)


def test_the_control_is_as_many_other_problems_of_the_same_sources(sample_analysis: Path, tmp_path: Path) -> None:
    output, control = tmp_path / "o.parquet", tmp_path / "c.parquet"
    kept = select(settings(analysis=sample_analysis, output=output, where="pass_rate > 0.7", control=control))
    others = pd.read_parquet(control)
    assert len(others) == kept.rows > 10
    assert not set(others["difficulty_data_idx"]) & set(names(kept))
    assert 0.1 < others["difficulty_pass_rate"].mean() < 0.7


def test_the_control_follows_the_data_sources_as_far_as_they_go() -> None:
    from analyzer.selection.rule import BY_RULE, KEPT, Choice, control_group

    sources = np.array([0] * 50 + [1] * 50)
    reasons = np.full(100, BY_RULE, np.int8)
    reasons[:10] = reasons[50:70] = KEPT
    own = np.arange(100)  # each has a prompt of its own
    control = control_group(Choice(np.flatnonzero(reasons == KEPT), reasons, None), sources, own, 1)
    assert len(set(control)) == 30
    assert (reasons[control] == BY_RULE).all()
    assert np.bincount(sources[control]).tolist() == [10, 20]
    reasons[50:90] = KEPT  # 10 others of the second source for 40 kept
    control = control_group(Choice(np.flatnonzero(reasons == KEPT), reasons, None), sources, own, 1)
    assert np.bincount(sources[control]).tolist() == [40, 10]
    reasons[:] = BY_RULE
    reasons[:10] = KEPT
    twins = own % 50  # 50 asks what 0 asks, ...
    control = control_group(Choice(np.arange(10), reasons, None), sources, twins, 1)
    assert len(control) == 10
    assert not set(twins[control].tolist()) & set(range(10))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"nearest": 0.5}, "give --take N"),
        ({"per": "data_source"}, "--per needs --take N"),
        ({"take": 3, "per": "data_sourc"}, "there is no 'data_sourc' (did you mean 'data_source'?)"),
        ({"sort": "-pas_rate"}, "--sort pas_rate: there is no 'pas_rate' (did you mean 'pass_rate'?)"),
        ({"sort": "extra_info"}, "--sort extra_info: the column is a struct<level: int64>, which cannot be ordered"),
        (
            {"take": 3, "per": "extra_info"},
            "--per extra_info: the column is a struct<level: int64>, which cannot be ordered",
        ),
        ({"where": "true", "control": "c.parquet"}, "there are no others"),
        ({"where": "bucket > 3"}, "a text cannot be compared with a number"),
        ({"where": "pass_rate > 2"}, "the rule keeps no problem: pass_rate > 2; of "),
        ({"where": "20 <= pass_rate <= 80 and bucket != ''"}, "; pass_rate is 0 to 1; bucket is 'easy', 'hard', "),
        ({"weights": "[{where: pass_rate > 50, weight: 1}]"}, "; pass_rate is 0 to 1"),
        ({"weights": "- {where: true\n- ["}, "w.yaml, line 2: not valid YAML ("),
        ({"take": 3, "nearest": 50}, "nearest 50.0: must be from 0 to 1"),
        ({"recipe": "prime_rl_pools", "take": 3}, "no --take"),
        ({"sort": "-informative@1"}, "--sort informative@1: a group of fewer than 2 has no differences"),
        ({"recipe": "informative", "take": 3, "nearest": 0.5}, "orders the problems: leave out --nearest"),
        ({"format": "verl"}, "--format verl needs the ground truth"),
        ({"format": "vrl"}, "did you mean 'verl'"),
    ],
)
def test_what_does_not_fit_is_one_line(analysis: Path, tmp_path: Path, flags: dict[str, Any], message: str) -> None:
    if "weights" in flags:
        (tmp_path / "w.yaml").write_text(flags["weights"])
        flags |= {"weights": tmp_path / "w.yaml"}
    with pytest.raises((ConfigError, InputError)) as caught:
        made(analysis, tmp_path / "o.parquet", **flags)
    assert message in str(caught.value)
    assert not list(tmp_path.glob("o*"))


def test_a_control_of_a_single_other_problem_is_written(sample_analysis: Path, tmp_path: Path) -> None:
    problems = pd.read_parquet(sample_analysis / "problems.parquet")
    one = problems.difficulty_data_idx.tolist()[7]
    output, control = tmp_path / "o.parquet", tmp_path / "c.parquet"
    select(settings(analysis=sample_analysis, output=output, where=f"data_idx != {one!r}", control=control))
    assert pd.read_parquet(control).difficulty_data_idx.tolist() == [one]
    everything = settings(
        analysis=sample_analysis, output=tmp_path / "p.parquet", where="num_samples > 0", control=tmp_path / "d.parquet"
    )
    with pytest.raises(ConfigError, match="every problem is kept, there are no others"):
        select(everything)


def test_a_recipe_and_a_condition_both_hold(sample_analysis: Path, tmp_path: Path) -> None:
    problems = pd.read_parquet(sample_analysis / "problems.parquet").set_index("difficulty_data_idx")
    flags: dict[str, Any] = {
        "analysis": sample_analysis,
        "recipe": "skywork",
        "where": "pass_rate < 0.3 or pass_rate > 0.8",
    }
    kept = select(settings(output=tmp_path / "o.parquet", **flags)).problems.difficulty_data_idx
    rate, passes = problems.difficulty_pass_rate, problems.difficulty_passes
    mixed = (passes >= 1) & (passes <= problems.difficulty_num_scored - 1)
    assert sorted(kept) == sorted(problems.index[mixed & ((rate < 0.3) | (rate > 0.8))])
    assert 0 < len(kept) < mixed.sum()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "all problems"),
        ({"where": "passes > 0"}, "passes > 0"),
        ({"sort": "-pass_rate"}, "sorted by -pass_rate"),
        ({"take": 5}, "5 at random"),
        ({"take": 5, "nearest": 0.5}, "5 nearest to a pass rate of 0.5"),
        (
            {"where": "passes > 0", "take": 2, "per": "bucket", "sort": "pass_rate"},
            "passes > 0; 2 of each bucket first by pass_rate",
        ),
        (
            {"take": 5, "nearest": 0.5, "sort": "pass_rate"},
            "5 nearest to a pass rate of 0.5; sorted by pass_rate",
        ),
    ],
)
def test_a_rule_is_a_sentence(analysis: Path, asked: dict[str, Any], said: str) -> None:
    given = settings(analysis=str(analysis), output="x.parquet", **asked)
    assert make_rule(given, open_analysis(str(analysis))).sentence() == said
