"""What every registered two-step reward promises, whoever wrote it.

Ground truths are taken from its table, cases/<name>.json: those of the cases that earn the maximum.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from analyzer import rewards
from analyzer.grading import Limits
from analyzer.rewards import BaseReward, Reward, Where
from analyzer.schema import GoldError, Lengths, Problem, Score, Status, Unscored
from analyzer.scoring import Scorer
from tests.grading.warm import warm_zygotes

CASES = Path(__file__).parent / "cases"
MEGABYTE = 1_000_000  # characters; parsing graders may refuse more

HOSTILE = {
    "empty": "",
    "blank": " \n\t",
    "nul": "\x00",
    "lone_surrogates": "\ud800\\boxed{\udfff}#### \ud800 Answer: \udc00 <answer>\ud800</answer>",
    "invisible": "\u200f\\boxed{\u200b1\u202e}\u200f",
    "other_digits": "#### １２ \\boxed{٣} Answer: 1️⃣",
    "unclosed": "\\boxed{{{ <answer> ```python\n $ \\[ \\(",
    "closed_first": "}}} </answer> ``` \\boxed{1}}",
    "list_of_answers": "\\boxed{" + ", ".join(map(str, range(1000))) + "}",
    "many_boxes": "".join(f"\\boxed{{{n}}}" for n in range(1000)),
    "code": "Answer: __import__('os').system('true') \\boxed{().__class__.__bases__}",
}

LONG = {
    "a": "a",
    "dollars": "$",
    "spaces": " ",
    "newlines": "\n",
    "numbers": " 1 ",
    "digits": "7",
    "commas": "1,",
    "boxes": "\\boxed{",
    "closed_boxes": "\\boxed{1}",
    "open_braces": "{",
    "close_braces": "}",
    "open_tags": "<answer>",
    "close_tags": "</answer>",
    "empty_tags": "<answer></answer>",
    "thoughts": "<think>",
    "ended_thoughts": "<think></think>",
    "marks": "#### ",
    "hashes": "#",
    "answers": "Answer: ",
    "answer_is": "the answer is ",
    "final_answers": "final answer is ",
    "displays": "\\[",
    "colons": "answer  :\n",
    "letters": "(A) ",
    "joined_letters": "ABCDEFGHIJ, ",
    "chinese_answers": "答案是",
    "chinese_choices": "选",
    "letter_words": "A B\n",
    "text_commands": "\\text{",
    "fractions": "\\frac",
    "parentheses": "(",
    "code_fences": "```",
    "fences_with_code": "```python\nx\n```\n",
}


@pytest.fixture(scope="module", autouse=True)
def _close_zygotes() -> Iterator[None]:
    with warm_zygotes():
        yield


def names() -> list[str]:
    return [name for name in rewards.names() if issubclass(rewards.find(name), Reward)]


def built(name: str) -> Reward:
    cls: type[BaseReward] = rewards.find(name)
    for library in cls.libraries:
        try:
            importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{name} needs {library}")
    options: dict[str, Any] = {"allow_code_execution": True} if cls.where is Where.SANDBOX else {}
    reward = cls(**options)
    assert isinstance(reward, Reward)
    return reward


@functools.cache
def golds(name: str) -> list[Any]:
    path = CASES / f"{name}.json"
    assert path.exists(), f"{name} has no table of cases: add {path.name} to {path.parent}"
    maximum = rewards.find(name).maximum
    found = [case["ground_truth"] for case in json.loads(path.read_text(encoding="utf-8")) if case["reward"] == maximum]
    assert found, f"no case of {path.name} earns the maximum"
    return found


@pytest.fixture(params=names())
def reward(request: pytest.FixtureRequest) -> Reward:
    return built(request.param)


@pytest.fixture
def gradable(reward: Reward) -> Reward:
    """A reward whose `grade` may be called right here on tame input."""
    if reward.where is Where.SANDBOX:
        pytest.skip("runs programs in a sandbox: its own tests cover grading")
    return reward


def check_score(score: Score, maximum: float) -> None:
    assert score.status is Status.OK
    assert isinstance(score.reward, float)
    assert math.isfinite(score.reward)
    assert score.reward <= maximum


def test_it_says_what_it_is(reward: Reward) -> None:
    assert reward.name == reward.name.lower()
    assert type(reward).__doc__
    assert reward.expects != Reward.expects


def test_a_presented_ground_truth_earns_the_maximum(gradable: Reward) -> None:
    for gold in golds(gradable.name):
        gradable.check_gold(gold)
        answer = gradable.extract(gradable.present(gold))
        assert answer is not None
        assert gradable.grade(answer, gold).reward == gradable.maximum, gold


def test_no_answer_is_scored_and_earns_less_than_the_maximum(gradable: Reward) -> None:
    if not gradable.needs_gold:
        pytest.skip("judges every response, and looks for no answer")
    score = gradable.grade(None, golds(gradable.name)[0])
    check_score(score, gradable.maximum)
    assert score.reward is not None
    assert score.reward < gradable.maximum


@pytest.mark.parametrize("gold", [None, {}, True])
def test_a_ground_truth_of_a_wrong_type_is_a_gold_error(reward: Reward, gold: Any) -> None:
    if not reward.needs_gold:
        pytest.skip("does not look at the ground truth")
    if reward.where is Where.SANDBOX:
        pytest.skip("runs programs in a sandbox: its own tests cover grading")
    with pytest.raises(GoldError):
        reward.check_gold(gold)


def test_hostile_text_never_raises(reward: Reward) -> None:
    raised = {}
    for name, response in HOSTILE.items():
        try:
            answer = reward.extract(response)
            hash(answer)
            if reward.where is Where.WORKER:
                check_score(reward.grade(answer, golds(reward.name)[0]), reward.maximum)
            else:
                json.dumps(answer)
        except Exception as error:  # noqa: BLE001
            raised[name] = error
    assert raised == {}


def test_extract_takes_linear_time_on_anything(reward: Reward) -> None:
    """A generous bound, that of 3 s for a megabyte: linear work takes far less, quadratic work on 30 kB more."""
    extract_in_time(reward, 30_000, attempts=3)


@pytest.mark.slow
def test_extract_takes_linear_time_on_a_megabyte_of_anything(reward: Reward) -> None:
    extract_in_time(reward, MEGABYTE)


def extract_in_time(reward: Reward, size: int, attempts: int = 1) -> None:
    """Extract, and grade where that is the worker's, from many of each unit; attempts: for what else the node does."""
    too_slow = []
    for name, unit in LONG.items():
        many = unit * ((size - 50) // len(unit))
        for response in (many, f"{many} so \\boxed{{1}}\n#### 1", f"<answer>\\boxed{{{many}}}</answer>"):
            if not any(seconds_of(reward, response) < 3 * size / MEGABYTE for _ in range(attempts)):
                too_slow.append((name, response[-40:]))
    assert too_slow == []


def seconds_of(reward: Reward, response: str) -> float:
    began = time.process_time()
    answer, status = None, Status.OK
    try:
        answer = reward.extract(response)
    except Unscored as refusal:  # a parsing grader may refuse the absurd
        status = refusal.status
    assert status in (Status.OK, Status.LIMIT)
    if reward.where is Where.WORKER and status is Status.OK:
        check_score(reward.grade(answer, golds(reward.name)[0]), reward.maximum)
    return time.process_time() - began


def test_ten_megabytes_are_scored_or_refused_by_a_limit(reward: Reward) -> None:
    response = "a" * 10 * MEGABYTE + "\n#### 1 \\boxed{1}"
    status = Status.OK
    try:
        reward.extract(response)
    except Unscored as refusal:
        status = refusal.status
    assert status in (Status.OK, Status.LIMIT)


def test_order_does_not_change_an_answer(reward: Reward) -> None:
    responses = [*HOSTILE.values(), "#### 1", "Answer: 1", "\\boxed{1}", "<answer>1</answer>", "The answer is (A)."]
    forward = [reward.extract(response) for response in responses]
    again = built(reward.name)
    backward = [again.extract(response) for response in reversed(responses)]
    assert forward == backward[::-1]


def test_the_order_of_rollouts_does_not_change_a_reward(gradable: Reward) -> None:
    """Through the scorer and the real child, whose caches remember what came before."""
    cases = json.loads((CASES / f"{gradable.name}.json").read_text(encoding="utf-8"))
    responses = [*(case["response"] for case in cases), *HOSTILE.values()]
    pairs = [(case["ground_truth"], case["response"]) for case in cases]
    pairs += [(cases[0]["ground_truth"], response) for response in responses]
    order = random.Random(0).sample(range(len(pairs)), len(pairs))
    shuffled = dict(zip(order, scored(gradable, [pairs[at] for at in order]), strict=True))
    assert scored(gradable, pairs) == [shuffled[at] for at in range(len(pairs))]


def scored(reward: Reward, pairs: Sequence[tuple[Any, str]]) -> list[tuple[float | None, Status]]:
    with closing(Scorer(reward, Limits())) as scorer:
        scores = [scorer.score(Problem("a source", gold), [response])[0] for gold, response in pairs]
    return [(score.reward, score.status) for score in scores]


def test_no_two_rewards_claim_the_same_data_source() -> None:
    claims = [source for name in rewards.names() for source in rewards.find(name).data_sources]
    assert sorted(claims) == sorted(set(claims))


# ---------------------------------------------------------------- rewards that see whole rollouts, groups, or parts

MULTI = {
    "instruction_id": [
        "keywords:existence", "keywords:frequency", "length_constraints:number_words", "detectable_format:title",
        "length_constraints:number_paragraphs", "punctuation:no_comma", "detectable_format:json_format",
        "startend:quotation", "change_case:english_lowercase", "combination:two_responses",
    ],
    "kwargs": [
        {"keywords": ["one", "two"]}, {"keyword": "a", "frequency": 3, "relation": "at least"},
        {"num_words": 5, "relation": "at least"}, None, {"num_paragraphs": 2}, None, None, None, None, None,
    ],
}  # fmt: skip
SUM = {
    "parts": [
        {"name": "gsm8k"},
        {"name": "format", "weight": 0.1},
        {"name": "repetition", "weight": 0.1},
        {"name": "length", "weight": 0.5, "options": {"rule": "kimi"}},
    ],
    "pass_on": "gsm8k",
}
INSTRUCTIONS: dict[str, dict[str, Any]] = {
    "verify_keywords": {"keyword_list": ["one", "two"]},
    "verify_paragraph_count": {"N": 3},
    "validate_word_constraint": {"N": 100, "quantifier": "at least"},
    "verify_sentence_constraint": {"N": 3, "quantifier": "at least"},
    "verify_bullet_points": {"N": 3},
    "validate_title": {},
    "validate_sections": {"N": 3, "section_splitter": "Section"},
    "validate_highlighted_sections": {"N": 3},
    "validate_placeholders": {"N": 3},
    "validate_repeat_prompt": {"original_prompt": "x"},
    "validate_two_responses": {},
    "validate_json_format": {},
    "validate_quotation": {},
    "validate_no_commas": {},
    "validate_frequency_capital_words": {"N": 3, "quantifier": "at least"},
}
WHOLE: dict[str, tuple[str, dict[str, Any], Any]] = {
    "combine": ("combine", SUM, "1"),
    "soft_overlong": ("length", {"rule": "soft_overlong", "max_len": 100, "buffer": 50}, None),
    "characters": ("length", {"rule": "soft_overlong", "max_len": 100, "buffer": 50, "unit": "characters"}, None),
    "cut_off": ("length", {"rule": "cut_off"}, None),
    "if_multi_constraints": ("if_multi_constraints", {}, MULTI),
    **{f"rlvr_{name}": ("rlvr_ifeval", {}, {"func_name": name, **given}) for name, given in INSTRUCTIONS.items()},
}
MORE_LONG = {
    "stars": "*", "double_stars": "**", "star_words": "*a* ", "less": "<", "titles": "<<a>>", "brackets": "[",
    "placeholders": "[a]", "lines": "a\n", "empty_paragraphs": "\n\n", "paragraphs": "a\n\n", "rules": "***\n",
    "quotes": '"', "full_stops": ". ", "sentences": "One. Two? ", "bullets": "* a\n", "dashes": "- ", "tabs": "\t",
    "objects": "{\"a\":", "lists": "[1,", "capitals": "AB ", "sections": "Section 1 ", "marks_of_six": "******",
    "backslashes": "\\\\", "accents": "e\u0301", "astral": "\U0001f600", "nul": "\x00", "one_two": "one two ",
}  # fmt: skip


LINEAR_SIZE = 40_000
LINEAR_SECONDS = 0.12  # 3 s for a megabyte, as for the others


@pytest.fixture(scope="module", params=WHOLE)
def whole(request: pytest.FixtureRequest) -> Iterator[tuple[Scorer, Any]]:
    with scorer_of(request.param, LINEAR_SECONDS) as made:
        yield made


@contextmanager
def scorer_of(case: str, seconds: float) -> Iterator[tuple[Scorer, Any]]:
    name, options, gold = WHOLE[case]
    for library in rewards.find(name).libraries:
        try:
            importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{name} needs {library}")
    with closing(Scorer(rewards.build(name, options), Limits(cpu_seconds=seconds))) as scorer:
        scorer.start()
        yield scorer, gold


def whole_scores(whole: tuple[Scorer, Any], responses: list[str]) -> list[Score]:
    scorer, gold = whole
    lengths = Lengths([len(response) // 4 for response in responses], [False] * len(responses))
    return scorer.score(Problem("a source", gold), responses, lengths)


def test_whole_rewards_score_hostile_text_with_one_finite_number_each(whole: tuple[Scorer, Any]) -> None:
    scores = whole_scores(whole, [*HOSTILE.values()])
    assert len(scores) == len(HOSTILE)
    for score in scores:
        assert score.status is Status.OK, score.detail
        assert score.reward is not None
        assert math.isfinite(score.reward)


def test_whole_rewards_take_linear_time_on_anything(whole: tuple[Scorer, Any]) -> None:
    """Each unit by itself, since a group is scored in one call; CPU time, as a busy machine takes its time.

    What is graded in the child has that limit there, and ends at it with a status.
    """
    score_in_time(whole, LINEAR_SIZE, LINEAR_SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("case", WHOLE)
def test_whole_rewards_take_linear_time_on_a_megabyte_of_anything(case: str) -> None:
    with scorer_of(case, 3.0) as made:
        score_in_time(made, MEGABYTE, 3.0)


def score_in_time(whole: tuple[Scorer, Any], size: int, seconds: float) -> None:
    for name, unit in {**LONG, **MORE_LONG}.items():
        response = unit * (size // len(unit))
        began = time.process_time()
        (score,) = whole_scores(whole, [response])
        assert score.status in (Status.OK, Status.LIMIT), (name, score.status, score.detail)
        assert time.process_time() - began < seconds, name


def test_whole_rewards_do_not_depend_on_order(whole: tuple[Scorer, Any]) -> None:
    responses = [*HOSTILE.values(), "one two", "a, b", "#### 1", "A B C one one one"]
    scores = whole_scores(whole, responses)
    order = random.Random(0).sample(range(len(responses)), len(responses))
    again = whole_scores(whole, [responses[at] for at in order])
    assert [scores[at].reward for at in order] == pytest.approx([score.reward for score in again])
