"""The plan: all that is settled before the first rollout is scored, in one frozen record.

It is kept in the run directory as plan.json, with the row ranges of the shards beside it as offsets.npy and
ranges.npy. That, and the input, is all a worker reads; the name of the run directory is the plan's fingerprint.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from analyzer.cache import runs
from analyzer.files import storage
from analyzer.grading import Limits
from analyzer.rewards import BaseReward, WholeReward
from analyzer.rollouts import dataset
from analyzer.rollouts.dataset import InputFile, file_from
from analyzer.rollouts.numbering import Shards, whole_files
from analyzer.schema import DATA_IDX, DATA_SOURCE, EXTRA_INFO, ORIGINAL, PROMPT, RESPONSE, REWARD, REWARD_STATUS
from analyzer.tokens import TokenizerSpec, spec_from

if TYPE_CHECKING:
    from analyzer.schema import IntArray

PLAN, OFFSETS, RANGES, SPILL = "plan.json", "offsets.npy", "ranges.npy", "spill"
"""Names in the run directory."""
MAX_SPILL_FILES = 256  # open at once while rows are gathered


class RewardChoice(NamedTuple):
    """The reward of a data_source, checked by the driver, as what a worker builds it from."""

    name: str  # as the user gave it
    path: str  # "package.module:Class"
    options: Mapping[str, Any]  # of its constructor
    identity: Mapping[str, Any]  # what decides its rewards: the digest of a custom function's source, else its options

    def build(self) -> BaseReward:
        """A fresh reward."""
        module, _, cls = self.path.partition(":")
        reward: BaseReward = getattr(importlib.import_module(module), cls)(**self.options)
        return reward


class Source(NamedTuple):
    """Files, and which of their rows each shard is."""

    files: tuple[InputFile, ...]
    shards: Shards


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that is settled before the first rollout is scored. Made by analyzer.planning, read by the workers."""

    identity: tuple[Any, ...]  # of each input file: what tells whether it is still the same
    files: tuple[InputFile, ...]  # the input as parquet, absolute paths
    limit: int | None  # the first N problems only
    together: bool  # whether the rows of each problem stand together
    shard_bytes: int
    cut: Shards  # the input's rows by shard
    spilled: bool  # scattered rows are first gathered in files of their own, one for each shard or few neighbours
    columns: tuple[str, ...]  # that scoring reads
    reward_fn_key: str
    gold_column: str | None  # None: there is none and no reward needs one
    data_source: str | None  # of all rollouts; None: the data has the column
    sources: Mapping[str, int]  # rollouts by data_source; empty where the rewards come with the input
    choices: Mapping[str, RewardChoice]  # by data_source
    keep_rewards: bool  # the input is already scored
    limits: Limits
    tokenizer: TokenizerSpec
    versions: Mapping[str, str]  # of the program and of the libraries that can change a reward or a count
    scoring_code: str  # digest of the code that can change them

    @functools.cached_property
    def parts(self) -> dict[str, Any]:
        """All that can change a score, by the name that --explain_cache shows."""
        return {
            "versions": self.versions,
            "scoring_code": self.scoring_code,
            "input": self.identity,
            "limit": self.limit,
            "reward_fn_key": self.reward_fn_key,
            "data_source": self.data_source,
            "keep_rewards": self.keep_rewards,
            "rewards": {name: {"path": choice.path, **choice.identity} for name, choice in self.choices.items()},
            "limits": self.limits._asdict(),
            "tokenizer": self.tokenizer.digest,
            "shard_bytes": self.shard_bytes,
        }

    @functools.cached_property
    def fingerprint(self) -> str:
        """The name of the run: equal plans share their scores."""
        return runs.fingerprint(self.parts)

    @property
    def total(self) -> int:
        """Number of shards that are scored."""
        return min(self.cut.total, MAX_SPILL_FILES) if self.spilled else self.cut.total

    @functools.cached_property
    def shard_rows(self) -> IntArray:
        """(total,) the rollouts of each shard."""
        return self.cut.rows(self.total)

    @functools.cached_property
    def rewards(self) -> Mapping[str, BaseReward]:
        """The reward of each data_source, built once; data sources of equal choice share one."""
        built: dict[bytes, BaseReward] = {}
        for choice in self.choices.values():
            built.setdefault(_key(choice), choice.build())
        return {name: built[_key(choice)] for name, choice in self.choices.items()}

    def digest(self, part: str) -> str:
        """Says only whether one of the `parts` is the same."""
        return hashlib.sha256(orjson.dumps(self.parts[part], default=_as_json, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def lines(self, problems: int) -> list[str]:
        """What --dry_run prints: files, rollouts, problems, shards, data sources and the reward of each."""
        lines = [
            f"Files: {len(self.files)}",
            f"Rollouts: {int(self.shard_rows.sum())}",
            f"Problems: {problems}",
            f"Shards: {self.total}",
            f"Tokenizer: {self.tokenizer.engine} counts",
        ]
        if self.keep_rewards:
            return [*lines, "Rewards: those of the input are kept (--rescore scores anew)"]
        sources = [f"  {name}: {n} rollouts, reward {self.choices[name].name}" for name, n in self.sources.items()]
        return [*lines, "Data sources:", *sources]

    def save(self, folder: str) -> None:
        """Write the plan to its run directory. The same run writes the same bytes, whoever writes them."""
        import numpy as np

        for name, array in ((OFFSETS, self.cut.offsets), (RANGES, self.cut.ranges)):
            with storage.atomic_path(os.path.join(folder, name)) as temporary, open(temporary, "xb") as file:
                np.save(file, array)
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "cut"}
        text = orjson.dumps(fields, default=_as_json)
        path = Path(folder) / PLAN
        if not path.exists() or path.read_bytes() != text:
            storage.write_bytes(path, text)

    @classmethod
    def load(cls, folder: str) -> Plan:
        """The plan of a run directory; its row ranges are mapped, not read."""
        import numpy as np

        fields = orjson.loads((Path(folder) / PLAN).read_bytes())
        offsets, ranges = (np.load(os.path.join(folder, name), mmap_mode="r") for name in (OFFSETS, RANGES))
        return cls(
            **fields
            | {
                "files": tuple(map(file_from, fields["files"])),
                "cut": Shards(offsets, ranges),
                "choices": {name: RewardChoice(*choice) for name, choice in fields["choices"].items()},
                "limits": Limits(*fields["limits"]),
                "tokenizer": spec_from(fields["tokenizer"]),
            }
        )

    def source(self, folder: str) -> Source:
        """What the workers read: the input, or what was spilled from it to the run directory."""
        if not self.spilled:
            return Source(self.files, self.cut)
        files = tuple(dataset.describe(str(path))[0] for path in sorted((Path(folder) / SPILL).glob("part-*.parquet")))
        return Source(files, whole_files([file.rows for file in files]))


def needed_columns(
    names: Sequence[str], rewards: Sequence[BaseReward], gold_column: str | None, by_column: bool, keep_rewards: bool
) -> tuple[str, ...]:
    """Those of the input's columns that scoring reads.

    by_column: the data_source of a rollout is in its row.
    """
    wanted = {DATA_IDX, RESPONSE}
    if keep_rewards:
        wanted |= {REWARD, REWARD_STATUS}
    else:
        wanted |= {gold_column} if gold_column is not None else set()
        wanted |= {DATA_SOURCE} if by_column else set()
        whole = [reward for reward in rewards if isinstance(reward, WholeReward)]
        wanted |= {EXTRA_INFO} if whole else set()
        if any(reward.needs_columns for reward in whole):
            wanted |= {PROMPT} | {name for name in names if name.startswith(ORIGINAL)}
    return tuple(name for name in names if name in wanted)


def _key(choice: RewardChoice) -> bytes:
    return orjson.dumps([choice.path, dict(choice.options)])


def _as_json(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value)
