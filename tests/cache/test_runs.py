"""Resume and reuse: what is scored once is never scored again, and what would change a score is another run."""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analyzer.cache import known_tokenizers, runs, score_files
from analyzer.errors import EXIT_OK, EXIT_USER
from analyzer.rollouts.sizes import Sizes
from analyzer.scoring import scorer
from analyzer.workers import backends
from tests.commands import TOKENIZER, Outcome, parquet, rollouts

Analyze = Callable[..., Outcome]
PROBLEMS, SAMPLES = 24, 5
ROLLOUTS = PROBLEMS * SAMPLES


@pytest.fixture
def analyze(analyze: Analyze) -> Analyze:
    """The command, with many shards."""
    return functools.partial(analyze, sizes=Sizes(shard=1 << 10))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """120 rollouts."""
    return parquet(tmp_path / "rollouts.parquet", rollouts(PROBLEMS, SAMPLES), row_group_size=10)


def committed(tmp_path: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (tmp_path / "cache" / "runs").glob("*/shards/shard-*.parquet")}


def scored_already(outcome: Outcome) -> int:
    """The rollouts that it says were scored before."""
    lines = [line for line in outcome.err.splitlines() if "rollouts are already scored" in line]
    return int(lines[0].split()[0]) if lines else 0


# ---------------------------------------------------------------- reuse


def test_another_strategy_and_folder_score_nothing_again_and_say_so(
    analyze: Analyze, data: Path, tmp_path: Path
) -> None:
    first = analyze(data)
    before = committed(tmp_path)
    second = analyze(data, bucketing_strategy="pass_rate", output_dir=tmp_path / "other")
    assert (first.code, second.code) == (EXIT_OK, EXIT_OK)
    assert f"{ROLLOUTS} rollouts are already scored; nothing is scored again" in second.err
    assert committed(tmp_path) == before
    assert second.json("summary.json")["bucketing_strategy"] == "pass_rate"
    assert second.json("problem_metrics.json") == first.json("problem_metrics.json")


def test_a_reward_is_started_where_there_is_something_to_score_and_only_there(
    analyze: Analyze, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    start = scorer.start_rewards

    def watched(built: Any, limits: Any) -> None:
        started.extend(str(reward) for reward in built)
        start(built, limits)

    monkeypatch.setattr(scorer, "start_rewards", watched)
    analyze(data)
    assert started == ["gsm8k"]
    analyze(data, bucketing_strategy="pass_rate", output_dir=tmp_path / "other")
    assert started == ["gsm8k"]
    next(iter(committed(tmp_path))).unlink()
    analyze(data, overwrite=True)
    assert started == ["gsm8k"] * 2


def test_workers_are_loaded_ahead_of_the_plan_unless_a_run_of_the_input_is_there(
    analyze: Analyze, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Any] = []
    monkeypatch.setattr(backends, "begin", lambda backend, warm: begun.append(backend.name))
    analyze(data, output_dir=tmp_path / "small", limit=3)
    assert begun == []
    analyze = functools.partial(analyze, sizes=Sizes(shard=1 << 10, ahead=0))
    os.utime(data, ns=(0, data.stat().st_mtime_ns + 1))
    analyze(data)
    assert begun == ["loky"]
    analyze(data, bucketing_strategy="pass_rate", output_dir=tmp_path / "other")
    assert begun == ["loky"]
    os.utime(data, ns=(0, data.stat().st_mtime_ns + 1))
    analyze(data, output_dir=tmp_path / "third")
    assert begun == ["loky"] * 2


def test_half_a_run_is_completed_and_ends_with_the_same_bytes(analyze: Analyze, data: Path, tmp_path: Path) -> None:
    expected = analyze(data).files()
    paths = sorted(committed(tmp_path))
    assert len(paths) > 5
    for path in paths[::2]:
        path.unlink()
    again = analyze(data)
    assert 0 < scored_already(again) < ROLLOUTS
    assert again.files() == expected


def test_only_damaged_or_foreign_shard_files_are_scored_again(analyze: Analyze, data: Path, tmp_path: Path) -> None:
    expected = analyze(data).files()
    whole, *paths = sorted(committed(tmp_path))

    def of_another_run(path: Path) -> None:
        scores, footer = score_files.read(str(path))
        score_files.write(str(path), footer._replace(fingerprint="f" * 32), scores)

    def with_a_damaged_byte(at: float, path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(at * len(content))] ^= 0x10
        path.write_bytes(content)

    damages: list[Callable[[Path], object]] = [  # of a shard each
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b""),
        lambda path: shutil.copy(whole, path),
        of_another_run,
        *(functools.partial(with_a_damaged_byte, at) for at in (0.2, 0.5, 0.9)),
    ]
    rows = [len(score_files.read(str(path))[0].rewards) for path in paths[: len(damages)]]
    for spoil, path in zip(damages, paths, strict=False):
        spoil(path)
    again = analyze(data)
    assert (again.code, again.files()) == (0, expected), again.err
    assert (scored_already(again), len(rows)) == (ROLLOUTS - sum(rows), len(damages))


def with_a_flipped_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x01]) + content[middle + 1 :]


def test_a_damaged_file_of_the_cache_heals(analyze: Analyze, data: Path, tmp_path: Path) -> None:
    """One damage after the other, what has healed being as good as new: a file of the run, and one of the tokenizer."""
    expected = analyze(data).files()
    damages: dict[str, Callable[[bytes], bytes]] = {
        "cut": lambda content: content[: len(content) // 2],
        "emptied": lambda content: b"",
        "a bit": with_a_flipped_bit,
    }
    of_the_run = ("offsets.npy", "ranges.npy", "run.json", "plan*.json")
    of_the_tokenizer = itertools.cycle(("*-*.spec.json", "*.tokenizer.json"))
    for name, (damage, damaged) in itertools.product(of_the_run, damages.items()):
        names = f"runs/*/{name}", f"tokenizers/{next(of_the_tokenizer)}"
        for each in names:
            (path,) = (tmp_path / "cache").glob(each)
            path.write_bytes(damaged(path.read_bytes()))
        sorted(committed(tmp_path))[0].unlink()  # so that there is something left to score, for which all is read
        again = analyze(data)
        assert again.code == 0, (names, damage, again.err)
        assert again.files() == expected, (names, damage)


def test_each_footer_is_read_once_however_often_is_asked_what_is_missing(
    analyze: Analyze, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyze(data)
    read: list[str] = []
    original = score_files.read_footer
    monkeypatch.setattr(score_files, "read_footer", lambda path: read.append(path) or original(path))
    analyze(data)
    assert sorted(read) == sorted(map(str, committed(tmp_path)))


# ---------------------------------------------------------------- another run


def other_tokenizer(tmp_path: Path) -> Path:
    folder = tmp_path / "tokenizer"
    shutil.copytree(TOKENIZER, folder)
    said = json.loads((folder / "tokenizer.json").read_bytes())
    said["model"]["merges"] = said["model"]["merges"][:-1]
    (folder / "tokenizer.json").write_text(json.dumps(said))
    return folder


CHANGES: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "a limit of rollouts": (lambda tmp_path: {"limit": 7}, "limit: None then, 7 now"),
    "a limit of grading": (lambda tmp_path: {"reward_timeout": 9.0}, "limits.cpu_seconds: 5.0 then, 9.0 now"),
    "another reward": (lambda tmp_path: {"reward_fn": "exact_match"}, "rewards."),
    "the tokenizer": (lambda tmp_path: {"model_path": other_tokenizer(tmp_path)}, "tokenizer:"),
    "the key": (lambda tmp_path: {"reward_fn_key": "data_source"}, "reward_fn_key: 'reward_model' then"),
    "the data source": (lambda tmp_path: {"data_source": "openai/gsm8k"}, "data_source: None then, 'openai/gsm8k'"),
}


def test_f11_what_can_change_a_reward_makes_another_run_and_explain_cache_names_it(
    analyze: Analyze, data: Path, tmp_path: Path
) -> None:
    assert "new; nothing is cached" in analyze(data, explain_cache=True).out
    analyze(data)
    before = committed(tmp_path)
    assert ": cached" in analyze(data, explain_cache=True).out
    for what, (change, said) in CHANGES.items():
        explained = analyze(data, explain_cache=True, **change(tmp_path)).out
        assert "the nearest cached run is" in explained, what
        assert said in explained, what
    assert committed(tmp_path) == before


def test_f11_of_several_cached_runs_the_nearest_is_named(tmp_path: Path) -> None:
    asked = {"input": "a", "scoring_code": "1"}
    near = asked | {"scoring_code": "2"}
    further = [near | {"input": str(number)} for number in range(5)]
    assert min([near, *further], key=runs.fingerprint) != near  # the first that is looked at
    for other in (near, *further):
        runs.open_run(str(tmp_path), other)
    first, *differences = runs.explain(str(tmp_path), asked)
    assert f"the nearest cached run is {runs.fingerprint(near)}, which differs in:" in first
    assert differences == ["  scoring_code: '2' then, '1' now"]


def test_the_least_recently_used_runs_are_listed_first(tmp_path: Path) -> None:
    folders = [Path(runs.open_run(str(tmp_path), {"input": number}).folder) for number in range(4)]
    for age, folder in enumerate(folders):
        os.utime(folder / "run.json", (1e9 - age, 1e9 - age))
    assert [one.path for one in runs.cached(str(tmp_path))] == [str(folder) for folder in reversed(folders)]


def test_f11_an_input_written_again_is_another_run(analyze: Analyze, data: Path, tmp_path: Path) -> None:
    analyze(data)
    before = committed(tmp_path)
    os.utime(data, ns=(0, data.stat().st_mtime_ns + 1))
    assert "input[0]" in analyze(data, explain_cache=True).out
    again = analyze(data)
    assert (again.code, scored_already(again)) == (EXIT_USER, 0)  # the outputs that are there are of another input
    assert "another input" in again.errors[0]
    assert committed(tmp_path) == before


def test_f11_another_version_of_a_library_is_another_run_and_its_scores_are_not_mixed(
    analyze: Analyze, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyze(data)
    before = committed(tmp_path)
    version = known_tokenizers.version_of
    monkeypatch.setattr(known_tokenizers, "version_of", lambda name: "99" if name == "tokenizers" else version(name))
    assert "versions.tokenizers: " in analyze(data, explain_cache=True).out
    again = analyze(data, output_dir=tmp_path / "other")
    assert (again.code, scored_already(again)) == (EXIT_OK, 0)
    assert {path: content for path, content in committed(tmp_path).items() if path in before} == before
    assert len(committed(tmp_path)) == 2 * len(before)


# ---------------------------------------------------------------- parts


def test_parts_share_the_shards_write_no_outputs_and_the_same_command_without_part_merges(
    analyze: Analyze, data: Path, tmp_path: Path
) -> None:
    whole = analyze(data, cache_dir=tmp_path / "whole", output_dir=tmp_path / "expected")
    shards_of_part = []
    for part in ("1/3", "2/3", "3/3"):
        before = set(committed(tmp_path))
        outcome = analyze(data, part=part)
        assert outcome.code == EXIT_OK
        assert f"part {part} is scored" in outcome.err
        assert outcome.out == ""
        shards_of_part.append(len(set(committed(tmp_path)) - before))
    assert not (tmp_path / "out").exists()
    assert max(shards_of_part) - min(shards_of_part) <= 1
    merged = analyze(data)
    assert f"{ROLLOUTS} rollouts are already scored; nothing is scored again" in merged.err
    assert merged.files() == whole.files()


def test_the_run_without_part_scores_what_the_parts_left(analyze: Analyze, data: Path, tmp_path: Path) -> None:
    whole = analyze(data, cache_dir=tmp_path / "whole", output_dir=tmp_path / "expected")
    analyze(data, part="2/4")
    merged = analyze(data)
    assert 0 < scored_already(merged) < ROLLOUTS / 2
    assert merged.files() == whole.files()


def test_more_parts_than_shards_leave_some_with_nothing_to_do(analyze: Analyze, data: Path) -> None:
    outcome = analyze(data, part="1000/1000")
    assert (outcome.code, outcome.errors) == (EXIT_OK, [])


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "1/0", "a/b"])
def test_a_part_that_is_none_is_an_error_before_any_work(
    analyze: Analyze, data: Path, tmp_path: Path, part: str
) -> None:
    outcome = analyze(data, part=part)
    assert (outcome.code, len(outcome.errors)) == (EXIT_USER, 1)
    assert "must be I/N with 1 <= I <= N" in outcome.errors[0]
    assert not (tmp_path / "cache").exists()


def test_the_cut_into_shards_does_not_depend_on_the_number_of_workers(analyze: Analyze, data: Path) -> None:
    assert analyze(data, dry_run=True, n_jobs=1).out == analyze(data, dry_run=True, n_jobs=7).out
