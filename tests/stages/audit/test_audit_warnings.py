"""What the audit warns of: each threshold just below and just above, and what the sentences name."""

from __future__ import annotations

from typing import Any

import pytest

from analyzer.difficulty.by_source import Tally
from analyzer.stages import audit, warnings
from analyzer.stages.audit import Audit, GoldAudit, SecondOpinion
from analyzer.stages.audit.trials import Trial, sentence

NAMES, EXPECTS = {"d": "gsm8k", "e": "gsm8k"}, {"d": 'a line "#### number"', "e": "x"}
FINE = Tally(rollouts=1000, scored=1000, passed=500, unfound=0, uncut=1000, cut_scored=0, cut_passed=0)
TRIAL = Trial(50, 1.0, 0.5, 7, "4", "5", "", 0.0, "", 1.0, 0.5)


def warned(**found: Any) -> list[str]:
    empty: dict[str, Any] = {"golds": {}, "opinions": {}, "tallies": {}, "trials": {}, "missing": {}, "cut": None}
    return audit.warnings(NAMES, EXPECTS, Audit(**(empty | found)))


@pytest.mark.parametrize(("fooled", "said"), [(0, 0), (20, 0), (21, 1)])
def test_more_than_a_fifth_of_wrong_answers_with_full_marks_is_warned_of(fooled: int, said: int) -> None:
    found = warned(golds={"d": GoldAudit(asked=100, failed=0, others=100, fooled=fooled, example="")})
    assert len(found) == said
    assert all(f"in {fooled} of 100 sampled problems" in warning for warning in found)


def test_a_single_ground_truth_that_earns_less_than_full_marks_is_warned_of_with_the_example() -> None:
    (warning,) = warned(golds={"d": GoldAudit(24, 1, 24, 0, 'data_idx 3, ground truth "2,125" earns 0.0')})
    assert warning.startswith(
        "d: the ground truth, given as the answer, does not score full marks from reward gsm8k in 1 "
    )
    assert 'ground truth "2,125" earns 0.0' in warning
    assert not warned(golds={"d": GoldAudit(24, 0, 24, 0, "")})


@pytest.mark.parametrize(("unfound", "said"), [(50, 0), (51, 1)])
def test_more_than_5_percent_without_an_answer_is_warned_of(unfound: int, said: int) -> None:
    found = warned(tallies={"d": FINE._replace(unfound=unfound)}, missing={"d": ("it is 5", "it is 6")})
    assert len(found) == said
    for warning in found:
        assert "no answer was found in 5% of the responses of d, which count as wrong" in warning
        assert 'looks for a line "#### number", which is missing in "...it is 5"; "...it is 6".' in warning


def test_cut_off_responses_do_not_count_as_without_an_answer() -> None:
    assert not warned(tallies={"d": FINE._replace(rollouts=2000, uncut=1000, unfound=50)})
    (warning,) = warned(tallies={"d": FINE._replace(rollouts=2000, uncut=1000, unfound=51)})
    assert "of the responses of d that were not cut off" in warning


@pytest.mark.parametrize(("passed", "said"), [(50, 0), (49, 1)])
def test_a_data_source_of_which_less_than_5_percent_pass_is_warned_of(passed: int, said: int) -> None:
    low = FINE._replace(passed=passed)
    found = warned(tallies={"d": low, "e": FINE}, trials={"d": TRIAL})
    assert len(found) == said
    for warning in found:
        assert "rewards are low for d (pass rate 0.049, 0.500 in the other data sources)" in warning
        assert 'ground truth "4" beside the answer "5" (data_idx 7)' in warning
    assert len(warned(tallies={"d": low})) == said


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({}, 1),
        ({"unfound": 499}, 2),  # both have something to say
        ({"unfound": 500}, 1),  # where half hold no answer, that is why so few pass
        ({"rollouts": 2000, "uncut": 1000, "cut_scored": 1000}, 0),  # ... or where half are cut off
    ],
)
def test_few_passes_are_not_said_again_of_answers_that_are_mostly_missing(counts: dict[str, int], said: int) -> None:
    low = FINE._replace(passed=0, **counts)
    assert len(warned(tallies={"d": low}, missing={"d": ("it is 5",)})) == said


@pytest.mark.parametrize(("low", "said"), [(0.01, 0), (0.0101, 1)])
def test_a_second_grader_that_surely_disagrees_on_more_than_a_hundredth_is_warned_of(low: float, said: int) -> None:
    assert len(warned(opinions={"d": SecondOpinion("math_verify", 300, 9, low, 0.05, ())})) == said


@pytest.mark.parametrize(("uncut", "said"), [(900, 0), (899, 1)])
def test_more_than_a_tenth_cut_off_is_warned_of_with_what_they_earned(uncut: int, said: int) -> None:
    found = warnings.truncation_warnings(FINE._replace(uncut=uncut, cut_scored=100, cut_passed=5))
    assert len(found) == said
    for warning in found:
        assert "of these 5 of 100 pass, 55% of the others do" in warning


def test_where_all_are_cut_off_there_are_no_others() -> None:
    (warning,) = warnings.truncation_warnings(FINE._replace(uncut=0, cut_scored=1000, cut_passed=500))
    assert "of these 500 of 1000 pass. Problems" in warning


def test_nothing_known_of_cuts_is_nothing_said() -> None:
    assert warnings.truncation_warnings(None) == []


@pytest.mark.parametrize(
    ("trial", "said"),
    [
        (TRIAL, ""),
        (
            TRIAL._replace(other="numeric", other_found=1.0, other_pass_rate=0.73, responses=300),
            " On 300 sampled responses, numeric finds an answer in 100% of them and gives 0.73 where gsm8k gives 0.50.",
        ),
        (
            TRIAL._replace(ground_truth='["5"]', unwrapped="5", wrapped=1.0),
            ' Without its wrapping ("5" for "["5"]") the ground truth would match in 100% of 50 sampled responses: '
            "rewrite the ground truths.",
        ),
        (TRIAL._replace(wrapped=0.019, unwrapped="5"), ""),
    ],
)
def test_a_trial_says_what_would_do_better(trial: Trial, said: str) -> None:
    assert sentence(trial, "gsm8k") == said
