"""Routing: the reward of each data_source, and the columns that it reads."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import orjson

from analyzer import rewards, scoring
from analyzer.config import AnalysisSettings
from analyzer.dialects.joining import GOLD_NAMES
from analyzer.dialects.layout import paste, unread_reward
from analyzer.errors import ConfigError, InputError, counted
from analyzer.plan import RewardChoice
from analyzer.planning import sharding
from analyzer.rewards import BaseReward, GroupReward, Where, WholeReward
from analyzer.rollouts import dataset, problems
from analyzer.rollouts.dataset import Dataset, is_text
from analyzer.rollouts.input import Input
from analyzer.rollouts.numbering import Numbering
from analyzer.schema import DATA_SOURCE, DEFAULT_REWARD_FN_KEY, FINISH_REASON, MAX_TOKENS, ORIGINAL
from analyzer.stages import read

Route = tuple[str, dict[str, Any]]
"""The name of a reward and its options."""


def choose_rewards(settings: AnalysisSettings, sources: Mapping[str, int]) -> dict[str, BaseReward]:
    """The reward of each data_source: --reward_fn, else the first fitting pattern of reward_routes, else verl's route.

    Data sources of the same route share one reward. Raises ConfigError that lists all sources without one,
    RewardError or SandboxError for a reward that is not available.
    """
    if settings.reward_kwargs and not settings.reward_fn:
        raise ConfigError("--reward_kwargs are options of --reward_fn, which is not given")
    routes = {name: _route(settings, name) for name in sources}
    if unknown := [_unknown(name, sources[name]) for name, route in routes.items() if route is None]:
        raise ConfigError(
            f"no reward is known for data source {', '.join(unknown)}; choose one with --reward_fn NAME "
            f"(there are: {', '.join(rewards.names())}; or your own as file.py:function), "
            "or for each data source with reward_routes in --config"
        )
    # Data sources of one route share a reward, and so its child process and its memory.
    built: dict[bytes, BaseReward] = {}
    chosen: dict[str, BaseReward] = {}
    # Once, and only where a reward runs programs: the level of the sandbox is tried out on this machine.
    sandbox = functools.cache(
        lambda: sandbox_options(settings.allow_code_execution, settings.sandbox, settings.code_timeout)
    )
    for name, route in routes.items():
        if route is None:
            continue
        key = orjson.dumps(route, option=orjson.OPT_SORT_KEYS, default=str)
        if key not in built:
            built[key] = build(*route, sandbox)
        chosen[name] = built[key]
    return chosen


def build(spec: str, options: dict[str, Any], sandbox: Callable[[], Mapping[str, Any]]) -> BaseReward:
    """The reward of that name, with the options of `sandbox` where it runs programs or a part of a sum does.

    Raises ConfigError, RewardError or SandboxError for a reward that is not available.
    """
    # The reward and, of a sum, its parts: a name, or a mapping that holds one.
    parts = options.get("parts")
    of_sum = [p.get("name") if isinstance(p, Mapping) else p for p in parts] if isinstance(parts, list) else []
    if any(_needs_sandbox(name) for name in (spec, *of_sum) if isinstance(name, str)):
        options = _with_sandbox(spec, options, sandbox())
    reward = rewards.build(spec, options)
    if isinstance(reward, GroupReward) and reward.needs_verdicts:
        raise ConfigError(f"the reward {spec} depends on which responses are right: use it as a part of combine")
    return reward


def _unknown(name: str, rollouts: int) -> str:
    """A data source without a reward, with the one that may be meant: gsm8k for openai/gsm8k."""
    near = rewards.similar_data_source(name)
    hint = f"; did you mean {near!r}, for which it is --reward_fn {rewards.default_route(near)}?" if near else ""
    return f"{name!r} ({counted(rollouts, 'rollout')}{hint})"


def _route(settings: AnalysisSettings, source: str) -> Route | None:
    if settings.reward_fn:
        return settings.reward_fn, dict(settings.reward_kwargs or {})
    # In the order of the file: a narrow pattern goes in front of a wide one.
    for pattern, route in (settings.reward_routes or {}).items():
        if fnmatchcase(source, pattern):
            return _said(pattern, route)
    name = rewards.default_route(source)
    return (name, {}) if name else None


def _said(pattern: str, route: Any) -> Route:
    if isinstance(route, str):
        return route, {}
    if isinstance(route, Mapping) and isinstance(route.get("name"), str) and set(route) <= {"name", "options"}:
        return route["name"], dict(route.get("options") or {})
    raise ConfigError(
        f"reward_routes: {pattern}: {route!r} is neither a reward's name nor {{name: ..., options: {{...}}}}"
    )


def _with_sandbox(spec: str, options: dict[str, Any], sandbox: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a reward that runs programs, or of a sum with such parts, with those of the sandbox."""
    if _needs_sandbox(spec):
        return {**sandbox, **options}
    parts = []
    for part in options["parts"]:
        given: Any = {"name": part} if isinstance(part, str) else part
        if isinstance(given, Mapping) and isinstance(given.get("name"), str) and _needs_sandbox(given["name"]):
            given = {**given, "options": {**sandbox, **(given.get("options") or {})}}
        parts.append(given)
    return {**options, "parts": parts}


def _needs_sandbox(name: str) -> bool:
    # A user's own function is not one of our names: their code is trusted and runs without a sandbox.
    reward = None if rewards.is_place(name) else rewards.REWARDS.get(name)
    return reward is not None and reward.where is Where.SANDBOX


def sandbox_options(allow_code_execution: bool, level: str, code_timeout: float) -> dict[str, Any]:
    """The options of a reward that runs programs, its level settled on this machine.

    Workers build the reward with that level, so that one on a node that cannot match it fails. Raises SandboxError.
    """
    options: dict[str, Any] = {"allow_code_execution": allow_code_execution, "code_timeout": code_timeout}
    if allow_code_execution:
        from analyzer.grading.sandbox import choose_level

        options["sandbox"] = str(choose_level(level))
    return options


def choice_of(settings: AnalysisSettings, reward: BaseReward) -> RewardChoice:
    """What a worker builds the reward from."""
    own = getattr(reward, "identity", None)
    identity = own() if own else {"options": dict(reward.options)}
    return RewardChoice(settings.reward_fn or reward.name, scoring.target_of(reward).path, reward.options, identity)


# ---------------------------------------------------------------- columns


def count_sources(settings: AnalysisSettings, rollouts: Dataset, numbering: Numbering) -> tuple[bool, dict[str, int]]:
    """Whether each rollout names its data_source, and the rollouts of each.

    Raises ConfigError where the data has no such column and no data_source is given, InputError where it is null in
    some rows.
    """
    import pyarrow as pa

    schema, name = rollouts.schema, given_source(settings)
    has_column = DATA_SOURCE in schema.names
    # A column of nothing but nulls, as pandas writes it, names none.
    if has_column and not settings.data_source and not pa.types.is_null(schema.field(DATA_SOURCE).type):
        read.check_sources(settings.rollouts, schema)
        counts, unnamed = sharding.count_sources(rollouts, numbering)
        if counts and unnamed is not None:
            raise InputError(
                f"{dataset.locate(rollouts.files, unnamed)}: {DATA_SOURCE} is null; fill it in, leave the row out, or "
                "name the data source of all rollouts with --data_source"
            )
        if counts:
            return True, counts
    if name is None:
        lack = f"there is no column {DATA_SOURCE!r} to choose a reward by (the columns are: {', '.join(schema.names)})"
        if has_column:
            lack = f"the column {DATA_SOURCE!r}, which chooses the reward, is null in every row"
        kept = unread_reward(schema)
        raise ConfigError(
            f"{settings.rollouts}: {lack}; name the data source of all rollouts with --data_source, "
            "or the reward with --reward_fn" + (f"; {paste({'reward': kept})} keeps those of {kept!r}" if kept else "")
        )
    return False, {name: sum(stop - start for start, stop in numbering.kept_ranges())}


def overruled_sources(settings: AnalysisSettings, rollouts: Dataset, numbering: Numbering) -> dict[str, int]:
    """The rollouts of each data_source in the data that is another one than --data_source, which is taken."""
    schema = rollouts.schema
    if not settings.data_source or DATA_SOURCE not in schema.names or not is_text(schema.field(DATA_SOURCE).type):
        return {}
    counts, _ = sharding.count_sources(rollouts, numbering)
    return {name: number for name, number in counts.items() if name != settings.data_source}


def given_source(settings: AnalysisSettings) -> str | None:
    """The data source of all rollouts where the settings name it, or one reward for all; None where the data must."""
    return settings.data_source or ("(all)" if settings.reward_fn else None)


def needs_gold(chosen: Iterable[BaseReward]) -> bool:
    """Whether any of the rewards looks at the reward information."""
    return not all(
        not reward.needs_gold or (isinstance(reward, WholeReward) and reward.needs_columns)
        for reward in rewards.leaves(chosen)
    )


def find_gold_column(settings: AnalysisSettings, opened: Input, chosen: Mapping[str, BaseReward]) -> str | None:
    """The column of the reward information; None where no reward needs one. Raises InputError for a missing one."""
    names = opened.dataset.schema.names
    found = problems.gold_column_of(names, settings.reward_fn_key, converted=bool(opened.reading))
    if found is None and needs_gold(chosen.values()):
        raise _no_gold(settings, opened, chosen)
    return found


def _no_gold(settings: AnalysisSettings, opened: Input, chosen: Mapping[str, BaseReward]) -> InputError:
    if not opened.reading or settings.reward_fn_key != DEFAULT_REWARD_FN_KEY:
        return read.missing_column(ORIGINAL + settings.reward_fn_key, opened.dataset.schema, settings.rollouts)
    # For another program's files it does not help to name the columns that the conversion made.
    wanting = next(str(reward) for reward in chosen.values() if needs_gold([reward]))
    remedy = f"--join {settings.join} brings none (looked for {', '.join(GOLD_NAMES)})"
    if not settings.join:
        remedy = "add them from the training data with --join train.parquet"
    return InputError(
        f"{settings.rollouts}: there are no ground truths, which reward {wanting} needs: {remedy}, or name their "
        "column with --columns '{ground_truth: COLUMN}'"
    )


def check_columns(chosen: Mapping[str, BaseReward], names: Sequence[str]) -> None:
    """Raise InputError where a reward needs a column that the dataset lacks."""
    for reward in rewards.leaves(chosen.values()):
        if isinstance(reward, GroupReward) and reward.needs_cut and not {FINISH_REASON, MAX_TOKENS} & set(names):
            raise InputError(
                f"reward {reward} depends on which responses were cut off, but there is neither a column "
                f"{FINISH_REASON!r} nor {MAX_TOKENS!r}; the columns are: {', '.join(names)}"
            )
        for name in getattr(reward, "columns", ()):
            if ORIGINAL + name not in names:
                raise InputError(
                    f"reward {reward} needs the column {ORIGINAL + name!r}, which is missing; "
                    f"the columns are: {', '.join(names)}"
                )
