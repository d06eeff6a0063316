r"""format: is the response written as it was asked for? For the small part of a sum that teaches the format.

    tags: think_answer   "<think>2+3=5</think>\n<answer>5</answer>"   ->   1.0
    pattern: '.*\\boxed\{.+\}.*'                                       a regular expression for the whole response

    tags           full match of                                              as in
    think_answer   <think>..</think> <answer>..</answer>, white space between the DeepSeek-R1 papers and most recipes
    open_r1        <think>\n..\n</think>\n<answer>\n..\n</answer>             open-r1's format_reward
    trl            <think>.., no second <think>, then </think>                TRL's think_format_reward
    geometry3k     <think>..</think>..\boxed{..}                              verl's geo3k format_reward

With `count`, a quarter for each of the four tags that is there just once (open-r1's tag_count_reward).
The ground truth is not looked at. All take linear time but a slow `pattern`, which ends in `timeout`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from analyzer.errors import ConfigError
from analyzer.registry import did_you_mean
from analyzer.rewards import Reward, register
from analyzer.rewards.geometry3k import has_format
from analyzer.schema import NotPresentable, Score


class Tags(NamedTuple):
    """One way to write thought and answer."""

    fits: Callable[[str], bool]
    example: str  # a response that fits
    counted: tuple[str, ...] = ()  # what `count` looks for


_THEN = re.compile(r"</think>\s*<answer>")


def _think_answer(text: str) -> bool:
    r"""Whether `<think>.*?</think>\s*<answer>.*?</answer>\s*` matches all of it, dots being any character."""
    text = text.rstrip()
    then = _THEN.search(text, len("<think>"))
    closed = text.startswith("<think>") and text.endswith("</answer>")
    return closed and then is not None and then.end() <= len(text) - len("</answer>")


def _open_r1(text: str) -> bool:
    r"""Whether `^<think>\n.*?\n</think>\n<answer>\n.*?\n</answer>$` matches; `$` is the end of any line."""
    between, end = "\n</think>\n<answer>\n", "\n</answer>"
    at = text.find(between, len("<think>\n"))
    if at < 0 or not text.startswith("<think>\n"):
        return False
    return f"{end}\n" in f"{text[at + len(between) :]}\n"


def _trl(text: str) -> bool:
    rest = text.removeprefix("<think>")
    return len(rest) < len(text) and "<think>" not in rest and "</think>" in rest


_FOUR = ("<think>", "</think>", "<answer>", "</answer>")
TAGS = {
    "think_answer": Tags(_think_answer, "<think></think>\n<answer></answer>", _FOUR),
    "open_r1": Tags(
        _open_r1,
        "<think>\n\n</think>\n<answer>\n\n</answer>",
        ("<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>"),
    ),
    "trl": Tags(_trl, "<think></think>"),
    "geometry3k": Tags(has_format, "<think></think>\\boxed{}"),
}


@register
class Format(Reward):
    """1.0 where the whole response fits `pattern` or the `tags`, else 0.0; with `count` a quarter for each tag."""

    name = "format"
    needs_gold = False
    expects = "a response in the format"

    def __init__(
        self, *, tags: str | None = None, pattern: str | None = None, count: bool = False, prefix: str = ""
    ) -> None:
        """tags: a name of TAGS, think_answer without a pattern; prefix: what the prompt gave of the response.

        A pattern's dot is any character, line ends too. Raises ConfigError for what fits nothing together.
        """
        if pattern is not None and (tags is not None or count):
            raise ConfigError("format: pattern goes without tags and count")
        tags = tags or "think_answer"
        if tags not in TAGS:
            raise ConfigError(
                f"format: there are no tags {tags!r}{did_you_mean(tags, TAGS)}; there are: {', '.join(TAGS)}"
            )
        if count and not TAGS[tags].counted:
            raise ConfigError(f"format: count is for the tags think_answer and open_r1, not {tags}")
        if not isinstance(prefix, str):
            raise ConfigError(f"format: prefix must be a text, not {prefix!r}")
        self._tags = TAGS[tags] if pattern is None else None
        self._counted = TAGS[tags].counted if count else ()
        self._prefix = prefix
        self._pattern = None
        if pattern is not None:
            from analyzer.rewards._common.patterns import Pattern  # imports regex, which most rewards do without

            self._pattern = Pattern(pattern, dot_all=True)

    def extract(self, response: str) -> float:
        """What the response earns."""
        text = self._prefix + response
        if self._counted:
            return sum(text.count(tag) == 1 for tag in self._counted) / len(self._counted)
        if self._pattern is not None:
            return float(self._pattern.fits(text))
        return float(self._tags is not None and self._tags.fits(text))

    def grade(self, answer: Any, ground_truth: Any) -> Score:
        return Score(answer)

    def answer_text(self, answer: Any) -> None:
        """Nothing: a format has no answer."""

    def present(self, ground_truth: Any) -> str:
        if self._tags is None or self._prefix:
            raise NotPresentable("no example response can be made that fits a pattern")
        return self._tags.example
