"""Preparation: what the driver settles before any rollout is scored.

Which reward each data_source gets, whether it can start, which tokenizer counts, what the run is called (its
fingerprint), and the job that tells the workers all of it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analyzer import __version__, memory, rewards, scoring
from analyzer.cache import known_tokenizers, runs
from analyzer.cache.code import scoring_code_digest
from analyzer.config import AnalysisSettings
from analyzer.errors import ConfigError, InputError
from analyzer.files import storage
from analyzer.files.outputs import DIGEST
from analyzer.grading import Limits, nursery
from analyzer.plan import Job, RewardChoice
from analyzer.planning import routing, sharding
from analyzer.planning.sharding import ShardSize
from analyzer.rewards import BaseReward, Where
from analyzer.rollouts.dataset import Dataset
from analyzer.rollouts.numbering import Numbering, Shards
from analyzer.schema import DATA_SOURCE, ORIGINAL, REWARD
from analyzer.stages import read, spill
from analyzer.stages.read import Input
from analyzer.stages.score import needed_columns
from analyzer.tokens import TokenizerSpec
from analyzer.workers.backends import Backend

SHARD_SIZES = {
    Where.HERE: ShardSize(64, 256 << 10, 16 << 20, whole_groups=True),
    Where.CHILD: ShardSize(128, 64 << 10, 2 << 20),
    Where.SANDBOX: ShardSize(128, 16 << 10, 64 << 10),
}
"""The more a rollout costs, the smaller the shards; one is seconds to a minute of work."""


class Prepared(NamedTuple):
    """All that is settled before the first rollout is scored."""

    numbering: Numbering
    by_column: bool  # the data_source is read from the data, not given
    sources: dict[str, int]  # rollouts by data_source; empty where the rewards come with the input
    choices: dict[str, RewardChoice]  # by data_source
    rewards: dict[str, BaseReward]  # by data_source
    gold_column: str | None
    keep_rewards: bool
    shards: Shards
    tokenizer: TokenizerSpec
    parts: dict[str, Any]  # of the fingerprint


def prepare(settings: AnalysisSettings, opened: Input, cache_dir: str) -> Prepared:
    """Settle everything; no reward is started yet. Raises ConfigError, InputError, TokenizerError or RewardError."""
    dataset = opened.dataset
    keep = REWARD in dataset.schema.names and not settings.rescore
    if keep:
        read.check_rewards(settings.rollouts, dataset.schema)
    numbering = sharding.number_problems(dataset, settings.limit)
    by_column = DATA_SOURCE in dataset.schema.names and not settings.data_source
    sources = {} if keep else count_sources(settings, dataset, numbering)
    built = routing.choose_rewards(settings, sources)
    gold_column = None if keep else find_gold_column(settings, dataset, built)
    sharding.check_nulls(dataset, numbering, gold_column)
    sizes = [SHARD_SIZES[where] for where in {Where.HERE, *(reward.where for reward in built.values())}]
    target_bytes = sharding.shard_bytes(dataset, min(sizes, key=lambda size: size.most))
    shards = sharding.cut_shards(dataset, numbering, target_bytes)
    check_columns(built, dataset.schema.names)
    sample = read.sample_texts(opened)
    memory.give_back()  # what the plan read; the tokenizer takes its share next
    tokenizer = known_tokenizers.find(settings.model_path, settings.trust_remote_code, cache_dir, sample)
    choices = {name: choice_of(settings, name, reward) for name, reward in built.items()}
    parts = {
        "analyzer": __version__,
        "scoring_code": scoring_code_digest(),
        "input": opened.identity,
        "limit": settings.limit,
        "reward_fn_key": settings.reward_fn_key,
        "data_source": settings.data_source,
        "keep_rewards": keep,
        "rewards": {name: _described(reward, choices[name]) for name, reward in built.items()},
        "limits": limits_of(settings)._asdict(),
        "tokenizer": tokenizer.digest,
        "libraries": library_versions(built.values()),
        "shard_bytes": target_bytes,
    }
    return Prepared(numbering, by_column, sources, choices, built, gold_column, keep, shards, tokenizer, parts)


def limits_of(settings: AnalysisSettings) -> Limits:
    """What the grading of one rollout may use."""
    return Limits(cpu_seconds=settings.reward_timeout, memory_bytes=int(settings.reward_memory * (1 << 30)))


# ---------------------------------------------------------------- rewards


def count_sources(settings: AnalysisSettings, dataset: Dataset, numbering: Numbering) -> dict[str, int]:
    """Rollouts by data_source. Raises ConfigError where the data has none and none is given."""
    if DATA_SOURCE in dataset.schema.names and not settings.data_source:
        read.check_sources(settings.rollouts, dataset.schema)
        return sharding.count_sources(dataset, numbering)
    name = given_source(settings)
    if name is None:
        raise ConfigError(
            f"{settings.rollouts}: there is no column {DATA_SOURCE!r} to choose a reward by (the columns are: "
            f"{', '.join(dataset.schema.names)}); name the data source of all rollouts with --data_source, "
            "or the reward with --reward_fn"
        )
    return {name: sum(stop - start for start, stop in numbering.kept_ranges())}


def given_source(settings: AnalysisSettings) -> str | None:
    """The data source of all rollouts where the settings name it, or one reward for all; None where the data must."""
    return settings.data_source or ("(all)" if settings.reward_fn else None)


def needs_gold(built: Mapping[str, BaseReward]) -> bool:
    """Whether any of the rewards looks at the reward information."""
    return not all(isinstance(reward, rewards.WholeReward) and reward.needs_columns for reward in built.values())


def check_columns(built: Mapping[str, BaseReward], there: Sequence[str]) -> None:
    """Raise InputError where a reward needs a column of the dataset that is not there."""
    for reward in built.values():
        for name in getattr(reward, "columns", ()):
            if ORIGINAL + name not in there:
                raise InputError(
                    f"reward {reward} needs the column {ORIGINAL + name!r}, which is not there; "
                    f"the columns are: {', '.join(there)}"
                )


def start_rewards(built: Mapping[str, BaseReward], limits: Limits) -> None:
    """Load every reward before any work, once for all workers here. Raises RewardError for one that cannot start."""
    for reward in {id(reward): reward for reward in built.values()}.values():
        with contextlib.closing(scoring.Scorer(reward, limits)) as scorer:
            scorer.start()
    nursery.share()


def end_rewards() -> None:
    """End the processes of rewards."""
    nursery.close_all()


def find_gold_column(settings: AnalysisSettings, dataset: Dataset, built: Mapping[str, BaseReward]) -> str | None:
    """The column of the reward information; None where no reward needs one. Raises InputError for a missing one."""
    column = ORIGINAL + settings.reward_fn_key
    if column in dataset.schema.names:
        return column
    if settings.reward_fn_key in dataset.schema.names:
        return settings.reward_fn_key
    if not needs_gold(built):
        return None
    raise read.missing_column(column, dataset.schema, settings.rollouts)


def choice_of(settings: AnalysisSettings, source: str, reward: BaseReward) -> RewardChoice:
    """What a worker builds the reward from."""
    return RewardChoice(settings.reward_fn or reward.name, scoring.target_of(reward).path, reward.options)


def _described(reward: BaseReward, choice: RewardChoice) -> dict[str, Any]:
    source = getattr(reward, "source", None)
    return {"path": choice.path, **(source() if source else {"options": dict(reward.options)})}


# ---------------------------------------------------------------- fingerprint


def library_versions(used: Sequence[BaseReward] | Any) -> dict[str, str]:
    """Versions of the libraries that can change a reward or a count, and of Python."""
    names = {*known_tokenizers.LIBRARIES, *(name for reward in used for name in reward.libraries)}
    versions = {"python": platform.python_version()}
    for name in sorted(names):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "none"
    return versions


def output_parts(settings: AnalysisSettings, prepared: Prepared) -> dict[str, Any]:
    """What the outputs depend on, named as a user knows it: the run, and the settings that come after scoring."""
    parts = prepared.parts
    return {
        "input": _digest(parts["input"]),
        "tokenizer": _digest(parts["tokenizer"]),
        **{name: getattr(settings, name) for name in ("bucketing_strategy", "seed", "max_unscored", "audit")},
        **{name: parts[name] for name in ("limit", "reward_fn_key", "data_source")},
        "rescore": settings.rescore,
        "rewards": {name: reward["path"].rpartition(".")[2] for name, reward in parts["rewards"].items()},
        "reward_timeout": settings.reward_timeout,
        "reward_memory": settings.reward_memory,
        "reward options": _digest(parts["rewards"]),
        "versions": _digest([parts["analyzer"], parts["scoring_code"], parts["libraries"]]),
    }


def _digest(value: Any) -> str:
    return DIGEST + runs.fingerprint({"value": value})


# ---------------------------------------------------------------- execution


def backend_of(settings: AnalysisSettings) -> Backend:
    """Where the shards are scored."""
    return Backend(settings.backend, settings.n_jobs, settings.dask_scheduler, settings.ray_address)


def part_of(part: str | None) -> slice:
    """Which shards --part I/N takes: every N-th from the I-th; all without it. Raises ConfigError."""
    if part is None:
        return slice(None)
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", part)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ConfigError(f"--part {part}: must be I/N with 1 <= I <= N, as 3/16")
    return slice(int(match[1]) - 1, None, int(match[2]))


# ---------------------------------------------------------------- job


def write_job(run: runs.Run, settings: AnalysisSettings, opened: Input, prepared: Prepared) -> Shards:
    """Write what the workers read, spilling scattered rollouts first; returns the shards of what they read.

    The same run writes the same bytes, whoever writes them.
    """
    folder = Path(run.folder)
    job = Job(
        fingerprint=run.fingerprint,
        shards_folder=run.shards_folder,
        input=tuple(file._replace(blocks=()) for file in opened.dataset.files),
        source=tuple(file._replace(path=storage.absolute(file.path)) for file in opened.dataset.files),
        spilled=False,
        together=prepared.numbering.together(),
        offsets=run.offsets_path,
        ranges=run.ranges_path,
        gold_column=prepared.gold_column,
        data_source=None if prepared.by_column else next(iter(prepared.sources), None),
        choices=prepared.choices,
        keep_rewards=prepared.keep_rewards,
        limits=limits_of(settings),
        tokenizer=prepared.tokenizer,
    )
    shards = prepared.shards
    if shards.amplification > spill.WORTHWHILE:
        columns = needed_columns(job, opened.dataset.schema.names)
        same = functools.partial(read.still_same, opened.paths, opened.identity)
        source, shards = spill.spill(
            opened.dataset, prepared.numbering, shards, columns, str(folder / "spill"), still_same=same
        )
        job = job._replace(source=source, spilled=True)
        memory.give_back()
    for path, array in ((job.offsets, shards.offsets), (job.ranges, shards.ranges)):
        with storage.atomic_path(path) as temporary, open(temporary, "xb") as file:
            np.save(file, array)
    said = job.dump()
    if not os.path.exists(run.job_path) or Path(run.job_path).read_bytes() != said:
        storage.write_bytes(run.job_path, said)
    return shards
