# ruff: noqa: N803 - the arguments are named as the data names them
"""if_multi_constraints: the share of a problem's instructions that are followed, as allenai trains on it.

    ground_truth: "[{'instruction_id': ['punctuation:no_comma', 'paragraphs:paragraphs2'], 'kwargs': [None, None]}]"
    response: "One.\\n\\nTwo, too."   ->   0.5

allenai/IF_multi_constraints_upto5 and its relatives (IF-RLVR). The ground truth is a list with one struct, or the
struct; as it is, as JSON, or as the Python text that the data set holds. What is judged follows the last `</think>`,
without answer tags. The 25 instructions of IFEval are checked by the package if-verifiable (the extra `ifeval`), the
29 that were added for training by the rules below: together open-instruct's IFEvalVerifier.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from analyzer.registry import did_you_mean
from analyzer.rewards import ifeval, register
from analyzer.rewards._common.gold import shown
from analyzer.rewards.ifeval import IFEval, Instruction
from analyzer.rewards.rlvr_ifeval import answer_of
from analyzer.schema import GoldError, Problem, Score

_LONGEST = 1 << 20  # characters of a ground truth
_STARS = re.compile(r"\s?\*\*\*\s?")
_PUNCTUATION = re.compile(r"[^\w\s]")


def _sentences(text: str) -> list[str]:
    from if_verifiable.ifeval import instructions_util

    found: list[str] = instructions_util.split_into_sentences(text)
    return found


def _tokens(text: str) -> list[str]:
    import nltk

    found: list[str] = nltk.word_tokenize(text)
    return found


def _same(text: str, prompt_to_repeat: str) -> bool:
    return text.strip().lower() == prompt_to_repeat.strip().lower()


def _times(keyword: str, text: str) -> int:
    """The keyword is a regular expression, as in IFEval's own checks."""
    return len(re.findall(keyword.strip(), text, flags=re.IGNORECASE))


def _repeated(text: str, phrase: str, small_n: int) -> bool:
    """The phrase so many times, each with just one other word between its first and last."""
    words = phrase.split()
    found = [one.split() for one in re.findall(f"{words[0]} .*? {words[-1]}", text)]
    return len(found) == small_n and all(
        len(one) == len(words) and sum(a != b for a, b in zip(one, words, strict=True)) == 1 for one in found
    )


def _hyphens(text: str) -> bool:
    pairs = zip(text.split("-"), _sentences(text.replace("-", " ")), strict=False)
    return all(part == sentence == part.strip() for part, sentence in pairs)


def _not_adjacent(text: str) -> bool:
    letters = [word[0].lower() for word in text.split()]
    return all(len(one) == 1 == len(two) and ord(two) - ord(one) != 1 for one, two in itertools.pairwise(letters))


def _blocks(parts: Sequence[str]) -> list[str] | None:
    """The parts without an empty one at either end; None where one in the middle is empty."""
    inner = [part for at, part in enumerate(parts) if part.strip() or 0 < at < len(parts) - 1]
    return inner if all(part.strip() for part in inner) else None


def _two_blocks(parts: Sequence[str]) -> bool:
    blocks = _blocks(parts)
    return blocks is not None and len(blocks) == 2


def _first(text: str) -> str:
    return next(iter(text.split()), "").lower()


def _last(text: str) -> str:
    return _PUNCTUATION.sub("", (text.split() or [""])[-1]).lower()


def _each_sentence(text: str, word: str, of: Callable[[str], str]) -> bool:
    return all(sentence.strip() and of(sentence) == word.strip().lower() for sentence in _sentences(text))


def _wrapped(text: str) -> bool:
    words = text.split()
    pairs = zip(words[::2], words[1::2], strict=False)
    return all(one.startswith("<<") and two.endswith(">>") for one, two in pairs)


def _related(count: int, N: int, relation: str) -> bool:
    """IFEval's relations: "at least", and "less than" for what is not."""
    if relation not in ("at least", "less than"):
        raise GoldError(f"relation must be 'at least' or 'less than', not {relation!r}")
    return count >= N if relation == "at least" else count < N


def _composed(text: str, n_sent: int, n_words: int) -> bool:
    parts = _STARS.split(text)
    blocks = _blocks(parts)
    if blocks is None or len(blocks) != 3 or len(parts) != 3:  # an empty part has no sentences, and so fails
        return False
    by_block = [_sentences(block) for block in blocks]
    return all(
        len(sentences) == n_sent and all(len(_tokens(sentence)) == n_words for sentence in sentences)
        for sentences in by_block
    )


def _at_place(text: str, keyword: str, n: int, m: int) -> bool:
    sentences = _sentences(text)
    words = _tokens(sentences[n - 1]) if len(sentences) >= n else []
    return len(words) >= m and words[m - 1] == keyword.strip()


def _start_end(text: str) -> bool:
    words = _tokens(text)
    return len(words) > 1 and words[0].lower() == words[-1].lower()


def _all_different(text: str) -> bool:
    words = _tokens(text)
    return len(words) == len(set(words))


RULES: Mapping[str, Callable[..., bool]] = {
    "copy:repeat_phrase": _repeated,
    "copy:copy": _same,
    "new:copy_span_idx": lambda text, prompt_to_repeat, n_start, n_end: _same(text, prompt_to_repeat[n_start:n_end]),
    "copy:copying_simple": _same,
    "copy:copying_multiple": lambda text, prompt_to_repeat, N: (
        text.count("******") + 1 == N and all(_same(part, prompt_to_repeat) for part in text.split("******"))
    ),
    "detectable_format:sentence_hyphens": _hyphens,
    "detectable_format:square_brackets": lambda text: all(
        word.startswith("[") and word.endswith("]") for word in text.split()
    ),
    "detectable_format:bigram_wrapping": _wrapped,
    "keywords:no_adjacent_consecutive": _not_adjacent,
    "keywords:word_once": lambda text, keyword: _times(keyword, text) == 1,
    "keywords:word_count_different_numbers": lambda text, keyword, frequency, relation: _related(
        _times(keyword, text), frequency, relation
    ),
    "keywords:exclude_word_harder": lambda text, keyword, instruction=None: f" {keyword.strip()} " not in text,
    "keywords:palindrome": lambda text: any(word == word[::-1] for word in text.split()),
    "keywords:keyword_specific_position": _at_place,
    "keywords:start_end": _start_end,
    "paragraphs:paragraphs": lambda text: _two_blocks(_STARS.split(text)),
    "paragraphs:paragraphs2": lambda text: _two_blocks(text.split("\n\n")),
    "first_word:first_word_sent": lambda text, first_word: _each_sentence(text, first_word, _first),
    "first_word:first_word_answer": lambda text, first_word: _first(text) == first_word.strip().lower(),
    "last_word:last_word_sent": lambda text, last_word: _each_sentence(text, last_word, _last),
    "last_word:last_word_answer": lambda text, last_word: _last(text) == last_word.strip().lower(),
    "punctuation:punctuation_dot": lambda text: "." not in text,
    "punctuation:punctuation_exclamation": lambda text: "!" not in text,
    "count:lowercase_counting": lambda text, N: len(re.findall(r"\b[a-z]+\b", text)) <= N,
    "count:counting_composition": _composed,
    "count:count_unique": _all_different,
    "count:count_increment_word": lambda text, keyword1, keyword2: (
        _times(keyword1, text) == 1 and _times(keyword2, text) == 2
    ),
    "letters:letter_counting": lambda text, N, relation: _related(len(re.findall(r"[a-zA-Z]", text)), N, relation),
    "letters:letter_counting2": lambda text, letter, let_frequency, let_relation: _related(
        text.lower().count(letter.strip().lower()), let_frequency, let_relation
    ),
}


@register
class IFMultiConstraints(IFEval):
    """The share of the instructions of allenai/IF_multi_constraints_upto5 that are followed, as open-instruct's."""

    name = "if_multi_constraints"
    data_sources = ("allenai/IF_multi_constraints_upto5", "allenai/IF_multi_constraints*")

    def score(self, problem: Problem, responses: Sequence[str]) -> list[Score]:
        checks = [_check(*instruction) for instruction in instructions(problem.ground_truth)]
        scores = []
        for response in responses:
            answer = answer_of(response)
            followed = [bool(answer) and check(answer) for check in checks]
            scores.append(Score(sum(followed) / len(followed)))
        return scores


def instructions(ground_truth: Any) -> list[Instruction]:
    """The instructions of a problem. Raises GoldError."""
    struct = _from_json_or_python(ground_truth)
    if isinstance(struct, list) and struct:
        struct = _from_json_or_python(struct[0])
    names = struct.get("instruction_id") if isinstance(struct, Mapping) else None
    if not isinstance(names, list) or not names:
        raise GoldError(f"the ground truth must hold a list `instruction_id`: {shown(ground_truth)}")
    kwargs = struct.get("kwargs")
    if not isinstance(kwargs, list) or len(kwargs) != len(names):
        raise GoldError("`instruction_id` and `kwargs` must be lists of one length")
    return [
        Instruction(name, {key: value for key, value in (given or {}).items() if value is not None})
        for name, given in zip(names, kwargs, strict=True)
    ]


def _from_json_or_python(value: Any) -> Any:
    """A ground truth that is text, as what it says: JSON, or else Python's own notation of constants."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(value) if len(value) <= _LONGEST else None
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise GoldError(f"the ground truth {shown(value)} is neither JSON nor Python: {error}") from None


def _check(name: str, arguments: Mapping[str, Any]) -> Callable[[str], bool]:
    """Whether a text follows an instruction. Raises GoldError if there is none of that name and arguments."""
    if name not in RULES:
        known = ifeval.known_checkers()
        if name not in known:
            raise GoldError(f"no such instruction: {name}{did_you_mean(str(name), [*RULES, *known])}")
        ifeval.checker_of(Instruction(name, arguments))  # arguments that it does not take
        return lambda text: ifeval.follows(ifeval.checker_of(Instruction(name, arguments)), text)
    rule = RULES[name]
    try:
        inspect.signature(rule).bind("", **arguments)
    except TypeError as error:
        raise GoldError(f"{name} does not take {dict(arguments)}: {error}") from None
    ifeval.known_checkers()  # which gives the tokenizer its model

    def follows(text: str) -> bool:
        try:
            return bool(rule(text, **arguments))
        except (re.error, TypeError, AttributeError, IndexError, ValueError) as error:
            raise GoldError(f"{name} cannot be checked with {dict(arguments)}: {error}") from None

    return follows
