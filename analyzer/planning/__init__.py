"""Planning: everything that is settled before the first rollout is scored.

    numbering = number_problems(opened.dataset, settings.limit)    # from the column data_idx alone
    plan = make_plan(settings, opened, numbering, search)          # rewards, tokenizer, shards: one frozen record
    output_folder(settings, plan).check(...)                       # before hours of work, not after them

Nothing here scores or writes outputs. Proven by tests/planning and tests/cache/test_runs.py.
"""

from __future__ import annotations

from typing import Any

from analyzer import proc
from analyzer.cache import runs
from analyzer.cache.code import scoring_code_digest
from analyzer.cache.known_tokenizers import Search
from analyzer.config import AnalysisSettings
from analyzer.errors import ConfigError, InputError
from analyzer.files import storage
from analyzer.files.outputs import DIGEST, OutputFolder
from analyzer.plan import Plan, needed_columns
from analyzer.planning import routing, sharding, versions
from analyzer.planning.sharding import number_problems
from analyzer.rewards import leaves
from analyzer.rollouts.input import Input
from analyzer.rollouts.numbering import Numbering
from analyzer.rollouts.sizes import USUAL, Sizes
from analyzer.schema import DATA_SOURCE, ORIGINAL, PROMPT, REWARD
from analyzer.stages import read
from analyzer.tokens import NO_TOKENIZER, TokenizerSpec

__all__ = ["make_plan", "number_problems", "output_folder", "output_folder_ahead"]


def make_plan(
    settings: AnalysisSettings, opened: Input, numbering: Numbering, search: Search, sizes: Sizes = USUAL
) -> Plan:
    """Settle everything; no reward is started yet. Raises ConfigError, InputError, TokenizerError or RewardError.

    search: for the tokenizer of --model_path; the plan holds what it begins with.
    """
    dataset = opened.dataset
    names = dataset.schema.names
    keep = REWARD in names and not settings.rescore
    if not keep and not opened.texts:
        raise InputError(f"{settings.rollouts}: there are no responses to score, only rewards: leave out --rescore")
    if keep:
        read.check_rewards(settings.rollouts, dataset.schema)
    by_column, sources = routing.count_sources(settings, dataset, numbering) if not keep else (False, {})
    rewards = routing.choose_rewards(settings, sources)
    gold_column = None if keep else routing.find_gold_column(settings, opened, rewards)
    # Whatever would stop the run is looked for before anything is scored: an error after hours costs hours.
    sharding.check_nulls(dataset, numbering, gold_column)
    routing.check_columns(rewards, names)
    shard_bytes = sizes.shard
    if shard_bytes is None:
        shard_bytes = sharding.shard_bytes(dataset, leaves(rewards.values()))
    cut = sharding.cut_shards(dataset, numbering, shard_bytes)
    tokenizer = _tokenizer(opened, keep, search)
    keys = (ORIGINAL + settings.reward_fn_key, settings.reward_fn_key)
    truth_column = next((name for name in keys if name in names), None)
    # Where --data_source is that of all rollouts, two that differ in the column are still of one problem.
    told_apart_by = (PROMPT, truth_column, None if settings.data_source and not keep else DATA_SOURCE)
    return Plan(
        identity=(*opened.identity, opened.reading) if opened.reading else opened.identity,
        files=tuple(file._replace(path=storage.absolute(file.path)) for file in dataset.files),
        limit=settings.limit,
        together=numbering.together(),
        shard_bytes=shard_bytes,
        cut=cut.shards,
        spilled=cut.amplification > sizes.spill_above,
        columns=needed_columns(names, list(rewards.values()), gold_column, by_column, keep, texts=opened.texts),
        problem_columns=tuple(name for name in told_apart_by if name and name in names),
        truth_column=truth_column,
        reward_fn_key=settings.reward_fn_key,
        gold_column=gold_column,
        data_source=None if by_column else next(iter(sources), None),
        sources=sources,
        overruled={} if keep else routing.overruled_sources(settings, dataset, numbering),
        choices={name: routing.choice_of(settings, reward) for name, reward in rewards.items()},
        keep_rewards=keep,
        limits=settings.limits,
        tokenizer=tokenizer,
        versions=versions.library_versions(leaves(rewards.values())),
        scoring_code=scoring_code_digest(),
        sizes=sizes,
    )


def _tokenizer(opened: Input, keep: bool, search: Search) -> TokenizerSpec:
    """What counts tokens: nothing, where the rewards come with the input and no model is named, or no text.

    Raises ConfigError where responses are to be scored without it.
    """
    if not opened.texts or (keep and search.model_path is None):
        return NO_TOKENIZER
    if search.model_path is None:
        raise ConfigError(
            "--model_path is required: the folder or cached hub name of the policy's tokenizer "
            "(optional only if the rollouts have rewards)"
        )
    sample = read.sample_texts(opened)
    proc.give_back_memory()  # what the passes above read; the tokenizer takes its share next
    return search.begin(sample)


def output_folder(settings: AnalysisSettings, plan: Plan) -> OutputFolder:
    """The folder of --output_dir and what its outputs depend on, named as a user knows it."""
    of: dict[str, Any] = {
        "input": DIGEST + runs.fingerprint({"input": plan.identity}),
        "tokenizer": DIGEST + plan.tokenizer.digest,
        **_of_settings(settings),
        "rewards": {name: choice.path.rpartition(".")[2] for name, choice in plan.choices.items()},
        "reward options": DIGEST + runs.fingerprint({"rewards": plan.parts["rewards"]}),
        "versions": DIGEST + runs.fingerprint({"versions": [plan.versions, plan.scoring_code]}),
    }
    return OutputFolder(settings.output_dir, of)


def output_folder_ahead(settings: AnalysisSettings) -> OutputFolder:
    """The same before there is an input; whatever follows from that may differ, and --limit may grow with it."""
    unknown = ("input", "tokenizer", "limit", "rewards", "reward options", "versions")
    return OutputFolder(settings.output_dir, _of_settings(settings), frozenset(unknown))


def _of_settings(settings: AnalysisSettings) -> dict[str, Any]:
    after_scoring = ("bucketing_strategy", "seed", "max_unscored", "audit", "pass_threshold", "top_up")
    before = ("limit", "reward_fn_key", "data_source", "rescore", "reward_timeout", "reward_memory")
    return {name: getattr(settings, name) for name in (*after_scoring, *before)}
