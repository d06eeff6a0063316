r"""Where an answer stands in a response: the option `place` of the rewards that compare text.

    whole        "Paris"                                 the response without its thoughts
    last_line    "It is in France.\nParis"               its last line that is not blank
    answer_line  "It is in France.\nAnswer: Paris"       what follows the last "Answer:" (simple-evals, DAPO)
    tag          "... <answer>Paris</answer>"            the last pair of tags
    boxed        "... \boxed{Paris}"                     the last box
    regex        whatever the option `pattern` looks for, see patterns.py

Every one but a slow `pattern` takes linear time, and looks at what follows the last `</think>` only, where there is
one. A thought that was begun and not ended holds no answer, whatever stands in it.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import NamedTuple

from analyzer.errors import ConfigError
from analyzer.rewards._common.boxed import BOX, last_box
from analyzer.rewards._common.tags import CLOSE, OPEN, last_tagged
from analyzer.schema import NotPresentable

THOUGHTS = (
    ("<think>", "</think>"),  # DeepSeek-R1, Qwen3 and most others
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),  # Magistral
    ("<seed:think>", "</seed:think>"),  # Seed-OSS
    ("◁think▷", "◁/think▷"),  # Kimi
    ("<|begin_of_thought|>", "<|end_of_thought|>"),  # Sky-T1, OpenThinker
)
"""How models begin and end a thought."""

REGEX = "regex"
ANSWER_LINE = re.compile(r"(?<![A-Za-z])(?:answer|Answer|ANSWER)[*_\"]{0,3}\s{0,16}[:：](?:[ \t*_]{0,16}\n)?([^\n]+)")
_MARKS = "*_ \t"  # of markdown, around an answer or the word before it


class Place(NamedTuple):
    """One place: how an answer is taken from there, how it is put there, and the phrase for the audit."""

    take: Callable[[str], str | None]
    before: str
    after: str
    expects: str
    presentable: bool = True  # False: what stands around an answer cannot be made up
    same: Callable[[str, str], bool] = operator.eq  # whether an answer from there is a ground truth
    shown: Callable[[str], str] = str  # an answer as a person reads it, and majorities count it

    def present(self, answer: str) -> str:
        """A response with the answer in this place. Raises NotPresentable."""
        if not self.presentable:
            raise NotPresentable(f"no example response can be made that is {self.expects}")
        return self.before + answer + self.after


def conclusion(response: str) -> str:
    """What a response says beside its thoughts: what follows the last one, up to one that never ends.

    A response that was cut off while thinking has not answered; guesses within its thought would earn at random.
    """
    # The last end wins: a response that quotes the tag within its thought has thought until then.
    for begin, end in THOUGHTS:
        ended = response.rfind(end)
        if ended >= 0:
            response = response[ended + len(end) :]
        # What comes after an unclosed mark is a thought that was cut off, whatever it says.
        begun = response.find(begin)
        if begun >= 0:
            response = response[:begun].rstrip()
    return response


def last_line(text: str) -> str | None:
    """The last line that is not blank; None without one."""
    return text.rstrip().rpartition("\n")[2] or None


def answer_line(text: str) -> str | None:
    """What the last line with "Answer:" says after it, markdown and all; None without one."""
    found = None
    for found in ANSWER_LINE.finditer(text):  # noqa: B007 - the last one
        pass
    return None if found is None else found[1].strip()


def same_but_for_markdown(answer: str, gold: str) -> bool:
    """Whether an answer is the ground truth, with or without markdown around it.

    What the ground truth itself has of such characters is needed: `**__init__**` is `__init__`, and `init` is not.
    """
    if answer == gold:
        return True
    (before, bare, after), (gold_before, gold_bare, gold_after) = _unmarked(answer), _unmarked(gold)
    return bare == gold_bare != "" and before.endswith(gold_before) and after.startswith(gold_after)


def _unmarked(text: str) -> tuple[str, str, str]:
    """Text in three parts: the marks before it, the text itself, the marks after it."""
    started = text.lstrip(_MARKS)
    bare = started.rstrip(_MARKS)
    return text[: len(text) - len(started)], bare, started[len(bare) :]


PLACES = {
    "whole": Place(lambda text: text or None, "", "", "a response"),
    "last_line": Place(last_line, "", "", "a last line"),
    "answer_line": Place(
        answer_line,
        "Answer: ",
        "",
        'a line "Answer: ..."',
        same=same_but_for_markdown,
        shown=lambda answer: answer.strip("* \t"),
    ),
    "tag": Place(last_tagged, OPEN, CLOSE, f"an {OPEN}...{CLOSE}"),
    "boxed": Place(last_box, BOX, "}", f"a {BOX}...}}"),
}


def place(name: str, pattern: str | None = None) -> Place:
    """The place of that name; `pattern` is for "regex". Raises ConfigError that lists the names."""
    if (name == REGEX) != (pattern is not None):
        raise ConfigError(f"place: {REGEX} and pattern belong together: give both")
    if pattern is not None:
        from analyzer.rewards._common.patterns import Pattern  # imports regex, which most rewards do without

        compiled = Pattern(pattern)
        around = compiled.around()
        before, after = around or ("", "")
        return Place(compiled.take, before, after, f"a match of {pattern!r}", presentable=around is not None)
    if name in PLACES:
        return PLACES[name]
    raise ConfigError(f"place: {name!r} is not a place of an answer; there are: {', '.join((*PLACES, REGEX))}")
