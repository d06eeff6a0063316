"""Contest problems: programs against inputs and outputs, functions against values, and assertions."""

from __future__ import annotations

import functools
import json
import os
import resource
from typing import Any

import pytest

from analyzer.errors import ConfigError, SandboxError
from analyzer.grading import sandbox
from analyzer.grading.sandbox import Budget, Unavailable
from analyzer.rewards import default_route
from analyzer.rewards.code.contest import same_output, same_value, with_int_keys
from analyzer.rewards.prime_code import PrimeCode
from analyzer.schema import GoldError, Status, Unscored

FENCED = "```python\n{}\n```"
ADD = json.dumps({"inputs": ["1 2\n", "3 4\n", "5 6\n"], "outputs": ["3\n", "7\n", "11\n"]})


@functools.cache
def built(code_timeout: float = 1.0, **options: Any) -> PrimeCode:
    """One of each kind: a process is started for its programs."""
    return PrimeCode(allow_code_execution=True, code_timeout=code_timeout, **options)


@pytest.fixture(scope="module")
def reward() -> PrimeCode:
    reward = built()
    try:
        reward.load()
    except SandboxError as error:
        pytest.skip(str(error))
    return reward


def test_a_case_earns_its_reward_and_verdict(reward: PrimeCode, case: dict[str, Any]) -> None:
    score = reward.grade(reward.extract(case["response"]), case["ground_truth"])
    assert score.status is Status.OK
    assert score.reward == pytest.approx(case["reward"])
    assert score.extra["verdict"] == case["verdict"]
    assert score.found is (case["verdict"] != "compile_error")


def test_a_ground_truth_may_be_a_struct(reward: PrimeCode) -> None:
    program = reward.extract(FENCED.format("print(sum(map(int, input().split())))"))
    assert reward.grade(program, json.loads(ADD)).reward == 1.0


@pytest.mark.parametrize("data_source", ["codecontests", "apps", "codeforces", "taco"])
def test_verls_data_sources_come_here(data_source: str) -> None:
    assert default_route(data_source) == "prime_code"


def test_nothing_is_run_unless_allowed() -> None:
    with pytest.raises(SandboxError, match="--allow_code_execution") as caught:
        PrimeCode()
    assert caught.value.exit_code == 2


def test_an_unknown_level_is_refused_when_built() -> None:
    with pytest.raises(ConfigError, match="'docker'"):
        built(sandbox="docker")


def test_columns_count_the_tests(reward: PrimeCode) -> None:
    score = reward.grade("print(7)", ADD)
    assert (score.extra["passed"], score.extra["tests"]) == (1, 3)


def test_all_or_nothing_stops_at_the_first_failure(reward: PrimeCode, monkeypatch: pytest.MonkeyPatch) -> None:
    strict = built(continuous=False)
    runs = []
    run = strict._run
    monkeypatch.setattr(strict, "_run", lambda *args, **kwargs: runs.append(1) or run(*args, **kwargs))
    score = strict.grade("print(3)", ADD)
    assert (score.reward, score.extra["passed"], len(runs)) == (0.0, 1, 2)
    assert strict.grade("print(sum(map(int, input().split())))", ADD).reward == 1.0


def test_all_or_nothing_looks_at_all_tests() -> None:
    many = {"inputs": [str(n) for n in range(12)], "outputs": [str(n) for n in range(12)]}
    source = "n = int(input())\nprint(n if n < 11 else 0)"
    assert built().grade(source, many).reward == 1.0
    assert built(continuous=False).grade(source, many).reward == 0.0


def test_a_program_that_does_not_compile_is_run_once(reward: PrimeCode, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    run = reward._run
    monkeypatch.setattr(reward, "_run", lambda *args, **kwargs: runs.append(1) or run(*args, **kwargs))
    assert reward.grade("print(", ADD).reward == 0.0
    assert len(runs) == 1


def test_a_slow_but_right_program_is_over_the_time_limit() -> None:
    gold = {"inputs": ["1"], "outputs": ["1"]}
    score = built(code_timeout=0.1).grade("x = sum(range(10**9))\nprint(1)", gold)
    assert (score.status, score.reward, score.extra["verdict"]) == (Status.OK, 0.0, "time_limit")


def test_a_long_expected_output_may_be_given(reward: PrimeCode) -> None:
    text = "7\n" * 1_000_000
    assert reward.grade("print('7\\n' * 1_000_000)", {"inputs": [""], "outputs": [text]}).reward == 1.0


def test_the_memory_limit_is_an_option() -> None:
    gold = {"inputs": [""], "outputs": ["1"]}
    source = "x = bytearray(300 << 20)\nprint(1)"
    assert built().grade(source, gold).reward == 1.0
    assert built(memory_mb=200).grade(source, gold).extra["verdict"] == "memory_limit"


GOLD_ERRORS = {
    "none": None,
    "bare": "3",
    "no_json": "{",
    "no_outputs": {"inputs": ["1"]},
    "no_tests": {"inputs": [], "outputs": []},
    "arguments_no_json": {"fn_name": "f", "inputs": ["x"], "outputs": ["1"]},
    "output_no_json": {"fn_name": "f", "inputs": ["1"], "outputs": ["x"]},
    "assertion_no_text": {"assert_case": ["assert f(1) == 1", None]},
    "assertion_no_python": {"assert_case": ["assert f(1"]},
    "assertion_of_objects": {"assert_case": ["assert f(Pair(1, 2)) == 3"]},
}


@pytest.mark.parametrize("gold", GOLD_ERRORS.values(), ids=GOLD_ERRORS)
def test_a_ground_truth_without_tests_is_a_gold_error(reward: PrimeCode, gold: Any) -> None:
    with pytest.raises(GoldError):
        reward.check_gold(gold)


LENIENT = {
    "list_of_arguments": ("def f(a, b): return a + b", {"fn_name": "f", "inputs": [[1, 2]], "outputs": ["3"]}),
    "one_argument": ("def f(a): return a", {"fn_name": "f", "inputs": [3], "outputs": [3]}),
    "output_is_no_text": ("def f(a, b): return a + b", {"fn_name": "f", "inputs": ["1\n2"], "outputs": [3]}),
    "numbers_for_a_script": ("print(int(input()) + 1)", {"inputs": [[1, 2]], "outputs": [2]}),
    "numpy": ("import numpy\ndef f(a): return numpy.int64(a)", {"fn_name": "f", "inputs": ["3"], "outputs": ["3"]}),
    "dicts": (
        "def f(d, n): return [d, d]",
        {"fn_name": "f", "inputs": ['{"1": 2}\n5'], "outputs": ['[{"1": 2}, {"1": 2}]']},
    ),
}


@pytest.mark.parametrize(("source", "gold"), LENIENT.values(), ids=LENIENT)
def test_lenient_reads_tests_as_their_authors_meant_them(source: str, gold: Any) -> None:
    assert built(lenient=True).grade(source, gold).reward == 1.0
    assert built().grade(source, gold).reward == 0.0


def test_lenient_refuses_lists_of_two_lengths() -> None:
    for outputs in (["1"], ["1", "2", "3"]):
        with pytest.raises(GoldError, match="2 `inputs` and"):
            built(lenient=True).check_gold({"inputs": ["1", "2"], "outputs": outputs})


@pytest.mark.parametrize(
    "gold", [[{"input": "1", "output": "1"}], '[{"input": "1", "output": "1"}]'], ids=["list", "text"]
)
def test_a_list_of_tests_names_the_reward_that_reads_it(reward: PrimeCode, gold: Any) -> None:
    with pytest.raises(GoldError, match="the reward livecodebench reads"):
        reward.check_gold(gold)


def test_a_test_that_nothing_passes_cannot_be_presented(reward: PrimeCode) -> None:
    with pytest.raises(Unscored):
        reward.present({"inputs": [[1]], "outputs": ["1"]})


def test_tests_without_a_program_cannot_be_presented(reward: PrimeCode) -> None:
    with pytest.raises(Unscored):
        reward.present({"assert_case": ["assert f(1) == 1"]})


def test_a_presented_ground_truth_earns_the_maximum(reward: PrimeCode) -> None:
    golds = [
        ADD,
        {"inputs": ["a\r\nb'\"\\\n"], "outputs": ["x'\"\\n\n\ny"]},
        {"fn_name": "f", "inputs": ['[1, {"a": null}]\n"é"'], "outputs": ['{"1": [true, 2.5]}']},
    ]
    for gold in golds:
        assert reward.grade(reward.extract(reward.present(gold)), gold).reward == 1.0


def test_a_sandbox_that_fails_leaves_the_rollout_unscored(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def run_script(self, *_: Any) -> None:
            raise Unavailable("the sandbox failed twice")

    monkeypatch.setattr(sandbox, "sandbox_here", lambda level: Failing())
    with pytest.raises(Unscored) as caught:
        built(sandbox="rlimits").grade("print(1)", ADD)
    assert caught.value.status is Status.SANDBOX_UNAVAILABLE


def test_less_memory_than_programs_may_take_is_no_reward() -> None:
    """A program cannot have more than the job's own limit, so that right ones would fail."""
    hungry = PrimeCode(allow_code_execution=True, memory_mb=9000)
    child = os.fork()  # a hard limit cannot be raised again
    if child == 0:
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
            with pytest.raises(SandboxError, match=r"may take 9,000 MB .* `ulimit -v` allows 8,192 MB"):
                hungry.load()
            with pytest.raises(Unscored) as caught:
                hungry.grade("print(3)", ADD)
            code = 0 if caught.value.status is Status.SANDBOX_UNAVAILABLE else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def test_options_reach_the_sandbox() -> None:
    reward = built(sandbox="strict", memory_mb=100, output_mb=0.5)
    assert reward.budget == Budget(1.0, 100 << 20, 512 << 10)
    assert reward.options["sandbox"] == "strict"


OUTPUTS = {
    "equal": ("a\nb", "a\nb", True),
    "trailing_spaces": ("a \n b\n\n", "a\nb", True),
    "blank_lines_between": ("a\n\nb", "a\nb\n", True),
    "order": ("b\na", "a\nb", False),
    "close": ("0.333333333", "0.33333333334", True),
    "far": ("0.3334", "0.3333", False),
    "negative": ("-1.0", "-1", True),
    "integers_differ": ("100001", "100000", False),
    "one_decimal_makes_it_close": ("100000.5", "100000", True),
    "nan": ("nan", "nan", True),
    "nan_in_lines": ("nan \n1.0", "nan\n1", False),
    "infinity": ("inf\n1", "Infinity\n1.0", True),
    "case": ("YES", "yes", False),
    "empty": ("", "", True),
    "missing": ("", "1", False),
}


@pytest.mark.parametrize(("output", "expected", "same"), OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_are_compared_as_verl_compares_them(output: str, expected: str, same: bool) -> None:
    assert same_output(output, expected) is same


VALUES = {
    "plain": (b"3", 3, True),
    "float": (b"3.0", 3, True),
    "list": (b'["l",1,2]', [1, 2], True),
    "tuple": (b'["t",1,2]', [1, 2], True),
    "tuples_in_list": (b'["l",["t",1],["t",2]]', [[[1], [2]]], True),
    "tuple_in_tuple": (b'["t",["t",1]]', [[[1]]], True),
    "tuples_not_alone": (b'["l",["t",1]]', [[1]], False),
    "alone_in_list": (b"3", [3], True),
    "null_alone_in_list": (b"null", [None], True),
    "null_and_nothing": (b"null", [], False),
    "malformed": (b"[", 3, False),
    "too_deep": (b"[" * 100_000, 3, False),
    "forged_number": (b'["i","zz"]', 3, False),
}


@pytest.mark.parametrize(("packed", "expected", "same"), VALUES.values(), ids=VALUES)
def test_values_are_compared_as_verl_compares_them(packed: bytes, expected: Any, same: bool) -> None:
    assert same_value(packed, expected) is same


def test_a_hostile_value_is_compared_in_linear_time() -> None:
    colliding = ["d", *(part for n in range(20_000) for part in (n * ((1 << 61) - 1), 0))]
    assert not same_value(json.dumps(colliding).encode(), {str(n): 0 for n in range(20_000)})


def test_keys_are_made_integers_where_all_are() -> None:
    assert with_int_keys({"1": 2, "-3": 4}) == {1: 2, -3: 4}
    assert with_int_keys([{"1": 2}]) == [{1: 2}]
    assert with_int_keys({"1": 2, "a": 3}) == {"1": 2, "a": 3}
    assert with_int_keys([{"1": 2}, 3]) == [{"1": 2}, 3]
