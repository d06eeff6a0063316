r"""Multiple choice: the letter A-J that a response settles on, equal to the ground truth.

    "... so the answer is (C)."   with ground truth "C"         ->   1.0
    "Answer: A, D"                with ground truth "AD"        ->   1.0   all of them, in any order

An answer is, of whichever stands last, a box that names a letter, `\boxed{C}`, `\boxed{\text{(C) } 12}` or
`\boxed{\text{Option C}}`, or a phrase that names one: "the answer is C", "**Answer:** (C)", "the correct option is C",
"C is the correct answer", "<answer>C</answer>", "答案是C", "故选：C". Without either, a last line that is nothing but a
letter counts. Letters are capitals; a small one counts where it cannot be a word or a variable: after a colon at the
end of a line, in parentheses, after "option". Where no letter is named and the options are known, the text of one in a
box, in a tag or behind "the answer is" names its letter: "The answer is Paris."

Several letters, "A and B" or "ABD", are one answer that only a ground truth of just these letters rewards; "A or B" is
none. There is no random guess where nothing is found (MMLU-Pro's compute_accuracy.py draws a letter), and the last
answer counts where MMLU-Pro takes the first: a response that names one letter after another has answered once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from analyzer.rewards import Reward, register
from analyzer.rewards._common.boxed import BOX, closing_brace
from analyzer.rewards._common.gold import shown
from analyzer.rewards._common.places import conclusion
from analyzer.rewards._common.tags import last_tagged
from analyzer.schema import GoldError, Problem, Score

ANSWERS = ("answer", "Answer", "ANSWER")
OPTIONS = ("option", "Option", "choice", "Choice")  # only "the correct option", not "another option is C"
CHINESE = ("答案", "选项", "选")
LEFT = 50  # characters before a keyword in which "C is the correct" may stand
BOX_LIMIT = 500  # characters of a box that may name a letter

# Every quantifier is bounded, so that each keyword costs the same whatever stands around it.
_OPENING = r"(?:[*_\"'`$\[{(（]|\\(?:text|textbf|mathrm|mathbf|mbox|bf)\s?\{|\\[(\[ ]|\s){0,8}"
_REASON = r"(?:because|since|as|due|given|based|which)\b"
_JOINED = r"(?:and|or|nor|to)\s[(*\[]{0,3}[A-J](?![\w'’])"
_ASCENDING = r"(?=[A-J]{2})A?B?C?D?E?F?G?H?I?J?"  # "ABD"; no word but a few short ones has its letters in this order
_LETTER = (  # "A gas" and "I think" are no choices: the letter begins a clause, unless a reason follows it
    rf"(?P<letter>[B-HJ]|[AI](?!\s(?!{_REASON}|{_JOINED})[a-z])|{_ASCENDING})(?![\w'’-]|\s?[=+^]|\s[-−]\s?[A-Z]\b)"
)
_ANOTHER = r"[(*\[]{0,3}(?:[A-HJ]|I(?!\s[a-z]))(?![\w'’])"
_MORE = (  # "A or B", "A, B and C", "A + B", "A B C": several letters; "B, A is wrong" and "B A gas" name one
    r"(?P<more>[ \t](?:[B-HJ]|[AI](?!\s[a-z]))(?![\w'’-]|[.):])|"
    r"[)\]*}]{0,4}\s?(?:[+=]|(?:and|or|to|through|nor|&|/)\s?" + _ANOTHER + r"|"
    r"[,;|]\s?(?:and\s|or\s)?" + _ANOTHER + r"[)\]}*.]{0,4}\s?(?:[,;|/&]|and\b|or\b|are\b|all\b|both\b|\n|$)))"
)
_VERB = r"(?:(?:is|was|would be|should be|must be|will be)\b|[:：=>→–—-]|->)"
_FILLER = (
    r"(?:(?:therefore|thus|clearly|most likely|likely|probably|definitely|simply|indeed|the|correct|final|"
    r"option|choice|letter|answer|Option|Choice|Letter)\b[\s:,*]{1,4}){0,4}"
)
_BEGINNING = r"[*_\"']{0,3}\s{0,3}(?:(?:choice|option|letter)\s)?(?:(?:to|for) (?:the|this) question\s)?"
NAMED_AFTER = re.compile(rf"{_BEGINNING}{_VERB}[\s:*_]{{0,8}}{_FILLER}{_OPENING}{_LETTER}{_MORE}?")
_ALONE = r"(?!\s?(?:[,;/&+]|and\b|or\b)\s?\(?[a-jA-J]\b)"
SMALL_AFTER = re.compile(
    rf"{_BEGINNING}(?:"
    rf"[:：=>→][\s:*_]{{0,8}}{_FILLER}{_OPENING}(?P<ending>[a-j])"
    r"(?:\)|(?=[)\]}*_.`\"'$]{0,6}[ \t]{0,3}(?:\n|<|$)))|"
    rf"{_VERB}[\s:*_]{{0,8}}{_FILLER}[*_\"'`$]{{0,4}}\((?P<closed>[a-j])\)|"
    rf"{_VERB}\s(?:the\s)?(?:option|choice|letter)\s(?P<option>[a-j])(?![\w'’-])"
    rf"){_ALONE}"
)
NAMED_BEFORE = re.compile(
    r"(?<![\w'’])(?P<letter>[A-J])[)*]{0,4}\s(?:is|must be|would be|should be)\s(?:clearly |therefore |thus )?"
    r"the (?:only |single |most |one )?(?:correct|right|best|final|appropriate|accurate|likely|true)\s$"
)
CHOSEN = re.compile(r"(?i)\b(?:correct|right|best|final|appropriate|accurate|likely|probable|closest|answer|my)\s$")

_CHINESE_LETTER = rf"(?P<letter>[A-J]|{_ASCENDING})(?![A-Za-z0-9_'’]|\s?[=+^])"
CHINESE_AFTER = {
    "答案": re.compile(
        r"[*_\s]{0,4}(?:应该|应当|应|就|只能|可能|选项|选择|的){0,3}[*_\s]{0,4}(?:是|为|选|[:：→=])[\s:：*_]{0,8}"
        rf"(?:选项|选择|选|字母|应选|应为|是|为){{0,2}}[\s:：]{{0,3}}{_OPENING}{_CHINESE_LETTER}"
    ),
    "选项": re.compile(rf"[*_\s]{{0,4}}(?:应该|应|就)?(?:是|为|[:：])[\s:：*_]{{0,8}}{_OPENING}{_CHINESE_LETTER}"),
    "选": re.compile(rf"择?[\s:：*_]{{0,6}}(?:选项|答案)?[\s:：]{{0,3}}{_OPENING}{_CHINESE_LETTER}"),
}
CHINESE_BEFORE = {  # what must stand before the keyword; "不选C" and "若选C" choose nothing
    "答案": re.compile(r"(?<!不是)(?<!错误)(?<!错误的)$"),
    "选项": re.compile(r"(?:正确|最佳|合适|符合题意)的?$"),
    "选": re.compile(r"(?:^|[，。；：,;:.\s*]|故|应|应该|应当|因此|所以|本题|此题|综上|答案|我|则|可)$"),
}
CHINESE_NAMED_BEFORE = re.compile(
    r"(?<![A-Za-z])(?P<letter>[A-J])\s?(?:项|选项)?\s?(?:是|为)\s?(?:唯一)?(?:正确|最佳)的?$"
)

_NEXT = (
    r"[)\]*}）]{0,4}(?:\s?(?:[,;，、；|&]|(?i:and)\b|和|与|及)\s?(?:and\s)?|[ \t])[(*\[（]{0,3}[A-J](?![A-Za-z0-9_'’])"
)
SERIES = re.compile(rf"[A-J](?:{_NEXT}){{1,12}}")
ALTERNATIVE = re.compile(r"[)\]*}）]{0,4}\s?(?:or\b|nor\b|to\b|through\b|[/=+]|或)")
SINGLE = re.compile(r"(?<![A-Za-z])[A-J](?![A-Za-z])")

_WORDS = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mbox|bf)\s?\{([^{}]*)\}")
_SPACES = re.compile(r"\\[ ,;:!]|~|\\quad")
_LABEL = r"(?:(?:the\s)?(?:correct\s|final\s)?(?:(?i:option|choice|answer|letter))(?:\sis\b)?[\s:]{1,4})?"
BOXED_LETTER = re.compile(rf"{_OPENING}{_LABEL}{_OPENING}{_LETTER}(?:{_MORE}|(?=[)\]}}.:]|[\s$*]{{0,4}}$))")
BOXED_SMALL = re.compile(rf"[\s*$]{{0,4}}{_LABEL}[(\s*]{{0,3}}(?P<letter>[a-j])[)\s.*$]{{0,4}}")
LETTER_LINE = re.compile(
    r"[\s*_#>`$\"'(\[-]{0,6}(?:option |choice |letter )?\(?(?P<letter>[A-J])[)\]}.:*_`$\"'\s]{0,6}"
)
SMALL_LINE = re.compile(r"[\s*_`$]{0,6}\((?P<letter>[a-j])\)[.*_`$\s]{0,6}")
SMALL_ONLY = re.compile(r"(?P<letter>[a-j])[.)]?")
OPTION_LINE = re.compile(r"[\s*(]{0,4}(?P<letter>[A-J])[).:]\*{0,2}\s")
CHOICES = ("choices", "options")
OPTION_LETTER = re.compile(r"^\s*\(?[A-J][).:]\s+")
TEXT_AFTER = re.compile(  # the rest of the line behind "the answer is" or "Answer:"
    r"[*_\s]{0,4}(?:(?:is|was|would be|should be|must be)\b[\s:*_]{0,4}|[:：][\s*_]{0,4})(?P<text>[^\n]{1,300})"
)
_MARKS = re.compile(r"[*_`$\"']|\\[()\[\]]")
GOLD = re.compile(r"\(?([A-J])\)?\.?")
GOLD_SERIES = re.compile(rf"\(?(?:[A-J](?:{_NEXT}){{1,12}}|{_ASCENDING})[).]{{0,2}}")


class OptionText(NamedTuple):
    """An answer without a letter, which may be the text of an option."""

    text: str


@register
class MultipleChoice(Reward):
    """1.0 where the letter that the response names last as its answer is the ground truth, else 0.0.

    A ground truth may be several letters, "A,B", "AB" or ["A", "B"]: all of them, and no other, must be named. It may
    be the text of an option where extra_info holds the options, as `choices` or `options`: a list, {letter: text}, or
    {"label": [...], "text": [...]}.
    """

    name = "multiple_choice"
    data_sources = ("TIGER-Lab/MMLU-Pro",)
    needs_extra_info = True
    expects = 'a phrase "the answer is (letter)" or a box with a letter'
    tried_by_audit = True

    def extract(self, response: str) -> str | OptionText | None:
        text = conclusion(response)
        # Each search begins beyond the best place so far, so the work is bounded by what lies after the answer.
        place, letters = _last_box(text)
        for keyword in ANSWERS + OPTIONS:
            place, letters = max((place, letters), _last_named(text, keyword, place))
        for keyword in CHINESE:
            place, letters = max((place, letters), _last_chinese(text, keyword, place))
        # Alternatives ("A or B") are found with no letters: an answer was given, so the last line is not asked.
        return letters or (_last_line(text) or _last_text(text) if place < 0 else None)

    def grade(self, answer: str | OptionText | None, ground_truth: Any) -> Score:
        gold, options = _gold_and_options(ground_truth)
        if isinstance(answer, OptionText):
            letter = options.get(_option(answer.text))
            return Score(1.0 if letter is not None and letter == letter_gold(gold) else 0.0, found=letter is not None)
        return Score(1.0 if answer == letter_gold(gold) else 0.0)

    def gold_of(self, problem: Problem) -> Any:
        """The letter, or {"gold": letter, "options": {text: letter}} where extra_info holds the options."""
        gold = super().gold_of(problem)
        texts = [(letter, _option(text)) for letter, text in _options(problem.extra_info)]
        # Of two equal options neither letter is the right one.
        options = {text: letter for letter, text in texts if text and [other for _, other in texts].count(text) == 1}
        if isinstance(gold, str) and not GOLD.fullmatch(gold.strip()):
            gold = options.get(_option(gold), gold)
        return {"gold": gold, "options": options} if options else gold

    def check_gold(self, ground_truth: Any) -> None:
        letter_gold(_gold_and_options(ground_truth)[0])

    def present(self, ground_truth: Any) -> str:
        letters = letter_gold(_gold_and_options(ground_truth)[0])
        return f"The answer is {', '.join(letters)}." if len(letters) > 1 else f"The answer is ({letters})."


def _gold_and_options(ground_truth: Any) -> tuple[Any, Mapping[str, str]]:
    """What `gold_of` gives: the ground truth, and the letters of the options by their texts."""
    if isinstance(ground_truth, dict) and set(ground_truth) == {"gold", "options"}:
        return ground_truth["gold"], ground_truth["options"]
    return ground_truth, {}


def _options(extra_info: Any) -> list[tuple[str, str]]:
    """(letter, text) of each option that extra_info holds; [] where it holds none in a form that is known."""
    extra = _from_json(extra_info)
    if not isinstance(extra, dict):
        return []
    held = next((value for name in CHOICES if (value := _from_json(extra.get(name)))), None)
    if isinstance(held, dict) and isinstance(held.get("text"), list) and isinstance(held.get("label"), list):
        pairs = list(zip(held["label"], held["text"], strict=False))
    elif isinstance(held, dict):
        pairs = list(held.items())
    elif isinstance(held, list):
        # strict=False: MMLU-Pro has up to ten options and most problems have fewer.
        pairs = list(zip("ABCDEFGHIJ", held, strict=False))
    else:
        return []
    return [(label, text) for label, text in pairs if isinstance(text, str) and label in tuple("ABCDEFGHIJ")]


def _from_json(value: Any) -> Any:
    """A value that may be JSON in a text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _option(text: str) -> str:
    """The text of an option as it is compared: without its letter in front, white space and case."""
    return " ".join(OPTION_LETTER.sub("", text).split()).rstrip(".").casefold()


def letter_gold(ground_truth: Any) -> str:
    """The letters of a ground truth, ascending: "C", "(C)", "C."; "A,C", "CA", ["A", "C"].

    Raises GoldError for anything else: it would never be equal.
    """
    if isinstance(ground_truth, list) and ground_truth and all(isinstance(one, str) for one in ground_truth):
        found = [GOLD.fullmatch(one.strip()) for one in ground_truth]
        letters = [match[1] for match in found if match is not None]
        if len(letters) == len(set(letters)) == len(ground_truth):
            return "".join(sorted(letters))
    elif isinstance(ground_truth, str):
        text = ground_truth.strip()
        if match := GOLD.fullmatch(text):
            return match[1]
        letters = re.findall("[A-J]", text)
        if GOLD_SERIES.fullmatch(text) and len(letters) == len(set(letters)):
            return "".join(sorted(letters))
    raise GoldError(
        "the ground truth must be a letter A-J, several such as A,B, or one of the options in extra_info; "
        f"not {shown(ground_truth)}"
    )


def _last_text(text: str) -> OptionText | None:
    """The last answer that names no letter: what stands in the last box, in the last tag, or behind "answer is"."""
    start = text.rfind(BOX)
    close = closing_brace(text, start) if start >= 0 else -1
    if 0 <= close <= start + BOX_LIMIT:
        return _option_text(text[start + len(BOX) : close])
    if (tagged := last_tagged(text)) is not None:
        return _option_text(tagged)
    at, found = max((_last_after(text, keyword) for keyword in ANSWERS), key=lambda one: one[0])
    return _option_text(found) if at >= 0 else None


def _last_after(text: str, keyword: str) -> tuple[int, str]:
    start = text.rfind(keyword)
    while start >= 0:
        if match := TEXT_AFTER.match(text, start + len(keyword)):
            return start, match["text"]
        start = text.rfind(keyword, 0, start)
    return NOWHERE


def _option_text(held: str) -> OptionText | None:
    plain = _MARKS.sub("", _SPACES.sub(" ", _WORDS.sub(r"\1", held[:BOX_LIMIT]))).strip()
    return OptionText(plain) if plain else None


NOWHERE = (-1, "")
"""No answer found. Found ones are (place in the text, letters), the letters "" where it names alternatives."""


def _last_box(text: str) -> tuple[int, str]:
    start = text.rfind(BOX)
    close = closing_brace(text, start) if start >= 0 else -1
    # A box of 500 characters is a derivation; a letter in it is a variable.
    if close < 0 or close - start > BOX_LIMIT:
        return NOWHERE
    held = text[start + len(BOX) : close]
    plain = _SPACES.sub(" ", _WORDS.sub(r"\1", held))
    if match := BOXED_LETTER.match(plain):
        return start, _letters(match)
    small = BOXED_SMALL.fullmatch(plain)
    return (start, small["letter"].upper()) if small and len(held.strip()) > 1 else NOWHERE  # \boxed{e} is a number


def _last_named(text: str, keyword: str, after: int) -> tuple[int, str]:
    """The last phrase with the keyword that names letters, if it stands beyond `after`."""
    start = text.rfind(keyword)
    while start > after:
        before = text[max(0, start - LEFT) : start]
        # "/answer" is the closing tag, and "unanswered" no keyword.
        if before[-1:] != "/" and not before[-1:].isalpha() and (keyword in ANSWERS or CHOSEN.search(before)):
            end = start + len(keyword)
            if match := NAMED_AFTER.match(text, end):
                return start, _letters(match)
            if match := SMALL_AFTER.match(text, end):
                return start, str(match[match.lastgroup or 0]).upper()
            if match := NAMED_BEFORE.search(before):
                return start, match["letter"]
        start = text.rfind(keyword, 0, start)
    return NOWHERE


def _last_chinese(text: str, keyword: str, after: int) -> tuple[int, str]:
    """As `_last_named`, for a Chinese keyword, which no spaces set off."""
    start = text.rfind(keyword)
    while start > after:
        before = text[max(0, start - LEFT) : start]
        if CHINESE_BEFORE[keyword].search(before):
            if match := CHINESE_AFTER[keyword].match(text, start + len(keyword)):
                return start, _series(match)
            if match := CHINESE_NAMED_BEFORE.search(before):
                return start, match["letter"]
        start = text.rfind(keyword, 0, start)
    return NOWHERE


def _letters(match: re.Match[str]) -> str:
    """The letter of a match, or the letters where `more` of them follow."""
    return _series(match) if match["more"] else match["letter"]


def _series(match: re.Match[str]) -> str:
    """All letters of a list that begins with the match's letter, ascending; "" where they are alternatives."""
    start, end = match.span("letter")
    series = SERIES.match(match.string, start)
    if series is not None:
        end = series.end()
    # "A or B" answers nothing: a response that hedges earns no more than one that is silent.
    if ALTERNATIVE.match(match.string, end):
        return ""
    return match["letter"] if series is None else "".join(sorted(set(SINGLE.findall(series[0]))))


def _last_line(text: str) -> str | None:
    """The letter that the last line consists of, or that begins the only line: "B. Paris", "b"."""
    lines = text.strip().rsplit("\n", 2)
    match = LETTER_LINE.fullmatch(lines[-1]) or SMALL_LINE.fullmatch(lines[-1])
    if len(lines) == 1:
        match = match or OPTION_LINE.match(lines[-1]) or SMALL_ONLY.fullmatch(lines[-1])
    # Cut off by max_tokens in the middle of repeating the options; the last of them is not a choice.
    elif OPTION_LINE.match(lines[-2]):
        return None
    return match["letter"].upper() if match else None
