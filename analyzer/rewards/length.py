"""length: what a response earns for its length, in tokens of --model_path, as part of a sum or alone.

    soft_overlong  0 up to max_len - buffer tokens, then down to -penalty at max_len and above (DAPO, verl, open-r1)
    cosine         right: from max_value_correct when short down to min_value_correct at max_len; wrong: from
                   min_value_wrong up to max_value_wrong; `exceed` from max_len on (open-r1, Demystifying Long CoT)
    kimi           0.5 for the shortest response of the problem down to -0.5 for its longest, and at most 0 where it is
                   wrong (Kimi k1.5, open-r1)
    cut_off        -penalty where the response was cut off at its token limit (columns finish_reason, max_tokens)

`cosine` and `kimi` ask what is right: the part that `pass_on` of `combine` names says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from analyzer.errors import ConfigError
from analyzer.registry import did_you_mean
from analyzer.rewards import GroupReward, register
from analyzer.schema import Lengths, Score, Status, Unscored

UNITS = ("tokens", "characters")  # open-r1 counts characters
_COSINE = {"min_value_wrong": -1.0, "max_value_wrong": -0.5, "min_value_correct": 0.5, "max_value_correct": 1.0}
OPTIONS: Mapping[str, Mapping[str, float | None]] = {
    "soft_overlong": {"max_len": None, "buffer": None, "penalty": 1.0},
    "cosine": {"max_len": None, **_COSINE, "exceed": math.nan},
    "kimi": {},
    "cut_off": {"penalty": 1.0},
}
"""The options of each rule and what they are unless given; None: required."""


@register
class Length(GroupReward):
    """A term for the length of a response: DAPO's soft overlong penalty, cosine, Kimi's, or a penalty when cut off."""

    name = "length"
    needs_gold = False
    expects = "a response of a certain length"
    maximum = 0.0

    def __init__(self, *, rule: str = "soft_overlong", unit: str = "tokens", **options: Any) -> None:
        """Raises ConfigError for an unknown rule, and for options that are not the rule's or no numbers."""
        if rule not in OPTIONS:
            raise ConfigError(
                f"length: there is no rule {rule!r}{did_you_mean(str(rule), OPTIONS)}; there are: {', '.join(OPTIONS)}"
            )
        if unit not in UNITS:
            raise ConfigError(f"length: unit is {' or '.join(UNITS)}, not {unit!r}")
        if unknown := next((name for name in options if name not in OPTIONS[rule]), None):
            known = ", ".join(OPTIONS[rule]) or "none"
            raise ConfigError(f"length: the rule {rule} has no option {unknown!r} (it has: {known})")
        values = {**OPTIONS[rule], **options}
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or math.isinf(value):
                given = "is required" if value is None else f"must be a number, not {value!r}"
                raise ConfigError(f"length: {name} of the rule {rule} {given}")
        self._values = {name: value for name, value in values.items() if value is not None}
        if rule in ("soft_overlong", "cosine") and self._values["max_len"] <= 0:
            raise ConfigError("length: max_len must be above 0")
        if rule == "soft_overlong" and not 0 < self._values["buffer"] <= self._values["max_len"]:
            raise ConfigError("length: buffer must be above 0 and at most max_len")
        self._rule = {"soft_overlong": self._soft_overlong, "cosine": self._cosine, "kimi": self._kimi}.get(rule)
        self._unit = unit
        self.needs_verdicts = rule in ("cosine", "kimi")
        self.needs_whole_group = rule == "kimi"
        self.needs_cut = rule == "cut_off"
        if rule in ("cosine", "kimi"):
            self.maximum = (
                0.5 if rule == "kimi" else max(self._values["max_value_correct"], self._values["max_value_wrong"])
            )

    def score(self, responses: Sequence[str], lengths: Lengths, verdicts: Sequence[bool] | None) -> list[Score]:
        if self.needs_cut:
            if lengths.cut is None:
                raise Unscored(Status.INPUT_ERROR, "the data does not say which responses were cut off")
            return [Score(-self._values["penalty"] if cut else 0.0) for cut in lengths.cut]
        if self.needs_verdicts and verdicts is None:
            raise Unscored(Status.ERROR, "it depends on which responses are right: use it as a part of combine")
        sizes = lengths.tokens if self._unit == "tokens" else [len(response) for response in responses]
        rule: Callable[[Sequence[int], Sequence[bool]], list[float]] | None = self._rule
        if rule is None:
            raise TypeError("a rule without a function")
        values = rule(sizes, verdicts or [])
        equal = {value: Score(value + 0.0) for value in values}  # one Score for equal ones: a sum is made once for them
        return [equal[value] for value in values]

    def _soft_overlong(self, sizes: Sequence[int], verdicts: Sequence[bool]) -> list[float]:
        """DAPO (arXiv 2503.14476), equation 13; verl's reward_manager/dapo.py for lengths up to max_len."""
        most, buffer, penalty = (self._values[name] for name in ("max_len", "buffer", "penalty"))
        return [penalty * max(min((most - buffer - size) / buffer, 0.0), -1.0) for size in sizes]

    def _cosine(self, sizes: Sequence[int], verdicts: Sequence[bool]) -> list[float]:
        """open-r1's get_cosine_scaled_reward; without `exceed` the cosine goes on beyond max_len, as there."""
        given = self._values
        values = []
        for size, right in zip(sizes, verdicts, strict=True):
            if size >= given["max_len"] and not math.isnan(given["exceed"]):
                values.append(given["exceed"])
                continue
            low, high = given["min_value_correct"], given["max_value_correct"]
            if not right:  # a wrong answer loses less when it is long
                low, high = given["max_value_wrong"], given["min_value_wrong"]
            values.append(low + 0.5 * (high - low) * (1.0 + math.cos(size / given["max_len"] * math.pi)))
        return values

    @staticmethod
    def _kimi(sizes: Sequence[int], verdicts: Sequence[bool]) -> list[float]:
        """Kimi k1.5 (arXiv 2501.12599), 2.3.3; open-r1's len_reward. 0 where all are of one length."""
        shortest, longest = min(sizes, default=0), max(sizes, default=0)
        if shortest == longest:
            return [0.0] * len(sizes)
        values = [0.5 - (size - shortest) / (longest - shortest) for size in sizes]
        return [value if right else min(0.0, value) for value, right in zip(values, verdicts, strict=True)]
