"""A user's own reward function: the reward that training would give, or the status that says why there is none."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from analyzer import rewards
from analyzer.errors import ConfigError, RewardError
from analyzer.grading import Limits, nursery
from analyzer.planning import routing
from analyzer.rewards import BaseReward
from analyzer.rewards.custom.reward import Custom
from analyzer.schema import Problem, Score, Status
from analyzer.scoring import Scorer
from tests.grading import warm
from tests.grading.processes import gone, marked

FUNCTIONS = Path(__file__).with_name("functions.py")
EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "rewards"
LIMITS = Limits(cpu_seconds=0.2, wall_factor=5, memory_bytes=300 << 20)
PROBLEM = Problem("a source", "5", {"index": 7}, "What is 2+3?", {"answer": 5})


@pytest.fixture(scope="module", autouse=True)
def _warm_zygotes() -> Iterator[None]:
    with warm.warm_zygotes():
        yield


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zygotes that are started, and so have the mark in their environment."""
    nursery.close_all()
    monkeypatch.setattr(nursery, "subprocess", subprocess)


@functools.cache
def built(name: str) -> BaseReward:
    """A function of functions.py without options: a build starts a process, which the next scorers can use."""
    return rewards.build(f"{FUNCTIONS}:{name}")


def scored(
    name: str,
    responses: Sequence[str],
    problem: Problem = PROBLEM,
    file: Path = FUNCTIONS,
    limits: Limits = LIMITS,
    **kwargs: Any,
) -> list[Score]:
    shared = file == FUNCTIONS and not kwargs
    reward = built(name) if shared else rewards.build(f"{file}:{name}", kwargs)
    with closing(Scorer(reward, limits)) as scorer:
        return scorer.score(problem, responses)


RESULTS = [
    ("right", 1.0, Status.OK, ""),
    ("wrong", 0.0, Status.OK, ""),
    ("true", 1.0, Status.OK, ""),
    ("tuple", 0.5, Status.OK, ""),
    ("list", 0.25, Status.OK, ""),
    ("dict", 0.75, Status.OK, ""),
    ("none", None, Status.ABSTAIN, "returned None"),
    ("none score", None, Status.ABSTAIN, "returned None"),
    ("nan", None, Status.INVALID_RESULT, "returned nan, not a finite number"),
    ("inf", None, Status.INVALID_RESULT, "returned inf"),
    ("text", None, Status.INVALID_RESULT, "returned a str"),
    ("huge integer", None, Status.INVALID_RESULT, "integer too large"),
    ("no score", None, Status.INVALID_RESULT, 'a dict without "score" (its keys: reward)'),
    ("empty", None, Status.INVALID_RESULT, "nothing"),
    ("object", None, Status.INVALID_RESULT, "a Hostile"),
    ("10 MB", None, Status.INVALID_RESULT, "a dict of over 65,536 characters"),
    ("10 MB text", None, Status.INVALID_RESULT, "a str"),
    ("nested", None, Status.ERROR, "RecursionError"),
    ("exception", None, Status.ERROR, "ValueError: no such thing (functions.py, line "),
    ("exit", None, Status.ERROR, "SystemExit: 0"),
    ("interrupt", None, Status.ERROR, "KeyboardInterrupt"),
    ("recursion", None, Status.ERROR, "RecursionError"),
    ("memory error", None, Status.MEMORY, "memory limit"),
    ("memory bomb", None, Status.MEMORY, "memory limit"),
    ("os._exit", None, Status.CRASH, "exit status 0"),
    ("segfault", None, Status.CRASH, "SIGSEGV"),
    ("abort", None, Status.CRASH, "SIGABRT"),
    ("kill", None, Status.CRASH, "SIGKILL"),
    ("kill the group", None, Status.CRASH, "SIGKILL"),
    ("alarm", None, Status.CRASH, "SIGALRM"),
    ("close all", None, Status.CRASH, "crashed"),
    ("loop", None, Status.TIMEOUT, "0.2 s of CPU time"),
    ("join thread", None, Status.TIMEOUT, "0.2 s of CPU time"),
    ("wait for daemon", None, Status.TIMEOUT, "0.2 s of CPU time"),
    ("leave thread", 1.0, Status.OK, ""),
    ("leave daemon", 1.0, Status.OK, ""),
    ("close streams", 1.0, Status.OK, ""),
    ("print", 1.0, Status.OK, ""),
    ("change state", 1.0, Status.OK, ""),
    ("state", 1.0, Status.OK, ""),
    ("subprocess", 1.0, Status.OK, ""),
    ("break os", 1.0, Status.OK, ""),
]


def test_a_place_is_not_looked_for_among_the_built_in_rewards_which_takes_their_import(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(rewards, "REWARDS")
    reward = routing.build(f"{FUNCTIONS}:reward", {}, dict)
    assert isinstance(reward, Custom)


@pytest.mark.parametrize(("sin", "reward", "status", "detail"), RESULTS, ids=[row[0] for row in RESULTS])
def test_whatever_a_function_does_is_its_own_rollout_s_and_the_next_is_fine(
    sin: str, reward: float | None, status: Status, detail: str
) -> None:
    before, score, after = scored("compute_score", ["state", sin, "state"])
    assert (score.reward, score.status) == (reward, status)
    assert detail in score.detail
    assert (before.reward, after.reward) == (1.0, 1.0)


@pytest.mark.parametrize("name", ["compute_scores", "reward"])
@pytest.mark.parametrize("sin", ["exception", "segfault", "loop", "memory bomb", "nan", "none", "dict"])
def test_when_a_batch_fails_each_rollout_is_tried_alone(name: str, sin: str) -> None:
    (expected,) = [row[1:3] for row in RESULTS if row[0] == sin]
    limits = LIMITS._replace(cpu_seconds=0.1) if sin == "loop" else LIMITS  # a batch may use that of three
    scores = scored(name, ["right", sin, "wrong"], limits=limits)
    assert [(score.reward, score.status) for score in scores] == [(1.0, Status.OK), expected, (0.0, Status.OK)]


def test_the_order_of_rollouts_changes_no_reward() -> None:
    cases = ["state", "change state", "close streams", "leave thread", "os._exit", "state", "exception", "nan", "state"]
    forward = scored("compute_score", cases)
    backward = scored("compute_score", cases[::-1])
    assert forward == backward[::-1]


@pytest.mark.usefixtures("started")
def test_no_process_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTOM", "left")
    scored("compute_score", ["leave daemon", "leave thread", "wait for daemon", "right"])
    nursery.close_all()
    assert gone("CUSTOM=left", seconds=3)


def test_the_function_is_never_imported_here() -> None:
    scored("compute_score", ["right"])
    import sys

    assert not [name for name, module in sys.modules.items() if getattr(module, "__file__", "") == str(FUNCTIONS)]


def test_other_keys_of_a_dict_become_columns_where_a_file_can_hold_them() -> None:
    scores = scored("compute_score", ["dict", "surrogate"])
    assert scores[0].extra == {"pred": "5", "acc": True, "status_": "fine", "rows": [1, [2]]}
    assert scores[1].extra == {"pred": "?!"}


def test_numbers_of_numpy_are_numbers() -> None:
    (score,) = scored("numpy_scalar", [""])
    assert (score.reward, score.extra) == (0.5, {"hit": True, "at": [0, 1]})
    assert [score.reward for score in scored("as_array", ["0.5", "1"])] == [0.5, 1.0]


def test_verl_s_form_gets_what_verl_gives() -> None:
    (score,) = scored("seen", ["a\0\n5"], weight=2)
    assert score.extra["seen"] == ["a source", "a\0\n5", "5", {"index": 7}, {"weight": 2}]
    (score,) = scored("seen", [""], Problem("a source", {"target": ["x"]}))
    assert score.extra["seen"] == ["a source", "", {"target": ["x"]}, {}, {}]


def test_verl_s_batched_form_gets_lists() -> None:
    scores = scored("seen_batched", ["a", "b"], weight=2)
    assert [score.extra["seen"] for score in scores] == [["a source", text, "5", {"index": 7}] for text in "ab"]
    assert scores[0].extra["weight"] == 2


def test_trl_s_form_gets_prompts_completions_and_columns() -> None:
    scores = scored("seen_by_trl", ["a", "b"])
    columns = {"answer": 5, "ground_truth": "5", "data_source": "a source", "extra_info": {"index": 7}}
    assert [score.extra["seen"] for score in scores] == [["What is 2+3?", text, columns] for text in "ab"]


def test_chat_prompts_come_with_chat_completions() -> None:
    chat = [{"role": "user", "content": "2+3?"}, {"role": "assistant", "content": "<think>"}]
    (whole,) = scored("seen_by_trl", ["5"], PROBLEM._replace(prompt=chat[:1]))
    assert whole.extra["seen"][:2] == [chat[:1], [{"role": "assistant", "content": "5"}]]
    (begun,) = scored("seen_by_trl", ["5"], PROBLEM._replace(prompt=chat))
    assert begun.extra["seen"][:2] == [chat[:1], [{"role": "assistant", "content": "<think>5"}]]


def test_columns_named_like_arguments_do_not_clash() -> None:
    problem = PROBLEM._replace(columns={"prompt": "p", "completions": "c", "ground_truth": "its own"})
    (score,) = scored("seen_by_trl", ["5"], problem)
    assert score.extra["seen"][2] == {"ground_truth": "its own", "data_source": "a source", "extra_info": {"index": 7}}


@pytest.mark.parametrize("name", ["without_extra", "awaited", "instance"])
def test_functions_without_extra_info_and_async_ones_and_callables_work(name: str) -> None:
    assert scored(name, [""])[0].reward == 1.0


def test_a_batch_is_one_problem_s_rollouts_and_bounded() -> None:
    assert {score.reward for score in scored("batch_size", ["x"] * 600)} == {512.0, 88.0}
    assert [score.reward for score in scored("batch_size", ["x" * 3_000_000] * 3)] == [1.0, 1.0, 1.0]


def test_a_wrong_number_of_results_is_invalid() -> None:
    scores = scored("too_few", ["a", "b"])
    assert {score.status for score in scores} == {Status.INVALID_RESULT}
    assert scores[0].detail == "it returned 0 results for 1 rollout"
    assert scored("endless", ["a"])[0].detail == "it returned 2 results for 1 rollout"
    assert [score.reward for score in scored("as_iterator", ["1", "2"])] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("spec", "options", "error", "message"),
    [
        ("no/such/file.py:f", {}, RewardError, "no such file: no/such/file.py"),
        (f"{FUNCTIONS}", {}, RewardError, "does not name a function; write path/to/file.py:name"),
        (f"{FUNCTIONS}:absent", {}, RewardError, "has no 'absent'; its functions are: _raise, _spin"),
        (f"{FUNCTIONS}:CASES", {}, RewardError, "is not a function but of type dict"),
        (f"{FUNCTIONS}:other_form", {}, RewardError, "takes (response, answer); it must be like compute_score("),
        (
            f"{FUNCTIONS}:hidden",
            {},
            RewardError,
            "; where a decorator hides its parameters, functools.wraps shows them",
        ),
        (f"{FUNCTIONS}:needs_tokens", {}, RewardError, "needs completion_ids, which exist only during training"),
        (f"{FUNCTIONS}:needs_setting", {}, RewardError, "needs threshold: set it with --reward_kwargs"),
        (f"{FUNCTIONS}:compute_score", {"x": 1}, RewardError, "cannot take x from --reward_kwargs"),
        (f"{FUNCTIONS}:seen", {"solution_str": 1}, RewardError, "cannot take solution_str from --reward_kwargs"),
        ("no_such_package.rewards:f", {}, RewardError, "No module named 'no_such_package'"),
        ("no_such_reward", {}, ConfigError, "no reward is named 'no_such_reward'"),
    ],
)
def test_an_unusable_function_is_refused_before_any_work(
    spec: str, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as raised:
        rewards.build(spec, options)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_library", "ModuleNotFoundError: No module named 'no_such_library' (broken.py, line 1)"),
        ("\ndef f(:\n", "SyntaxError: invalid syntax (broken.py, line 2)"),
        ("x = undefined_name", "NameError: name 'undefined_name' is not defined (broken.py, line 1)"),
        ("def f(:\n\tx", "SyntaxError: invalid syntax (broken.py, line 1)"),
        (
            "if x:\npass",
            "IndentationError: expected an indented block after 'if' statement on line 1 (broken.py, line 2)",
        ),
        ("x = 1\0", "SyntaxError: source code string cannot contain null bytes"),
        ("raise SystemExit(3)", "SystemExit: 3 (broken.py, line 1)"),
        ("import os; os._exit(3)", "ended the process (exit status 3)"),
        ("import ctypes; ctypes.string_at(0)", "ended the process (SIGSEGV)"),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused_before_any_work(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "broken.py").write_text(source)
    with pytest.raises(RewardError) as raised:
        rewards.build(f"{tmp_path}/broken.py:f")
    assert str(raised.value).endswith(message)
    assert "\n" not in str(raised.value)


def test_a_module_that_is_not_found_comes_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "rewards_of_mine" / "inner"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "mine.py").write_text("from . import absent\n")
    with pytest.raises(RewardError, match=rf"PYTHONPATH={folder.parent} and --reward_fn inner.mine:f$"):
        rewards.build(f"{folder}/mine.py:f")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RewardError, match=rf"it is in this folder: set PYTHONPATH={tmp_path}$"):
        rewards.build("rewards_of_mine.inner.mine:f")


def test_what_a_call_sets_in_libraries_does_not_reach_the_next_one(tmp_path: Path) -> None:
    (tmp_path / "leaky.py").write_text(
        "from decimal import Decimal, getcontext\n"
        "def f(data_source, solution_str, ground_truth, extra_info=None):\n"
        "    score = float(Decimal(1) / Decimal(3))\n"
        "    if solution_str == 'short':\n"
        "        getcontext().prec = 2\n"
        "    return score\n"
    )
    responses = ["a", "short", "b", "short", "c"]
    assert {score.reward for score in scored("f", responses, file=tmp_path / "leaky.py")} == {1 / 3}


def test_a_setting_reaches_the_function() -> None:
    assert scored("needs_setting", [""], threshold=0.25)[0].reward == 0.25


def test_a_file_may_import_what_lies_beside_it_and_be_named_like_a_module(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("VALUE = 0.5\n")
    (tmp_path / "math.py").write_text(
        "import math\nfrom beside import VALUE\n"
        "def f(data_source, solution_str, ground_truth):\n    return VALUE * math.floor(1.5)\n"
    )
    assert scored("f", [""], file=tmp_path / "math.py")[0].reward == 0.5


def test_a_file_that_changes_after_the_start_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(data_source, solution_str, ground_truth):\n    return 1.0\n")
    reward = rewards.build(f"{tmp_path}/mine.py:f")
    (tmp_path / "mine.py").write_text("def f(data_source, solution_str, ground_truth):\n    return 2.0\n")
    nursery.close_all()  # as in another worker
    changed = pytest.raises(RewardError, match="changed since the run was started")
    with closing(Scorer(type(reward)(**reward.options), LIMITS)) as scorer, changed:
        scorer.score(PROBLEM, [""])


READS_A_FILE = """
from pathlib import Path
AT_START = float(Path(__file__).with_name("start.txt").read_text())

def f(data_source, solution_str, ground_truth):
    return AT_START + float(Path(__file__).with_name("call.txt").read_text())
"""
WRITES_IT_TOO = (
    READS_A_FILE
    + """
def g(data_source, solution_str, ground_truth):
    Path(__file__).with_name("start.txt").write_text(solution_str)
    return 1.0
"""
)


def test_a_data_file_that_changes_after_the_start_gives_no_reward(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(READS_A_FILE)
    for name in ("start.txt", "call.txt"):
        (tmp_path / name).write_text("1")
    reward = rewards.build(f"{tmp_path}/mine.py:f")
    with closing(Scorer(reward, LIMITS)) as scorer:
        assert scorer.score(PROBLEM, [""])[0].reward == 2.0
        (tmp_path / "start.txt").write_text("3")  # read before
        assert scorer.score(PROBLEM, [""])[0].reward == 2.0
        (tmp_path / "call.txt").write_text("20")
        score = scorer.score(PROBLEM, [""])[0]
        assert (score.reward, score.status, score.detail) == (
            None,
            Status.ERROR,
            f"{tmp_path}/call.txt, which it reads, has changed since the run was started; run it again",
        )
    nursery.close_all()  # as in another worker
    changed = pytest.raises(RewardError, match=r"the file call\.txt, which it reads, has changed since the run was")
    with closing(Scorer(type(reward)(**reward.options), LIMITS)) as scorer, changed:
        scorer.score(PROBLEM, [""])


def test_a_data_file_that_the_function_writes_itself_may_change(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(WRITES_IT_TOO)
    (tmp_path / "start.txt").write_text("1")
    reward = rewards.build(f"{tmp_path}/mine.py:g")
    for _ in range(2):
        with closing(Scorer(type(reward)(**reward.options), LIMITS)) as scorer:
            assert scorer.score(PROBLEM, ["7"])[0].reward == 1.0
        nursery.close_all()  # as in another worker


def test_the_function_is_loaded_once_for_the_check_and_the_work(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import os\nopen(f'{os.path.dirname(__file__)}/loads', 'a').write('x')\n"
        "def f(prompts, completions):\n    return [1.0 for _ in completions]\n"
    )
    reward = rewards.build(f"{tmp_path}/mine.py:f")
    with closing(Scorer(reward, LIMITS)) as scorer:
        scorer.start()
        assert scorer.score(PROBLEM, ["", ""])[0].reward == 1.0
    assert (tmp_path / "loads").read_text() == "x"
    again = type(reward)(**json.loads(json.dumps(dict(reward.options))))
    assert isinstance(again, Custom)
    assert (again.form, again.needs_columns, again.identity()) == ("trl", True, reward.identity())  # type: ignore[attr-defined]


def test_a_relative_path_is_kept_as_an_absolute_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(FUNCTIONS, tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    reward = rewards.build("mine.py:without_extra")
    monkeypatch.chdir("/")
    with closing(Scorer(reward, LIMITS)) as scorer:
        assert scorer.score(PROBLEM, [""])[0].reward == 1.0


@pytest.fixture
def source_of(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def build(code: str, beside: str = "", **kwargs: Any) -> dict[str, Any]:
        folder = tmp_path / str(len(os.listdir(tmp_path)))
        folder.mkdir()
        (folder / "beside.py").write_text(beside)
        (folder / "mine.py").write_text("import beside\ndef f(data_source, solution_str, ground_truth, **kw):\n" + code)
        reward = rewards.build(f"{folder}/mine.py:f", kwargs)
        if not isinstance(reward, Custom):
            raise TypeError(reward)
        return reward.identity()

    return build


def test_the_source_tells_what_can_change_a_reward(source_of: Callable[..., dict[str, Any]]) -> None:
    first = source_of("    return 1.0\n", weight=1)
    assert source_of("    return 1.0\n", weight=1) == first  # wherever the file lies
    assert source_of("    return 2.0\n", weight=1) != first
    assert source_of("    return 1.0\n", weight=2) != first
    assert source_of("    return 1.0\n", beside="X = 1\n", weight=1) != first
    json.dumps(first)


def test_a_function_of_an_installed_package_is_named_with_its_version() -> None:
    with pytest.raises(RewardError, match=r"joblib:dump takes \(value, filename"):
        rewards.build("joblib:dump")
    reward = rewards.build("tests.rewards.custom.functions:compute_score")
    assert isinstance(reward, Custom)
    assert (reward.form, reward.distribution) == ("verl", "")


def test_the_columns_that_a_function_needs_are_known_before_any_work() -> None:
    reward = rewards.build(f"{EXAMPLES}/trl_function.py:reward_short_and_right")
    assert isinstance(reward, Custom)
    assert (reward.columns, reward.needs_columns) == (("answer",), True)
    missing = PROBLEM._replace(columns={})
    (score,) = scored("reward_short_and_right", ["5"], missing, EXAMPLES / "trl_function.py")
    assert score.status is Status.ERROR
    assert "missing 1 required positional argument: 'answer'" in score.detail


def test_real_rollouts_reach_the_function_as_they_are(parity: Callable[[str], Iterator[Any]]) -> None:
    rows = list(parity("openai/gsm8k"))[::50]
    reward = rewards.build(f"{FUNCTIONS}:seen")
    with closing(Scorer(reward, LIMITS)) as scorer:
        for row in rows:
            (score,) = scorer.score(Problem("openai/gsm8k", row.ground_truth), [row.response])
            assert score.extra["seen"] == ["openai/gsm8k", row.response, row.ground_truth, {}, {}]


def test_an_entry_point_names_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    point = importlib.metadata.EntryPoint("mine", "tests.rewards.custom.functions:without_extra", rewards.ENTRY_POINTS)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point] if group == point.group else [])
    assert str(rewards.build("mine")) == "tests.rewards.custom.functions:without_extra"
    with pytest.raises(ConfigError, match="did you mean 'mine'"):
        rewards.build("mime")


@pytest.mark.parametrize(
    ("file", "name", "responses", "expected"),
    [
        ("verl_function.py", "compute_score", ["so 5", "so 6", ""], [1.0, 0.0, 0.0]),
        ("verl_batched.py", "compute_scores", ["so it is 5", "5", "6"], [0.9, 1.0, 0.0]),
        ("trl_function.py", "reward_short_and_right", ["so 5", "so 6", "x" * 3000], [1.0, 0.0, None]),
    ],
)
def test_the_examples_do_what_they_say(
    file: str, name: str, responses: list[str], expected: list[float | None]
) -> None:
    scores = scored(name, responses, file=EXAMPLES / file)
    assert [score.reward for score in scores] == expected


@pytest.mark.usefixtures("started")
def test_children_do_not_outlive_their_scorers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUSTOM", "closed")
    scored("compute_score", ["right"])
    assert len(marked("CUSTOM=closed")) == 1  # the zygote, for the next scorer
    nursery.close_all()
    assert gone("CUSTOM=closed", seconds=3)
