"""LiveCodeBench's tests and its rule, and what shares their form."""

from __future__ import annotations

import base64
import json
import os
import pickle
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from analyzer.errors import ConfigError, SandboxError
from analyzer.rewards import default_route, livecodebench
from analyzer.rewards.livecodebench import LiveCodeBench, parse, same_lines
from analyzer.schema import GoldError, Status


@pytest.fixture(scope="module")
def reward() -> LiveCodeBench:
    reward = LiveCodeBench(allow_code_execution=True)
    try:
        reward.load()
    except SandboxError as error:
        pytest.skip(str(error))
    return reward


def test_a_case_earns_its_reward_and_verdict(reward: LiveCodeBench, case: dict[str, Any]) -> None:
    score = reward.grade(reward.extract(case["response"]), case["ground_truth"])
    assert score.status is Status.OK
    assert (score.reward, score.extra["verdict"]) == (case["reward"], case["verdict"]), score.detail


@pytest.mark.parametrize(
    "data_source", ["livecodebench", "livecodebench/code_generation_lite", "lcbv5", "deepcoder", "primeintellect"]
)
def test_its_data_sources_come_here(data_source: str) -> None:
    assert default_route(data_source) == "livecodebench"


GOLD_ERRORS: dict[str, Any] = {
    "none": None,
    "empty": [],
    "bare": "3",
    "no_output": [{"input": "1"}],
    "no_name": [{"input": "1", "output": "1", "testtype": "functional"}],
    "arguments_no_json": [{"input": "x", "output": "1", "testtype": "functional", "metadata": {"func_name": "f"}}],
    "packed": {"public_test_cases": "[]", "private_test_cases": "eJxrYJlayQABPYwARyQQCw=="},
    "tests_no_list": {"tests": {"input": "1", "output": "1"}},
}


@pytest.mark.parametrize("gold", GOLD_ERRORS.values(), ids=GOLD_ERRORS)
def test_what_holds_no_tests_is_a_gold_error(reward: LiveCodeBench, gold: Any) -> None:
    with pytest.raises(GoldError):
        reward.check_gold(gold)


def test_the_rule_may_be_verls() -> None:
    gold = [{"input": "", "output": "0.33333333334\na", "testtype": "stdin"}]
    close = [{"input": "", "output": "0.33333333334", "testtype": "stdin"}]
    verl = LiveCodeBench(allow_code_execution=True, rule="verl")
    assert verl.grade("print(0.333333333)", close).reward == 1.0
    assert verl.grade("print(0.333333333)", gold).reward == 0.0
    with pytest.raises(ConfigError, match="no rule 'numpy'"):
        LiveCodeBench(allow_code_execution=True, rule="numpy")


def test_a_presented_ground_truth_earns_the_maximum(reward: LiveCodeBench, case: dict[str, Any]) -> None:
    gold = case["ground_truth"]
    assert reward.grade(reward.extract(reward.present(gold)), gold).reward == 1.0


@pytest.mark.parametrize("text", ["9" * 1_000_000, "1e999999999 " * 50_000, "\n" * 1_000_000, "sNaN", "_ " * 500_000])
def test_hostile_output_is_compared_in_linear_time(text: str) -> None:
    began = time.process_time()
    assert not same_lines(text, "1")
    assert time.process_time() - began < 2


def packed(value: Any, protocol: int = 4) -> str:
    """Tests as livecodebench/code_generation_lite has its private_test_cases."""
    return base64.b64encode(zlib.compress(pickle.dumps(value, protocol))).decode()


TESTS = [{"input": "1\n", "output": "2\n", "testtype": "stdin"}, {"input": "3\n", "output": "4\n", "testtype": "stdin"}]


@pytest.mark.parametrize("protocol", range(6))
def test_compressed_private_tests_are_read(protocol: int) -> None:
    private = packed(json.dumps(TESTS), protocol)
    assert parse({"public_test_cases": "[]", "private_test_cases": private}) == parse(TESTS)
    assert parse(private) == parse(TESTS)


class Evil:
    """Pickled, it is an instruction to make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for protocol in range(6):
        with pytest.raises(GoldError, match="it is not loaded"):
            parse({"private_test_cases": packed(Evil(mark), protocol)})
    assert not mark.exists()
    for value in (["[]"], 5, None, b"[]", ("[]", "[]"), {"a": "[]"}):
        with pytest.raises(GoldError, match="compressed tests"):
            parse({"private_test_cases": packed(value)})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        zlib.compress(b""),
        zlib.compress(b"\x80\x04"),
        zlib.compress(b"X\xff\xff\xff\x7fab"),
        zlib.compress(b"[]"),
    ],
)
def test_what_is_no_pickle_of_a_text_is_a_gold_error(data: bytes) -> None:
    with pytest.raises(GoldError):
        parse({"private_test_cases": base64.b64encode(data).decode() or "x"})


def test_a_bomb_of_compressed_tests_is_refused_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(livecodebench, "MOST_BYTES", 1 << 20)
    with pytest.raises(GoldError, match="larger than 1 MB"):
        parse({"private_test_cases": packed("[" + " " * (5 << 20) + "]")})
