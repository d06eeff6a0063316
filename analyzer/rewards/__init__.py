"""Rewards: what a reward is, which there are, and which one a data_source gets.

A reward is two pure steps, so that what repeats is done once::

    answer = reward.extract(response)              # linear time, on every rollout
    score = reward.grade(answer, ground_truth)     # on distinct answers of a problem only

To add one, add one file to this folder with a class that is decorated by `register`; nothing else needs
to know of it. A module whose name starts with an underscore holds what several rewards share.
Heavy libraries are imported inside the methods that need them, so that looking up a name stays cheap.
"""

from __future__ import annotations

import difflib
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from fnmatch import fnmatchcase
from typing import Any, ClassVar, NamedTuple, Self

from analyzer.errors import ConfigError
from analyzer.registry import Registry, did_you_mean, unknown
from analyzer.schema import NOTHING, PASS_THRESHOLD, Lengths, Problem, Score

__all__ = [
    "ENTRY_POINTS",
    "REWARDS",
    "BaseReward",
    "GroupReward",
    "Part",
    "Reward",
    "Where",
    "WholeReward",
    "build",
    "default_route",
    "find",
    "is_place",
    "leaves",
    "names",
    "register",
    "similar_data_source",
]

ENTRY_POINTS = "analyzer.rewards"
"""The group of entry points in which a package may name its reward functions."""


class Where(Enum):
    """Where the second step of a reward runs."""

    WORKER = "worker"  # pure string work in linear time
    CHILD = "child"  # in the bounded child: may hang, crash or eat memory
    SANDBOX = "sandbox"  # in the worker, which runs model-written programs in a sandbox


class Part(NamedTuple):
    """One summand of a reward that is a sum."""

    name: str  # its column is reward_<name>
    weight: float
    reward: BaseReward


class BaseReward(ABC):
    """What every reward has. The constructor's keyword arguments are its options (plain JSON values)."""

    name: ClassVar[str]
    data_sources: ClassVar[tuple[str, ...]] = ()  # names or globs routed here unless the user says otherwise
    where: ClassVar[Where] = Where.WORKER
    libraries: ClassVar[tuple[str, ...]] = ()  # distributions whose version can change a reward
    expects: str = "an answer"  # how an answer looks, as a phrase for the audit: 'no "####"'
    second_grader: ClassVar[str] = ""  # the reward that --audit compares it with
    tried_by_audit: ClassVar[bool] = False  # a text reward that may read what another one cannot
    maximum: float = 1.0  # the highest reward there is
    needs_gold: bool = True  # looks at the ground truth
    parts: tuple[Part, ...] = ()  # of a sum: what it adds up
    right_from: float = PASS_THRESHOLD  # of a sum: from this reward of its decider on, a response is right to its parts
    options: Mapping[str, Any]  # what the constructor was called with, so that the child can build an equal one

    def __new__(cls, **options: Any) -> Self:
        # In __new__, so that a subclass need not call super().__init__ for its options to be kept: the child
        # builds an equal reward from them.
        reward = super().__new__(cls)
        reward.options = options
        return reward

    def __init__(self) -> None:  # noqa: B027 - takes no options, which is what it is for
        """No options, unless a subclass takes some: one that is not known is a TypeError, never passed over."""

    def __str__(self) -> str:
        return self.name

    @property
    def decider(self) -> BaseReward:
        """The reward whose value says whether a rollout passes: of a sum one of its parts, else the reward itself."""
        return self

    def load(self) -> None:  # noqa: B027 - a hook, most rewards have nothing to load
        """Import the heavy libraries that grading needs. CHILD: runs once, before the first item and off its budget."""


class Reward(BaseReward):
    """A reward in two pure steps. Subclass, set `name`, write `extract` and `grade`."""

    needs_extra_info: ClassVar[bool] = False  # `gold_of` looks at Problem.extra_info

    @abstractmethod
    def extract(self, response: str) -> Hashable | None:
        """The answer in a response (hashable, and JSON-able unless `where` is WORKER), None if there is none.

        Equal answers share one grade; on its way to the child a tuple becomes a list. Linear in the length of the
        response whatever it holds. Raises Unscored(LIMIT) to refuse.
        """

    @abstractmethod
    def grade(self, answer: Any, ground_truth: Any) -> Score:
        """The score of one answer (None: no answer was found). Raises Unscored where it cannot judge."""

    def answer_text(self, answer: Any) -> str | None:
        """What `extract` found as a person reads it, for the column reward_answer; None for nothing to show.

        Answers with equal texts count as equal in majorities.
        """
        # Several rewards return a NamedTuple with a `text`; those with another form override this.
        text = getattr(answer, "text", answer)
        return text if text is None or isinstance(text, str) else str(text)

    def check_gold(self, ground_truth: Any) -> None:
        """Raise GoldError when the ground truth cannot be graded. Runs where `grade` runs, once per problem."""

    def gold_of(self, problem: Problem) -> Any:
        """The ground truth that the other methods are given: the problem's, unless what is beside it says more.

        Cheap and pure; `problem.extra_info` is filled where `needs_extra_info` is set. What cannot be understood is
        left as it is, for `check_gold` to refuse. A number in a column of texts is its text, as the outputs have it;
        custom functions see the number, as their training would.
        """
        return problem.ground_truth if problem.gold_text is None else problem.gold_text

    def settle_gold(self, ground_truth: Any) -> bool:
        """CHILD only: True when `check_gold` surely passes, known in the worker without the child."""
        return False

    def settle(self, answer: Any, ground_truth: Any) -> Score | None:
        """CHILD only: the score where it is plain without the child; never different from `grade`."""
        return None

    @abstractmethod
    def present(self, ground_truth: Any) -> str:
        """A response that gives the ground truth as the reward expects it, and so earns `maximum`."""


class WholeReward(BaseReward):
    """A reward that looks at whole rollouts, one problem's at a time: custom functions, for instance."""

    where: ClassVar[Where] = Where.CHILD
    needs_columns: bool = False  # fill Problem.prompt and Problem.columns
    batch_size: int = 512  # rollouts in one call of `score`

    @abstractmethod
    def score(self, problem: Problem, responses: Sequence[str]) -> list[Score]:
        """One score per response, in order. Runs in the bounded child; when it fails, each response is tried alone."""

    def score_json(self, problem: Sequence[Any], responses: Sequence[str]) -> list[Score]:
        """`score` as the child calls it, with the problem's fields as they come out of JSON."""
        return self.score(Problem(*problem), responses)


class GroupReward(BaseReward):
    """A reward that looks at the responses of one problem together, and at their lengths in tokens."""

    needs_verdicts: bool = False  # which responses are right: only as a part of a sum, whose decider says so
    needs_cut: bool = False  # which responses were cut off
    needs_whole_group: bool = False  # a score depends on the other responses

    @abstractmethod
    def score(self, responses: Sequence[str], lengths: Lengths, verdicts: Sequence[bool] | None) -> list[Score]:
        """One score per response, in order; `verdicts`: which are right, None where nothing says so."""


def leaves(rewards: Iterable[BaseReward]) -> Iterator[BaseReward]:
    """The rewards, each sum as its parts."""
    for reward in rewards:
        if reward.parts:
            yield from (part.reward for part in reward.parts)
        else:
            yield reward


REWARDS: Registry[type[BaseReward]] = Registry("reward", __name__)
register = REWARDS.register
names = REWARDS.names
find = REWARDS.find


def _why(cls: type[BaseReward], error: TypeError) -> str:
    """What a constructor said of an option, in a user's words: its own name the class and its method."""
    wrong = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if wrong is None:
        return str(error)
    constructors = [vars(base)["__init__"] for base in cls.__mro__[:-1] if "__init__" in vars(base)]
    taken = {
        name
        for constructor in constructors
        for name, parameter in inspect.signature(constructor).parameters.items()
        if name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    }
    known = f"its options are: {', '.join(sorted(taken))}" if taken else "it has none"
    return f"there is no {wrong[1]!r}{did_you_mean(wrong[1], taken)}; {known}"


def is_place(spec: str) -> bool:
    """Whether it says where a function of the user's own is: no name, for which all rewards would be imported."""
    return ":" in spec or spec.endswith(".py")


def build(spec: str, options: Mapping[str, Any] = NOTHING) -> BaseReward:
    """The reward that `spec` names, with its options (of a custom function: --reward_kwargs).

    `spec` is a built-in's name, "path/to/file.py:name", "package.module:name", or the name of an entry point of the
    group `analyzer.rewards`, which is a function of one of the forms in custom/. A custom function is imported and
    checked in a child process, never here. Raises ConfigError for a name or option that does not exist, RewardError
    for a function that cannot be loaded.
    """
    # Here, not above, off the path of --help.
    import importlib.metadata

    from analyzer.rewards.custom import load_custom

    if is_place(spec):
        return load_custom(spec, options)
    if (cls := REWARDS.get(spec)) is not None:
        try:
            return cls(**options)
        except TypeError as error:
            raise ConfigError(f"the reward {spec!r} does not take these options: {_why(cls, error)}") from None
    points = {point.name: point.value for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    if spec in points:
        return load_custom(points[spec], options)
    raise unknown("reward", spec, [*names(), *points])


def default_route(data_source: str) -> str | None:
    """The built-in reward for a data_source: an exact name first, then the longest glob; None without one."""
    patterns = {pattern: cls.name for cls in REWARDS for pattern in cls.data_sources}
    if data_source in patterns:
        return patterns[data_source]
    # fnmatchcase, not fnmatch: the latter folds case on some systems, and a run must be the same on all.
    fitting = [pattern for pattern in patterns if fnmatchcase(data_source, pattern)]
    return patterns[max(fitting, key=len)] if fitting else None


def similar_data_source(data_source: str) -> str | None:
    """The data source with a reward that a name may stand for: the same but for owner, case, spaces; or the nearest."""

    def plain(name: str) -> str:
        return name.strip().rpartition("/")[2].casefold().replace("-", "_")

    known = [name for cls in REWARDS for name in cls.data_sources if "*" not in name]
    same = [name for name in known if plain(name) == plain(data_source)]
    near = difflib.get_close_matches(data_source.strip(), known, 1, cutoff=0.8)
    return next(iter(same + near), None)
