"""filter_difficulty: one command from training data to the difficulty of each problem."""

from __future__ import annotations

import importlib.util
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analyzer import tokens
from analyzer.commands.filter_difficulty import filter_difficulty
from tests import processes
from tests.commands import known_tokenizer, parquet, rollouts
from tests.generation.stub import always, running
from tests.processes import DEVNULL, Process

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "examples" / "sample" / "tokenizer"

Command = Callable[..., list[str]]


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """Ten problems in verl's format; the stub answers every one of them wrongly, "... -> number"."""
    rows = [
        {
            "data_source": "openai/gsm8k",
            "prompt": [{"role": "user", "content": f"What is {n} + 1?"}],
            "reward_model": {"style": "rule", "ground_truth": str(n + 1)},
            "extra_info": {"index": n},
        }
        for n in range(10)
    ]
    path = tmp_path / "train.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.fixture
def command(tmp_path: Path, training: Path) -> Command:
    """The arguments of the command against a server, those of `more` instead of the usual ones."""

    def arguments(url: str, *more: str) -> list[str]:
        needed = ["--use_vllm", "--vllm_url", url, "--model_path", str(TOKENIZER), "--data_path", str(training)]
        needed += ["--output_dir", str(tmp_path / "out"), "--num_samples", "5", "--cache_dir", str(tmp_path / "cache")]
        kept = [word for at in range(1, len(needed), 2) if needed[at] not in more for word in needed[at : at + 2]]
        return ["--use_vllm", *kept, "--n_jobs", "1", *more]

    return arguments


def test_it_goes_from_training_data_to_the_difficulty_of_each_problem(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running() as server:
        assert filter_difficulty(command(server.url, "--bucketing_strategy", "pass_rate")) == 0
    assert "Total rollouts: 50" in capsys.readouterr().out
    out = tmp_path / "out"
    assert len(pd.read_parquet(out / "rollouts.parquet")) == 50
    assert len(pd.read_parquet(out / "rollouts_very_hard.parquet")) == 50
    table = pd.read_parquet(out / "problems.parquet")
    assert not (out / "difficulty.parquet").exists()
    assert list(table["difficulty_data_idx"]) == list(range(10))
    assert set(table["difficulty_bucket"]) == {"very_hard"}
    assert table["reward_model"][3] == {"style": "rule", "ground_truth": "4"}
    assert table["prompt"][3][0]["content"] == "What is 3 + 1?"
    assert (table["difficulty_num_samples"] == 5).all()


def test_sampling_is_seeded_only_where_a_seed_is_given(command: Command, tmp_path: Path) -> None:
    with running() as server:
        assert filter_difficulty(command(server.url)) == 0
        assert not [body for body in server.stub.bodies if "seed" in body]
        again = tmp_path / "again"
        assert filter_difficulty(command(server.url, "--seed", "7", "--output_dir", str(again))) == 0
    assert len([body for body in server.stub.bodies if "seed" in body]) == 10
    seeds = [json.loads((out / "summary.json").read_text())["settings"]["seed"] for out in (tmp_path / "out", again)]
    assert seeds == [42, 7]


def test_another_strategy_generates_nothing_and_scores_nothing(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running() as server:
        assert filter_difficulty(command(server.url, "--bucketing_strategy", "pass_rate")) == 0
    more = ["--bucketing_strategy", "percentile"]
    assert filter_difficulty(command("http://127.0.0.1:9/v1", *more)) == 2  # other outputs are there
    assert filter_difficulty(command("http://127.0.0.1:9/v1", *more, "--overwrite")) == 0
    errors = capsys.readouterr().err
    assert "50 rollouts, complete since" in errors
    assert "nothing is scored again" in errors
    assert not (tmp_path / "out" / "rollouts_very_hard.parquet").exists()
    assert set(pd.read_parquet(tmp_path / "out" / "problems.parquet")["difficulty_bucket"]) == {"medium-hard"}


def test_failed_prompts_are_reported_and_the_rest_is_analyzed(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(lambda number, body: "400" if "3 + 1" in body["messages"][0]["content"] else "ok") as server:
        assert filter_difficulty(command(server.url)) == 3
    shown = capsys.readouterr()
    assert "Total problems: 9" in shown.out
    assert "1 prompt lacks rollouts" in shown.err


def test_the_same_command_takes_in_prompts_that_had_failed(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(lambda number, body: "400" if "3 + 1" in body["messages"][0]["content"] else "ok") as server:
        words = command(server.url, "--where", "pass_rate <= 1", "--max_attempts", "1")
        assert filter_difficulty(words) == 3
        assert filter_difficulty(words) == 3, "the prompt is refused again"
        server.stub.plan = always("ok")
        other = command(server.url, "--where", "pass_rate <= 1", "--bucketing_strategy", "pass_rate")
        capsys.readouterr()
        assert filter_difficulty(other) == 2, "another strategy still needs --overwrite"
        assert "holds outputs of bucketing_strategy percentile, not pass_rate" in capsys.readouterr().err
        assert filter_difficulty(words) == 0
    assert "Total problems: 10" in capsys.readouterr().out
    assert len(pd.read_parquet(tmp_path / "out" / "problems.parquet")) == 10
    assert len(pd.read_parquet(tmp_path / "out" / "selected.parquet")) == 10


def test_a_larger_limit_goes_on_from_the_smaller_one(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running() as server:
        for limit, new in ((3, 15), (7, 20)):
            assert filter_difficulty(command(server.url, "--limit", str(limit), "--where", "pass_rate < 1")) == 0
            shown = capsys.readouterr()
            assert f"Total problems: {limit}\n" in shown.out
            assert f"{5 * limit} rollouts, {new} new" in shown.err
        assert filter_difficulty(command(server.url, "--limit", "3")) == 2
        assert len(server.stub.bodies) == 7
    assert len(pd.read_parquet(tmp_path / "out" / "selected.parquet")) == 7


def test_other_settings_are_refused_with_a_flag_that_this_command_has(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with running() as server:
        assert filter_difficulty(command(server.url)) == 0
        capsys.readouterr()
        assert filter_difficulty(command(server.url, "--temperature", "0.1")) == 2
    errors = capsys.readouterr().err
    assert "temperature (0.7 then, 0.1 now); choose another --output_dir, or --overwrite" in errors
    assert "--output_path" not in errors


def test_without_a_single_rollout_the_reason_is_named_and_nothing_is_analyzed(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(always("400")) as server:
        assert filter_difficulty(command(server.url)) == 3
    errors = capsys.readouterr().err
    assert "no prompt has rollouts" in errors
    assert "400 stub says 400" in errors
    assert "has no rows" not in errors
    assert not (tmp_path / "out" / "summary.json").exists()


def test_a_server_that_never_answers_is_one_line_and_no_output(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(always("401")) as server:
        assert filter_difficulty(command(server.url)) == 2
    errors = capsys.readouterr().err
    assert errors.count("error:") == 1
    assert not (tmp_path / "out" / "summary.json").exists()


def test_rollouts_that_have_rewards_are_taken_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rollouts = tmp_path / "scored.parquet"
    rows = [
        {"prompt": "p", "response": "r", "data_idx": n, "sample_idx": s, "reward": float(s < n), "original_level": n}
        for n in range(4)
        for s in range(3)
    ]
    pd.DataFrame(rows).to_parquet(rollouts)
    out = tmp_path / "out"
    given = ["--rollouts", str(rollouts), "--model_path", str(TOKENIZER), "--output_dir", str(out), "--n_jobs", "1"]
    given += ["--cache_dir", str(tmp_path / "cache"), "--bucketing_strategy", "pass_rate"]
    assert filter_difficulty(given) == 0
    table = pd.read_parquet(out / "problems.parquet")
    assert list(table["difficulty_pass_rate"]) == [0.0, 1 / 3, 2 / 3, 1.0]
    assert list(table["difficulty_bucket"]) == ["very_hard", "medium", "easy", "very_easy"]
    assert list(table["level"]) == [0, 1, 2, 3]
    assert json.loads((out / "summary.json").read_text())["settings"]["rewards_from_input"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--model_path", "m", "--output_dir", "o"], "--data_path is required"),
        (["--output_dir", "o"], "--model_path is required"),
        (["--model_path", "m", "--output_dir", "o", "--rollouts", "r", "--data_path", "d"], "give one"),
        (["--num_smples", "3"], "did you mean 'num_samples'"),
        (["--part", "1/2"], "'part'"),
    ],
)
def test_an_error_is_one_line(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert filter_difficulty(argv) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1


def test_killed_while_it_generates_it_goes_on(command: Command, tmp_path: Path) -> None:
    script = ROOT / "scripts" / "filter_difficulty.py"
    known_tokenizer(tmp_path / "cache")
    with running(delay=0.05) as server:
        arguments = command(server.url, "--max_concurrent", "1")
        with Process([script, *arguments], stdout=DEVNULL, stderr=DEVNULL) as process:
            while len(server.stub.bodies) < 4:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        asked = len(server.stub.bodies)
        done = processes.run([script, *arguments])
        assert done.returncode == 0, done.stderr
        assert len(server.stub.bodies) <= asked + 8
    table = pd.read_parquet(tmp_path / "out" / "rollouts_with_rewards.parquet")
    assert sorted(zip(table["data_idx"], table["sample_idx"], strict=True)) == [
        (n, s) for n in range(10) for s in range(5)
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--bucketing_strategy", "percentil"], "did you mean 'percentile'"),
        (["--model_path", "/no/such/model"], "/no/such/model"),
        (["--data_source", "my/own"], "no reward is known for data source 'my/own' (50 rollouts)"),
        (["--reward_fn_key", "answer"], "name the one with the ground truth with --reward_fn_key"),
    ],
)
def test_what_would_stop_the_analysis_is_refused_before_anything_is_generated(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    with running() as server:
        assert filter_difficulty(command(server.url, *more)) == 2
        assert not server.stub.bodies
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_that_is_known_is_not_loaded_to_see_whether_it_can_be(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    load = tokens.load
    monkeypatch.setattr(tokens, "load", lambda model, trust: (loaded.append(model), load(model, trust)))
    with running() as server:
        wrong = command(server.url, "--reward_fn_key", "answer")  # found after the tokenizer was looked at
        assert filter_difficulty(wrong) == 2
        known_tokenizer(tmp_path / "cache")
        assert filter_difficulty(wrong) == 2
    assert loaded == [str(TOKENIZER)]


@pytest.mark.parametrize("more", [[], ["--reward_fn", "gsm8k"]])
def test_rows_without_a_data_source_are_said_before_anything_is_generated(
    command: Command, training: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    rows = pd.read_parquet(training)
    rows.loc[[2, 5], "data_source"] = None
    rows.to_parquet(training)
    with running() as server:
        assert filter_difficulty(command(server.url, *more)) == 2
        assert not server.stub.bodies
    said = "data_source is null in 2 rows; fill it in, leave the rows out, or name the data source of all rows with"
    assert said in capsys.readouterr().err


def test_a_rule_selects_at_the_end_and_runs_again_from_what_is_there(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rule = ["--where", "pass_rate == 0 and data_idx < 7", "--sort", "-data_idx", "--bucketing_strategy", "pass_rate"]
    with running() as server:
        assert filter_difficulty(command(server.url, *rule)) == 0
    shown = capsys.readouterr().out
    assert shown.index("ANALYSIS SUMMARY") < shown.index("SELECTION") < shown.index("Problems kept: 7 of 10")
    table = pd.read_parquet(tmp_path / "out" / "selected.parquet")
    assert list(table["difficulty_data_idx"]) == [6, 5, 4, 3, 2, 1, 0]
    assert (tmp_path / "out" / "selected.manifest.yaml").exists()
    nowhere = "http://127.0.0.1:9/v1"
    assert filter_difficulty(command(nowhere, *rule)) == 0
    more = ["--recipe", "polaris", "--format", "roll", "--bucketing_strategy", "pass_rate", "--take", "3"]
    assert filter_difficulty(command(nowhere, *more)) == 0
    assert len((tmp_path / "out" / "selected.jsonl").read_text().splitlines()) == 3


WRONG = {  # flags -> what the line says
    "--where|pass_rate = 0": "--where: at the ^ in `pass_rate ^= 0`: = is not part of the language, write ==",
    "--where|pass_rat < 1": "there is no 'pass_rat' (did you mean 'pass_rate'?)",
    "--where|pass_rate < 'x'": "a number cannot be compared with a text",
    "--where|extra_info.indx > 1": "there is no field 'indx' (did you mean 'index'?)",
    "--where|pass@16 < 1": "there is no 'pass@16'",
    "--recipe|polari": "did you mean 'polaris'",
    "--recipe|informative": "give --take N",
    "--sort|-pass_rat": "there is no 'pass_rat'",
    "--take|3|--per|sorce": "--per sorce: there is no 'sorce'",
    "--nearest|0.5": "give --take N",
    "--weights|WEIGHTS": "--weights: at the ^ in `^pass_rat <= 1`",
    "--format|vrl": "did you mean 'verl'",
    "--format|roll|--output|x.parquet": "format roll is read as .jsonl only",
    "--where|pass_rate < 1|--output|x.csv": "must end in .parquet or .jsonl",
    "--where|pass_rate < 1|--output|/proc/x.parquet": "--output /proc/x.parquet: /proc cannot be written to",
    "--where|pass_rate < 1|--output|TRAIN": "is read by this command, and would be replaced; give another name",
    "--where|pass_rate < 1|--overwrite|--control|OUT/rollouts.parquet": "is read by this command, and would be",
    "--where|pass_rate < 1|--output|OUT/problems.parquet": "is a file of the analysis",
    "--rows|stp == 200": "--rows: at the ^ in `^stp == 200`: there is no 'stp'",
    "--columns|{response: output}": "--columns: response: there is no 'output'",
    "--join|/no/such.parquet": "/no/such.parquet: no such file",
    "--join_on|index": "give --join too",
    "--backend|ray": "--backend ray needs ray: pip install",
    "--dask_scheduler|tcp://127.0.0.1:1": "--dask_scheduler needs --backend dask",
    "--sandbox|docker": "--sandbox: invalid choice: 'docker'",
    "--reward_fn|reasoning_gym": "the reward reasoning_gym needs an extra that is not installed",
    "--reward_fn|prime_code": "allow it with --allow_code_execution",
    "--reward_fn|OWN:nope": "has no 'nope'; its functions are: score, levelled",
    "--reward_fn|OWN:levelled": "needs the column 'original_level', which is missing",
    "--output_dir|/proc/x": "--output_dir /proc/x: /proc cannot be written to",
    "--output_dir|TRAIN": "is a file; it must be a folder",
    "--output_dir|FOREIGN": "holds summary.json of another program",
}


def test_whatever_can_be_judged_before_the_generation_is_refused_before_it(
    command: Command,
    training: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", without("ray", "reasoning_gym"))
    known_tokenizer(tmp_path / "cache")
    (tmp_path / "w.yaml").write_text('[{where: "pass_rat <= 1", weight: 1}]')
    functions = ("score(response, ground_truth)", "levelled(completions, level, **kwargs)")
    (tmp_path / "own.py").write_text("".join(f"def {head}:\n    return 1.0\n" for head in functions))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "summary.json").write_text("{}")
    places = {"WEIGHTS": "w.yaml", "TRAIN": training.name, "OWN": "own.py", "FOREIGN": "foreign", "OUT": "out"}
    with running() as server:
        for words, said in WRONG.items():
            for name, place in places.items():
                words = words.replace(name, str(tmp_path / place))  # noqa: PLW2901
            assert filter_difficulty(command(server.url, *words.split("|"))) == 2, words
            line = capsys.readouterr().err
            assert said in line, (words, line)
            assert (line.count("\n"), server.stub.bodies) == (1, []), words
            assert not (tmp_path / "out").exists(), words


def test_prompts_that_a_format_does_not_take_are_refused_before_the_generation(
    command: Command, training: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pd.read_parquet(training)
    rows["prompt"] = [[{"role": "system", "content": "Be brief."}, *prompt] for prompt in rows["prompt"]]
    rows.to_parquet(training)
    with running() as server:
        assert filter_difficulty(command(server.url, "--format", "nemo_rl")) == 2
        assert not server.stub.bodies
    assert "takes prompts of one user message, and one has 2 messages" in capsys.readouterr().err


def without(*packages: str) -> Callable[..., Any]:
    """importlib.util.find_spec where these are not installed."""
    find = importlib.util.find_spec
    return lambda name, package=None: None if name in packages else find(name, package)


def test_a_rule_for_given_rollouts_is_refused_before_they_are_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = parquet(tmp_path / "r.parquet", rollouts())
    words = ["--rollouts", str(given), "--model_path", str(TOKENIZER), "--output_dir", str(tmp_path / "out")]
    words += ["--n_jobs", "1", "--cache_dir", str(known_tokenizer(tmp_path / "cache"))]
    for rule, said in (
        ("pass_rat < 1", "did you mean 'pass_rate'"),
        ("reward_model.style == 1", "a text cannot be compared with a number"),
        ("pass@8 < 1", "there is no 'pass@8'"),
    ):
        assert filter_difficulty([*words, "--where", rule]) == 2
        assert said in capsys.readouterr().err
    assert not list((tmp_path / "cache").rglob("shard-*"))
    assert filter_difficulty([*words, "--where", "pass@4 < 1 and reward_model.style == 'rule'"]) == 0
