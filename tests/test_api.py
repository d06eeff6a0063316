"""The public API: what `import analyzer` gives."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analyzer
from analyzer.commands.parsing import from_values
from analyzer.config import AnalysisSettings

API: Any = analyzer  # called with what its types forbid
SAMPLE = Path(__file__).resolve().parents[1] / "examples" / "sample"


def test_every_public_name_is_there_sorted_and_documented() -> None:
    assert analyzer.__all__ == sorted(analyzer.__all__)
    for name in analyzer.__all__:
        value = getattr(analyzer, name)
        assert name == "__version__" or value.__doc__, name
    assert set(analyzer.__all__) <= set(dir(analyzer))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'analyse'"):
        _ = analyzer.analyse


def test_the_signature_of_analyze_shows_every_flag() -> None:
    shown = inspect.signature(analyzer.analyze).parameters
    assert [name for name in shown if name != "progress"] == [field.name for field in fields(AnalysisSettings)]
    assert shown["rollouts"].default is inspect.Parameter.empty
    assert shown["bucketing_strategy"].default == "percentile"


def test_import_analyzer_loads_nothing_heavy() -> None:
    heavy = {"numpy", "pandas", "pyarrow", "transformers", "sympy", "sklearn", "jsonargparse", "joblib"}
    script = f"import sys, analyzer; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_settings_object_does_what_its_keywords_do(tmp_path: Path) -> None:
    values = {"rollouts": str(SAMPLE / "rollouts.parquet"), "model_path": str(SAMPLE / "tokenizer"), "limit": 5}
    common: dict[str, Any] = {**values, "cache_dir": str(tmp_path / "cache"), "backend": "sequential"}
    one = analyzer.analyze(AnalysisSettings(**common, output_dir=str(tmp_path / "one")))
    other = analyzer.analyze(**common, output_dir=str(tmp_path / "other"))
    assert one.summary.to_json() == other.summary.to_json()
    with pytest.raises(
        analyzer.UserError, match=r"no bucket is named 'esy' \(did you mean 'easy'\?\); there are: easy"
    ):
        one.bucket("esy")
    with pytest.raises(analyzer.UserError, match="settings or keywords"):
        analyzer.analyze(AnalysisSettings(**common, output_dir="x"), limit=3)


def test_analyses_in_threads_run_one_after_the_other(tmp_path: Path) -> None:
    def run(name: str) -> Any:
        return analyzer.analyze(
            rollouts=str(SAMPLE / "rollouts.parquet"),
            model_path=str(SAMPLE / "tokenizer"),
            output_dir=str(tmp_path / name),
            cache_dir=str(tmp_path / f"{name} cache"),
            n_jobs=2,
            no_report=True,
        ).summary.to_json()

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(run, ("one", "other"))
    assert one == other


@pytest.mark.parametrize(
    ("reward", "responses", "ground_truth", "expected"),
    [
        ("math_verify", [r"so $\boxed{\frac{1}{2}}$", r"$\boxed{0.4}$", "none"], "1/2", [1.0, 0.0, 0.0]),
        ("gsm8k", ["#### 5", "#### 6"], "5", [1.0, 0.0]),
        ("multiple_choice", ["Answer: B"], "B", [1.0]),
    ],
)
def test_ten_strings_are_scored_with_one_call(
    reward: str, responses: list[str], ground_truth: str, expected: list[float]
) -> None:
    scores = analyzer.score(reward, responses, ground_truth)
    assert [score.reward for score in scores] == expected
    assert [score.status for score in scores] == [analyzer.Status.OK] * len(responses)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: API.score("gsm8k", "#### 5", "5"), "a list of responses"),  # each character was one
        (lambda: API.score("gsm8k", ["#### 5", 5], "5"), "a list of responses, each of them text"),
        (lambda: API.score(len, ["#### 5"], "5"), "'file.py:name'"),
        (lambda: API.analyze("r.parquet"), "settings or keywords"),
        (lambda: API.select("analysis"), "settings or keywords"),
        (
            lambda: API.analyze(rollouts=pd.DataFrame({"a": [1]}), output_dir="o"),
            "--rollouts: a DataFrame is given",
        ),
        (lambda: API.analyze(rollouts=["a", "b"], output_dir="o"), "--rollouts: \"['a', 'b']\" is not text"),
        (lambda: API.analyze(rollouts="r", output_dir="o", reward_fn=len), "name your function as 'file.py:name'"),
    ],
)
def test_what_python_gives_and_no_flag_could_is_one_line(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(analyzer.UserError, match=re.escape(message)):
        call()


def test_numbers_of_numpy_are_numbers() -> None:
    given = {"rollouts": "r", "output_dir": "o", "limit": np.int64(3), "pass_threshold": np.float32(0.25)}
    settings = from_values(AnalysisSettings, given)
    assert (settings.limit, settings.pass_threshold) == (3, 0.25)


def test_score_takes_options_and_a_function_of_ones_own(tmp_path: Path, warm_zygotes: None) -> None:
    assert [s.reward for s in analyzer.score("exact_match", ["a\nB"], "B", options={"place": "last_line"})] == [1.0]
    file = tmp_path / "mine.py"
    file.write_text("def f(data_source, solution_str, ground_truth, extra_info):\n    return len(solution_str)\n")
    assert [score.reward for score in analyzer.score(f"{file}:f", ["ab", "abc"], "x")] == [2.0, 3.0]
    with pytest.raises(analyzer.UserError, match="did you mean 'math_verify'"):
        analyzer.score("math_verfy", ["1"], "1")


def test_rewards_for_code_run_programs_only_where_that_is_allowed() -> None:
    right = "```python\ndef add(a, b):\n    return a + b\n```"
    gold = {"entry_point": "add", "test": "def check(add):\n    assert add(1, 2) == 3\n", "prompt": ""}
    for options in ({}, {"parts": [{"name": "humaneval"}]}):
        reward = "combine" if options else "humaneval"
        with pytest.raises(analyzer.UserError, match="allow_code_execution"):
            analyzer.score(reward, [right], gold, options=options)
        scores = analyzer.score(
            reward, [right, right.replace("+", "-")], gold, options=options, allow_code_execution=True
        )
        assert [score.reward for score in scores] == [1.0, 0.0]


def test_what_cannot_be_judged_has_a_status_and_no_reward() -> None:
    (score,) = analyzer.score("gsm8k", ["#### 5"], {"not": "a text"})
    assert (score.reward, score.status) == (None, analyzer.Status.GOLD_ERROR)
