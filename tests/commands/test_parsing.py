"""The parser of flags and YAML files: what is wrong is one line that names the flag, or the file and its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analyzer.commands.parsing import from_values, parse
from analyzer.config import AnalysisSettings
from analyzer.errors import ConfigError

NEEDED = ("--rollouts", "r", "--model_path", "m", "--output_dir", "o")


def settings(*words: str) -> AnalysisSettings:
    return parse(AnalysisSettings, [*NEEDED, *words], "analyze_rollouts", "")


CASES = {
    "not YAML": ("limit: 1\n  seed: [1", "c.yaml, line 2: not valid YAML (mapping values are not allowed here)"),
    "a text": ("limit", "--config {}: the file must hold keys and values"),
    "nothing": ("", "--config {}: the file must hold keys and values"),
    "a list": ("[1]", "--config {}: the file must hold keys and values"),
    "another type": ("limit: many", "{}: limit: 'many' is not an integer"),
    "out of range": ("limit: 0", "{}: limit 0: must be 1 or more"),
    "no choice": ("backend: fog", "{}: backend: 'fog' not among choices"),
    "an unknown key": ("limits: 1", "{}: there is no key 'limits' (did you mean 'limit'?)"),
    "a key twice": ("limit: 1\nseed: 2\nlimit: 3", "{}, line 3: the key 'limit' occurs twice"),
    "a key twice, within": ("reward_kwargs:\n  a: 1\n  a: 2", "{}, line 3: the key 'a' occurs twice"),
    "too large within": ("reward_kwargs: {a: [1, 9223372036854775808]}", "{}: reward_kwargs: 9223372036854775808 is"),
    "not UTF-8": (b"\xff", "--config {}: not UTF-8 (byte 0)"),
}


@pytest.mark.parametrize(("text", "says"), CASES.values(), ids=CASES)
def test_an_error_in_a_yaml_file_names_the_file(text: str | bytes, says: str, tmp_path: Path) -> None:
    good, path = tmp_path / "good.yaml", tmp_path / "c.yaml"
    good.write_text("max_unscored: 0.5")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        settings("--config", str(good), f"--config={path}")
    assert says.format(path) in str(caught.value)


@pytest.mark.parametrize(("name", "says"), [("none.yaml", "No such file or directory"), ("", "Is a directory")])
def test_a_yaml_file_that_cannot_be_read_is_named(name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"--config {tmp_path / name}: cannot be read \\({says}"):
        settings("--config", str(tmp_path / name))


def test_a_value_of_a_flag_is_not_blamed_on_the_file_that_it_wins_over(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("limit: 5")
    with pytest.raises(ConfigError, match=r"^--limit: 'many' is not an integer$"):
        settings("--config", str(tmp_path / "c.yaml"), "--limit", "many")


def test_of_two_yaml_files_the_later_one_wins_and_a_flag_over_both(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("limit: 1\nseed: 1\nn_jobs: 1")
    (tmp_path / "b.yaml").write_text("limit: 2\nseed: 2")
    got = settings("--seed", "3", "--config", str(tmp_path / "a.yaml"), f"--config={tmp_path / 'b.yaml'}")
    assert (got.limit, got.seed, got.n_jobs) == (2, 3, 1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--rollouts", "b"], "--rollouts is given 2 times; give it once, and for several files a folder or a glob"),
        (["--rollouts=b"], "--rollouts is given 2 times"),
        (["--seed", "1", "--seed", "1"], "--seed is given 2 times"),
        (["--max-unscored", "1", "--max_unscored=1"], "--max_unscored is given 2 times"),
        (["--limit", "99999999999999999999"], "--limit: 99999999999999999999 is larger than 9223372036854775807"),
        (["--reward_kwargs", '{"a": {"b": -9223372036854775809}}'], "--reward_kwargs: -9223372036854775809 is larger"),
        (["--pass_threshold", "1e400"], "--pass_threshold inf: must be a finite number"),
        (["--reward_memory", "1e300"], "--reward_memory 1e+300: must be from 0.01 to 1000000"),
        (["--reward_timeout", "1e300"], "--reward_timeout 1e+300: must be from 0.001 to 1000000"),
        (["--code_timeout", "1e300"], "--code_timeout 1e+300: must be from 0.001 to 1000000"),
        (["--n_jobs", "-2"], "--n_jobs -2: must be 1 or more"),
        (["--pass_threshold", "high"], "--pass_threshold: 'high' is not a number"),
        (["--overwrite=true"], "--overwrite takes no value: leave out 'true'"),
        (["stray"], "unexpected argument 'stray'; see --help"),
        (["--rows", ""], "--rows: is empty; give a value, or leave it out"),
        (["-limit", "3"], "there is no flag '-limit' (did you mean 'limit'?); flags begin with two dashes"),
        (["--reward_kwargs", "{a: 1"], "--reward_kwargs: '{a: 1' is not a YAML mapping; write '{name: value, ...}'"),
    ],
)
def test_a_flag_that_cannot_be_is_one_line(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(*words)
    assert str(caught.value).startswith(says)


def test_an_alias_and_its_flag_are_the_same_flag() -> None:
    from analyzer.generation.settings import GenerationSettings

    with pytest.raises(ConfigError, match="--vllm_url is given 2 times"):
        parse(GenerationSettings, ["--vllm_url", "http://a", "--vllm_base_url", "http://b"], "generate_rollouts", "")


def test_all_required_flags_that_are_missing_are_named_together() -> None:
    with pytest.raises(ConfigError, match=r"^--rollouts and --output_dir are required; see --help$"):
        parse(AnalysisSettings, [], "analyze_rollouts", "")
    with pytest.raises(ConfigError, match=r"^--output_dir is required: .*outputs"):
        parse(AnalysisSettings, ["--rollouts", "r"], "analyze_rollouts", "")


@pytest.mark.parametrize(("given", "meant"), [(-1, None), (None, None), (3, 3)])
def test_minus_one_job_means_all_cores(given: Any, meant: int | None) -> None:
    needed = {"rollouts": "r", "model_path": "m", "output_dir": "o"}
    assert from_values(AnalysisSettings, {**needed, "n_jobs": given}).n_jobs == meant
    if given is not None:
        assert settings("--n_jobs", str(given)).n_jobs == meant
