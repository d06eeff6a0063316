"""Routing: which reward each data_source gets, built and ready to be started."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import orjson

from analyzer import rewards
from analyzer.config import AnalysisSettings
from analyzer.errors import ConfigError
from analyzer.rewards import BaseReward, Where

Route = tuple[str, dict[str, Any]]
"""The name of a reward and its options."""


def choose_rewards(settings: AnalysisSettings, sources: Mapping[str, int]) -> dict[str, BaseReward]:
    """The reward of each data_source: --reward_fn, else the first fitting pattern of reward_routes, else verl's route.

    Data sources of the same route share one reward. Raises ConfigError that lists all sources without one,
    RewardError or SandboxError for a reward that cannot be had.
    """
    if settings.reward_kwargs and not settings.reward_fn:
        raise ConfigError("--reward_kwargs are the options of --reward_fn, which is not given")
    routes = {name: _route(settings, name) for name in sources}
    if unknown := [f"{name!r} ({sources[name]} rollouts)" for name, route in routes.items() if route is None]:
        raise ConfigError(
            f"no reward is known for data source {', '.join(unknown)}; choose one with --reward_fn NAME "
            f"(there are: {', '.join(rewards.names())}; or your own as file.py:function), "
            "or for each data source with reward_routes in --config"
        )
    built: dict[bytes, BaseReward] = {}
    chosen: dict[str, BaseReward] = {}
    sandbox: dict[str, Any] = {}
    for name, route in routes.items():
        if route is None:
            continue
        key = orjson.dumps(route, option=orjson.OPT_SORT_KEYS, default=str)
        if key not in built:
            spec, options = route
            if _needs_sandbox(spec):
                sandbox = sandbox or sandbox_options(settings)
                options = {**sandbox, **options}
            built[key] = rewards.build(spec, options)
        chosen[name] = built[key]
    return chosen


def _route(settings: AnalysisSettings, source: str) -> Route | None:
    if settings.reward_fn:
        return settings.reward_fn, dict(settings.reward_kwargs or {})
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


def _needs_sandbox(name: str) -> bool:
    return name in rewards.names() and rewards.find(name).where is Where.SANDBOX


def sandbox_options(settings: AnalysisSettings) -> dict[str, Any]:
    """The options of a reward that runs programs, its level settled on this machine.

    Workers build the reward with that level, so that one on a node that cannot match it fails. Raises SandboxError.
    """
    options: dict[str, Any] = {
        "allow_code_execution": settings.allow_code_execution,
        "code_timeout": settings.code_timeout,
    }
    if settings.allow_code_execution:
        from analyzer.grading.sandbox import choose_level

        options["sandbox"] = str(choose_level(settings.sandbox))
    return options
