"""Secrets: what looks like one is never written or shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analyzer.cache import masking
from analyzer.errors import EXIT_OK
from analyzer.rollouts.sizes import Sizes
from tests.commands import SAMPLE, Outcome

pytestmark = pytest.mark.usefixtures("warm_zygotes")
Analyze = Callable[..., Outcome]
SECRET = "sk-very-secret-5f1e"
FUNCTION = (
    "def compute_score(data_source, solution_str, ground_truth, extra_info=None, api_key='', bonus=0.0, header=''):\n"
    "    return 1.0 + bonus\n"
)


@pytest.mark.parametrize(
    "name",
    ["api_key", "apiKey", "API-KEY", "hf_token", "password", "dbPassword", "X-Amz-Signature", "client_secret_id"],
)
def test_names_of_secrets(name: str) -> None:
    assert masking.looks_secret(name)


@pytest.mark.parametrize(
    "name", ["bonus", "max_tokens", "tokenizer", "keyword", "response_tokens", "author", "keys", ""]
)
def test_names_of_others(name: str) -> None:
    assert not masking.looks_secret(name)


COMMANDS = {
    "kwargs": (["--reward_kwargs", f'{{"bonus": 1, "api_key": "{SECRET}"}}'],
               '--reward_kwargs {"bonus": "***", "api_key": "***"}'),
    "kwargs as YAML": (["--reward_kwargs", f"{{key: {SECRET}}}"], "--reward_kwargs ***"),
    "with an equals sign": ([f"--reward-kwargs={{'a': '{SECRET}'}}"], "--reward-kwargs=***"),
    "one of the kwargs": (["--reward_kwargs.api_key", SECRET], "--reward_kwargs.api_key ***"),
    "a URL with a user": (["--vllm_url", f"http://me:{SECRET}@host:8000/v1"], "--vllm_url http://***@host:8000/v1"),
    "a signed URL": (["--rollouts", f"https://host/a.parquet?X-Amz-Signature={SECRET}&part=3"],
                     "--rollouts https://host/a.parquet?X-Amz-Signature=***&part=3"),
    "a column": (["--reward_fn_key", "reward_model", "--overwrite"], "--reward_fn_key reward_model --overwrite"),
    "a switch before a flag": (["--audit", "--seed", "3"], "--audit --seed 3"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "shown"), COMMANDS.values(), ids=COMMANDS)
def test_a_command_is_shown_without_secrets(words: list[str], shown: str) -> None:
    assert " ".join(masking.command(words)) == shown


def test_no_value_of_reward_kwargs_is_in_any_file_nor_shown_by_another_run(analyze: Analyze, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTION)
    given = {"reward_fn": f"{tmp_path}/mine.py:compute_score", "limit": 2}
    first = analyze(SAMPLE, reward_kwargs={"api_key": SECRET, "bonus": 0.25, "header": f"Bearer {SECRET}"}, **given)
    assert first.code == EXIT_OK
    assert first.json("summary.json")["overall_metrics"]["mean_reward"] == 1.25  # the function did get them
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "mine.py"]
    assert len(files) > 10
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    other = analyze(SAMPLE, reward_kwargs={"api_key": "another"}, explain_cache=True, **given)
    assert "kwargs.api_key: differs" in other.out
    assert SECRET not in other.out + other.err + first.out + first.err
    again = analyze(SAMPLE, reward_kwargs={"api_key": SECRET, "bonus": 0.5}, overwrite=True, **given)
    assert again.json("summary.json")["overall_metrics"]["mean_reward"] == 1.5


def test_workers_in_processes_of_their_own_get_the_values(analyze: Analyze, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTION)
    mine: dict[str, Any] = {"reward_fn": f"{tmp_path}/mine.py:compute_score", "reward_kwargs": {"bonus": 0.25}}
    outcome = analyze(SAMPLE, limit=30, n_jobs=2, sizes=Sizes(shard=1 << 12), **mine)
    assert outcome.json("summary.json")["overall_metrics"]["mean_reward"] == 1.25
