"""RLVR-IFeval's rules: the table holds what open-instruct's own functions said of each case."""

from __future__ import annotations

import inspect
import json
import time
from typing import Any

import pytest

from analyzer.rewards.rlvr_ifeval import RULES, RlvrIfeval
from analyzer.schema import GoldError, Problem


def earned(gold: Any, response: str) -> float | None:
    return RlvrIfeval().score(Problem("a source", gold), [response])[0].reward


def test_each_case_earns_what_open_instruct_gives(case: dict[str, Any]) -> None:
    pytest.importorskip("langdetect", reason="the extra ifeval is not installed")
    assert earned(case["ground_truth"], case["response"]) == case["reward"]
    assert earned(json.dumps({**case["ground_truth"], "unused": None}), case["response"]) == case["reward"]


def test_thoughts_and_answer_tags_are_not_judged() -> None:
    gold = {"func_name": "validate_no_commas"}
    assert earned(gold, "<think>a, b</think><answer>c</answer>") == 1.0
    assert earned({"func_name": "validate_end", "end_phrase": "c"}, "<answer>c</answer> ") == 1.0


@pytest.mark.parametrize(
    "gold",
    [
        {"func_name": "validate_no_comma"},
        {"func_name": "verify_bullet_points"},
        {"func_name": "verify_bullet_points", "N": "two", "M": 3},
        {"func_name": "verify_letter_frequency", "letter": "ab", "N": 1},
        {"func_name": "verify_keywords", "keyword_list": [3]},
        {"instruction_id_list": []},
        "not json",
        None,
    ],
)
def test_what_no_rule_can_be_asked_is_a_gold_error(gold: Any) -> None:
    with pytest.raises(GoldError):
        earned(gold, "a text")


@pytest.mark.parametrize("unit", ["[", "<<", "*", "a ", ". ", "* * *\n", "******", "A"])
def test_two_hundred_kilobytes_take_linear_time(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    given = {"N": 3, "quantifier": "at least", "section_splitter": "***", "keyword_list": ["zz"], "word": "zz"}
    for name in RULES.keys() & {
        *("validate_placeholders", "validate_title", "validate_highlighted_sections", "verify_sentence_constraint"),
        *("verify_paragraph_count", "validate_sections", "verify_keyword_frequency", "validate_word_constraint"),
        *("validate_frequency_capital_words", "verify_bullet_points", "validate_two_responses", "validate_json_format"),
    }:
        wanted = {key: given[key] for key in inspect.signature(RULES[name]).parameters if key in given}
        began = time.process_time()
        earned({"func_name": name, **wanted}, text)
        assert time.process_time() - began < 0.6, name
