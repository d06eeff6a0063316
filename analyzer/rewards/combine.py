"""combine: a weighted sum of rewards, as most people train with; one part says what passes.

    parts: [{name: math_verify, weight: 1.0}, {name: format, weight: 0.1, options: {tags: open_r1}}]
    pass_on: math_verify

    right answer, right format -> 1.1, and it passes;  wrong answer, right format -> 0.1, and it does not

Each part is scored as it would be alone: in the worker, in its bounded child or in the sandbox. A rollout that one of
the parts cannot score has no reward, and the status of that part: a sum without a summand would be another number.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from analyzer.errors import ConfigError
from analyzer.registry import did_you_mean
from analyzer.rewards import BaseReward, GroupReward, Part, build, register
from analyzer.schema import NOTHING, PASS_THRESHOLD

FIELDS = ("name", "weight", "options", "as")
_RESERVED = ("status", "answer", "pass_value")  # reward_<name> is a column of ours
_NO_NAME = re.compile(r"[^A-Za-z0-9_@.-]+")


@register
class Combine(BaseReward):
    """The weighted sum of several rewards, one of which says what passes. Options: parts, pass_on, right_from."""

    name = "combine"

    def __init__(
        self,
        *,
        parts: Sequence[Mapping[str, Any]] = (),
        pass_on: str | None = None,
        right_from: float = PASS_THRESHOLD,
        kwargs: Mapping[str, Mapping[str, Any]] = NOTHING,
    ) -> None:
        """parts: {name, weight (1), options, as (the part's name in columns, for a reward that occurs twice)}.

        pass_on: the name of the part that says what passes; may be left out where there is one part. right_from: the
        reward of that part from which a response is right to parts that ask so (cosine, kimi). `kwargs` are the
        arguments of custom functions by part: they are never written, so they stand apart. Raises ConfigError for
        what cannot be a sum, and what building a part raises.
        """
        if not isinstance(parts, list | tuple) or not parts:
            _refuse("needs `parts`: a list of {name: ..., weight: ..., options: {...}}")
        self.parts = tuple(_part(number, given, kwargs) for number, given in enumerate(parts, 1))
        names = [part.name for part in self.parts]
        if twice := next((name for name in names if names.count(name) > 1), None):
            _refuse(f"has two parts named {twice!r}: give one another name with `as`")
        self._pass_on = _pass_on(pass_on, names)
        if isinstance(right_from, bool) or not isinstance(right_from, int | float) or not math.isfinite(right_from):
            _refuse(f"needs a number as `right_from`, not {right_from!r}")
        self.right_from = right_from
        self._decider = self.parts[names.index(self._pass_on)].reward
        if isinstance(self._decider, GroupReward) and self._decider.needs_verdicts:
            _refuse(f"cannot pass on {self._pass_on!r}, which itself asks what is right")
        self.expects = self._decider.expects
        self.maximum = sum(part.weight * part.reward.maximum for part in self.parts)
        # What a worker builds an equal one from: custom functions are looked for and checked once, by the driver.
        inner = {part.name: dict(part.reward.options) for part in self.parts}
        values = {name: options.pop("kwargs") for name, options in inner.items() if "kwargs" in options}
        self.options = self._described([{"options": inner[part.name]} for part in self.parts], values)

    @property
    def decider(self) -> BaseReward:
        return self._decider

    def __str__(self) -> str:
        return " + ".join(part.name if part.weight == 1 else f"{part.weight:g} {part.name}" for part in self.parts)

    def identity(self) -> dict[str, Any]:
        """What the rewards depend on, for the fingerprint of a run."""
        inner, values = [], {}
        for part in self.parts:
            own = getattr(part.reward, "identity", None)
            inner.append(own() if own else {"options": dict(part.reward.options)})
            if "kwargs" in part.reward.options:
                values[part.name] = inner[-1].get("kwargs")
        return self._described(inner, values)

    def _described(self, inner: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> dict[str, Any]:
        """The sum as plain values. inner: what is said of each part's reward; values: `kwargs` by part."""
        parts = [
            {"as": part.name, "weight": part.weight, "path": _path(part.reward), **each}
            for part, each in zip(self.parts, inner, strict=True)
        ]
        right = {"right_from": self.right_from} if self.right_from != PASS_THRESHOLD else {}
        return {"parts": parts, "pass_on": self._pass_on, **right, **({"kwargs": dict(values)} if values else {})}


def _pass_on(given: Any, names: Sequence[str]) -> str:
    """The part that says what passes: the given one, or the only one there is. Raises ConfigError."""
    if given is None and len(names) > 1:
        _refuse(f"needs `pass_on`: the part that says whether a rollout passes, one of {', '.join(names)}")
    pass_on = names[0] if given is None else given
    if pass_on not in names:
        hint = did_you_mean(str(pass_on), names)
        _refuse(f"cannot pass on {pass_on!r}{hint}: its parts are {', '.join(names)}")
    return str(pass_on)


def _part(number: int, given: Any, kwargs: Mapping[str, Mapping[str, Any]]) -> Part:
    """A part as a user gives it, or as the driver passes it on, with the path of its class."""
    if isinstance(given, str):
        given = {"name": given}
    if isinstance(given, Mapping) and "path" in given:
        module, _, cls = given["path"].partition(":")
        values = {"kwargs": kwargs[given["as"]]} if given["as"] in kwargs else {}
        return Part(
            given["as"], given["weight"], getattr(importlib.import_module(module), cls)(**given["options"], **values)
        )
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        _refuse(f"part {number} is {given!r}; write {{name: ..., weight: ..., options: {{...}}}}")
    if unknown := next((key for key in given if key not in FIELDS), None):
        _refuse(f"part {number} has no {unknown!r}{did_you_mean(str(unknown), FIELDS)} (it has {', '.join(FIELDS)})")
    weight = given.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not abs(weight) <= 1e9:
        _refuse(f"part {number} ({given['name']}): the weight must be a number, not {weight!r}")
    if given["name"] == Combine.name:
        _refuse(f"part {number} is a sum: list its parts")
    options = given.get("options") or {}
    if not isinstance(options, Mapping):
        _refuse(f"part {number} ({given['name']}): options must be {{name: value}}, not {options!r}")
    name = given.get("as") or _NO_NAME.sub("_", given["name"].rpartition(":")[2])
    if not isinstance(name, str) or _NO_NAME.search(name) or name in _RESERVED:
        _refuse(f"part {number} cannot be named {name!r}: reward_{name} must be a column of its own; use `as`")
    return Part(name, float(weight), build(given["name"], options))


def _path(reward: BaseReward) -> str:
    return f"{type(reward).__module__}:{type(reward).__qualname__}"


def _refuse(why: str) -> NoReturn:
    raise ConfigError(f"the reward 'combine' {why}")
