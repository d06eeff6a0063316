"""Every flag that is given is used, or named in a note: the table of all flags against all that decide on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from analyzer.commands import cache, view_analysis
from analyzer.commands.cache import CacheSettings
from analyzer.commands.filter_settings import FLAGS
from analyzer.commands.parsing import from_values
from analyzer.commands.unused import notes
from analyzer.config import AnalysisSettings, ComparisonSettings, SelectionSettings, ViewSettings
from analyzer.errors import ConfigError
from analyzer.generation import GenerationSettings
from tests.commands import flags

NEEDED: dict[Any, dict[str, Any]] = {
    AnalysisSettings: {"rollouts": "r", "output_dir": "o"},
    GenerationSettings: {"data_path": "d", "output_path": "o"},
    SelectionSettings: {"analysis": "a"},
    ViewSettings: {"analysis": "a"},
    CacheSettings: {},
    ComparisonSettings: {"analyses": ["a", "b"], "output_dir": "o"},
    FLAGS: {"model_path": "m", "output_dir": "o"},
}
G, A, S, V, C = GenerationSettings, AnalysisSettings, SelectionSettings, ViewSettings, CacheSettings
CASES = [  # settings, what is given, the flags that are named
    (G, {"model_path": "m", "max_concurrent": 7, "extra_body": {"top_k": 1}}, "max_concurrent extra_body"),
    (G, {"use_vllm": True, "max_concurrent": 7, "extra_body": {"top_k": 1}}, ""),
    (G, {"use_vllm": True, "batch_size": 2, "trust_remote_code": True}, "batch_size trust_remote_code"),
    (G, {"model_path": "m", "batch_size": 2, "trust_remote_code": True}, ""),
    (G, {"use_vllm": True, "temperature": 0, "top_p": 0.5, "seed": 1}, "top_p seed"),
    (G, {"use_vllm": True, "top_p": 0.5, "seed": 1, "top_up": "t", "num_samples": 2}, "num_samples"),
    (A, {"sandbox": "strict", "code_timeout": 1, "shared_cache": True}, "sandbox code_timeout shared_cache"),
    (A, {"sandbox": "strict", "allow_code_execution": True, "shared_cache": True, "cache_dir": "c"}, ""),
    (A, {"backend": "sequential", "n_jobs": 2, "dry_run": True, "explain_cache": True}, "n_jobs dry_run"),
    (S, {"pick": "best", "per_problem": 2, "group_size": 4}, "pick per_problem group_size"),
    (S, {"pick": "all", "per_problem": 2, "format": "dpo", "recipe": "informative", "group_size": 4},
     "per_problem"),
    (S, {"pick": "best", "per_problem": 2, "format": "kto"}, ""),
    (V, {"n": 3, "port": 1}, "n"),
    (V, {"n": 3, "port": 1, "show": "all"}, "port"),
    (V, {"n": 3, "port": 1, "report_only": True}, "n port"),
    (C, {"older_than": 3, "run": "x"}, "older_than run"),
    (C, {"older_than": 3, "run": "x", "prune": True}, "older_than"),
    (FLAGS, {"rollouts": "r", "use_vllm": True, "num_samples": 2, "seed": 1, "limit": 2}, "use_vllm num_samples"),
    (FLAGS, {"data_path": "d", "use_vllm": True, "num_samples": 2, "seed": 1, "temperature": 0}, ""),
    (FLAGS, {"data_path": "d", "pick": "best", "max_attempts": 2, "where": "pass_rate < 1"}, "max_attempts pick"),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "given", "named"), CASES)
def test_a_flag_without_effect_is_named(cls: Any, given: dict[str, Any], named: str) -> None:
    found = list(notes(from_values(cls, NEEDED[cls] | given)))
    assert sorted(
        word[2:] for note in found for word in note.split(" not used")[0].split() if word[:2] == "--"
    ) == sorted(named.split())
    assert all(note.startswith("note: --") and "\n" not in note for note in found)


@pytest.mark.parametrize("cls", NEEDED)
def test_nothing_is_named_where_nothing_is_given(cls: Any) -> None:
    assert not list(notes(from_values(cls, NEEDED[cls])))


@pytest.mark.parametrize(
    ("command", "given", "said"),
    [
        (view_analysis.COMMAND.main, {"analysis": "/none", "show": "hard", "report_only": True}, "give one"),
        (
            cache.COMMAND.main,
            {"cache_dir": "/none", "older_than": 3},
            "note: --older_than is not used: without --prune",
        ),
    ],
)
def test_a_command_says_so(
    command: Callable[[Sequence[str]], int], given: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command(flags(**given))
    assert said in capsys.readouterr().err


def test_a_server_that_would_not_be_asked_is_an_error() -> None:
    with pytest.raises(ConfigError, match="--vllm_url needs --use_vllm"):
        GenerationSettings(data_path="d", output_path="o.parquet", model_path="m", vllm_url="http://host/v1").check()
