# ruff: noqa: N803 - the arguments are named as the data names them
"""rlvr_ifeval: does the response follow the one instruction of a problem of allenai/RLVR-IFeval?

    ground_truth: '{"func_name": "verify_bullet_points", "N": 2, "quantifier": null}'     (JSON, or a struct)
    response: "* one\\n* two"   ->   1.0

The 25 rules are those of open-instruct's IFEvalVerifierOld (if_functions.py, e6c3044), and so is what is judged: what
follows the last `</think>`, without answer tags. Arguments that are null are not given. Its rules are simpler than
IFEval's own: see the reward ifeval for those.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Sequence

from analyzer.errors import to_install
from analyzer.registry import did_you_mean
from analyzer.rewards import WholeReward, register
from analyzer.rewards._common.gold import struct_gold
from analyzer.rewards._common.patterns import pairs
from analyzer.schema import GoldError, Problem, Score, Status, Unscored

_WORD = re.compile(r"\b\w+\b")
_CAPITALS = re.compile(r"\b[A-Z]+\b")
_SENTENCE_END = re.compile(r"(?<!\w\.\w.)(?<![A-Z][a-z]\.)(?<=\.|\?|!)\s")


def answer_of(response: str) -> str:
    """What open-instruct judges of a response (remove_thinking_section): its thoughts and answer tags taken out."""
    text = response.replace("<|assistant|>", "").strip().rpartition("</think>")[2]
    return text.replace("<answer>", "").replace("</answer>", "").strip()


def _compared(count: int, N: int, quantifier: str, around: int) -> bool:
    """`count` against N: at least, at most, or around, which is within `around`; any other quantifier never holds."""
    holds = {"at least": count >= N, "at most": count <= N, "around": abs(count - N) <= around}
    return holds.get(quantifier, False)


def _tenth(N: int) -> int:
    return max(round(N * 0.1), 1)


def _language(text: str, language: str) -> bool:
    try:
        import langdetect
    except ImportError:
        raise Unscored(Status.ERROR, f"validate_response_language needs an extra: {to_install('ifeval')}") from None
    langdetect.DetectorFactory.seed = 0
    try:
        detected: str = langdetect.detect(text)
    except langdetect.LangDetectException:  # no letters at all: no language
        return False
    return detected == language


def _paragraphs(text: str, N: int) -> bool:
    lines = "\n".join(line.strip() for line in text.splitlines()).strip()
    paragraphs = lines.split("* * *")
    return len(paragraphs) == N and all(paragraph.strip() for paragraph in paragraphs)


def _nth_paragraph(text: str, N: int, first_word: str, i: int) -> bool:
    paragraphs = text.split("\n\n")
    return len(paragraphs) == N and paragraphs[i - 1].strip().startswith(first_word)


def _postscript(text: str, postscript_marker: str) -> bool:
    _, marker, rest = text.partition(postscript_marker)
    return bool(marker) and len((marker + rest).strip()) > len(postscript_marker)


def _sections(text: str, N: int, section_splitter: str) -> bool:
    sections = text.split(section_splitter)
    return len(sections) - (sections[0] == "") == N


def _json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _two_responses(text: str) -> bool:
    first, _, second = text.partition("******")
    return text.count("******") == 1 and first.strip() != second.strip()


def _letter(text: str, letter: str, N: int) -> bool:
    if len(letter) != 1:
        raise GoldError(f"letter must be one character, not {letter!r}")
    return text.count(letter) == N


RULES: dict[str, Callable[..., bool]] = {
    "verify_keywords": lambda text, keyword_list: all(word.lower() in text.lower() for word in keyword_list),
    "verify_keyword_frequency": lambda text, word, N: _WORD.findall(text.lower()).count(word.lower()) == N,
    "validate_forbidden_words": lambda text, forbidden_words: (
        not any(word.lower() in text.lower() for word in forbidden_words)
    ),
    "verify_letter_frequency": _letter,
    "validate_response_language": _language,
    "verify_paragraph_count": _paragraphs,
    "validate_word_constraint": lambda text, N, quantifier: _compared(len(text.split()), N, quantifier, _tenth(N)),
    "verify_sentence_constraint": lambda text, N, quantifier: _compared(
        len(_SENTENCE_END.split(text)), N, quantifier, 1
    ),
    "validate_paragraphs": _nth_paragraph,
    "verify_postscript": _postscript,
    "validate_placeholders": lambda text, N: pairs(text, "[", "]") >= N,
    "verify_bullet_points": lambda text, N: sum(line.strip().startswith(("*", "-")) for line in text.split("\n")) == N,
    "validate_title": lambda text: pairs(text, "<<", ">>") > 0,
    "validate_choice": lambda text, options: any(option in text for option in options),
    "validate_highlighted_sections": lambda text, N: pairs(text, "*", "*") >= N,
    "validate_sections": _sections,
    "validate_json_format": _json,
    "validate_repeat_prompt": lambda text, original_prompt: text.startswith(original_prompt),
    "validate_two_responses": _two_responses,
    "validate_uppercase": lambda text: text == text.upper(),
    "validate_lowercase": lambda text: text == text.lower(),
    "validate_frequency_capital_words": lambda text, N, quantifier: _compared(
        len(_CAPITALS.findall(text)), N, quantifier, _tenth(N)
    ),
    "validate_end": lambda text, end_phrase: text.endswith(end_phrase),
    "validate_quotation": lambda text: text.startswith('"') and text.endswith('"'),
    "validate_no_commas": lambda text: "," not in text,
}


@register
class RlvrIfeval(WholeReward):
    """1.0 where the instruction of allenai/RLVR-IFeval (`func_name`) is followed by open-instruct's rule, else 0.0."""

    name = "rlvr_ifeval"
    data_sources = ("allenai/RLVR-IFeval", "ifeval_old")
    libraries = ("langdetect",)
    expects = "a text"

    def score(self, problem: Problem, responses: Sequence[str]) -> list[Score]:
        given = dict(struct_gold(problem.ground_truth))
        name = given.pop("func_name", None)
        if not isinstance(name, str) or name not in RULES:
            raise GoldError(f"there is no func_name {name!r}{did_you_mean(str(name), RULES)}")
        rule = RULES[name]
        arguments = {key: value for key, value in given.items() if value is not None}
        try:
            inspect.signature(rule).bind("", **arguments)
        except TypeError as error:
            raise GoldError(f"{name} does not take {', '.join(arguments) or 'nothing'}: {error}") from None
        try:
            return [Score(float(rule(answer_of(response), **arguments))) for response in responses]
        except (TypeError, AttributeError, IndexError, ValueError) as error:
            raise GoldError(f"{name} cannot be checked with these arguments: {error}") from None
