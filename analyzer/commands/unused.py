"""Flags that are given and have no effect, each with what it would need: a user who gave one expects something of it.

note: --batch_size is not used: with --use_vllm the server forms the batches
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from analyzer.config import AnalysisSettings, SelectionSettings, ViewSettings
from analyzer.generation.settings import GenerationSettings


class Rule(NamedTuple):
    """Some flags, and when they have an effect."""

    flags: str  # names, separated by blanks
    used: Callable[[Any], object]  # of the settings: true where they have one
    why: str  # they have none


_SERVER = "vllm_model_name api_key_env max_concurrent extra_body same_model request_timeout max_attempts patience"
_OF_RESPONSES = ("sft", "dpo", "kto")

GENERATION = (
    Rule(_SERVER, lambda s: s.use_vllm, "without --use_vllm there is no server"),
    Rule("batch_size", lambda s: not s.use_vllm, "with --use_vllm the server forms the batches"),
    Rule("trust_remote_code", lambda s: s.model_path, "it needs --model_path"),
    Rule("top_p", lambda s: s.temperature > 0, "--temperature 0 is greedy"),
)
SEED = Rule("seed", lambda s: s.temperature > 0, "--temperature 0 is greedy")
TOP_UP = Rule("num_samples", lambda s: s.top_up is None, "the list of --top_up says how many")
ANALYSIS = (
    Rule("sandbox code_timeout", lambda s: s.allow_code_execution, "without --allow_code_execution no program runs"),
    Rule("trust_remote_code", lambda s: s.model_path, "it needs --model_path"),
    Rule("n_jobs", lambda s: s.backend != "sequential", "--backend sequential has no workers"),
    Rule("dry_run", lambda s: not s.explain_cache, "--explain_cache scores nothing either"),
)
SELECTION = (
    Rule("pick per_problem", lambda s: s.format in _OF_RESPONSES, "only --format sft, dpo and kto take responses"),
    Rule("per_problem", lambda s: s.pick != "all", "--pick all takes all responses"),
    Rule("group_size", lambda s: s.recipe == "informative", "it needs --recipe informative"),
)
VIEW = (
    Rule("n", lambda s: s.show is not None, "it needs --show"),
    Rule("port", lambda s: s.show is None and not s.report_only, "with --show or --report_only nothing is served"),
)
CACHE = (
    Rule("older_than run", lambda s: s.prune, "without --prune nothing is removed"),
    Rule("older_than", lambda s: s.run is None, "--run NAME says what is removed"),
)
SHARED = Rule("shared_cache", lambda s: s.cache_dir is not None, "it needs --cache_dir")


def rules_of(settings: Any) -> Iterator[Rule]:
    """The rules for the settings of a command."""
    names = {field.name for field in dataclasses.fields(settings)}
    if isinstance(settings, GenerationSettings):
        yield from (*GENERATION, SEED, TOP_UP, SHARED)
    elif isinstance(settings, AnalysisSettings):
        yield from (*ANALYSIS, SHARED)
    elif isinstance(settings, SelectionSettings):
        yield from SELECTION
    elif isinstance(settings, ViewSettings):
        yield from VIEW
    elif "prune" in names:
        yield from CACHE
    elif "data_path" in names:  # filter_difficulty
        if settings.rollouts is not None:
            others = {field.name for cls in (AnalysisSettings, SelectionSettings) for field in dataclasses.fields(cls)}
            of_generation = {field.name for field in dataclasses.fields(GenerationSettings)} & names - others - {
                "data_path"
            }
            yield Rule(" ".join(sorted(of_generation)), lambda s: False, "--rollouts are there already")
        else:
            yield from GENERATION
        yield from (*ANALYSIS, *SELECTION, SHARED)


def notes(settings: Any) -> Iterator[str]:
    """One line for the flags of each rule that are given and have no effect."""
    usual = {field.name: field.default for field in dataclasses.fields(settings)}
    given = [name for name, value in usual.items() if getattr(settings, name) != value]
    for rule in rules_of(settings):
        if not rule.used(settings) and (names := [name for name in given if name in rule.flags.split()]):
            given = [name for name in given if name not in names]
            flags = " ".join(f"--{name}" for name in names)
            yield f"note: {flags} {'is' if len(names) == 1 else 'are'} not used: {rule.why}"
