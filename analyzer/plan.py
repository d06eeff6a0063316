"""The job: all that the workers of a run need to know, kept as job.json in the run directory."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from analyzer.grading import Limits
from analyzer.rewards import BaseReward
from analyzer.rollouts.dataset import InputFile, file_from
from analyzer.tokens import TokenizerSpec, spec_from


class RewardChoice(NamedTuple):
    """The reward of a data_source, checked by the driver, as what a worker builds it from."""

    name: str  # as the user gave it
    path: str  # "package.module:Class"
    options: Mapping[str, Any]  # of its constructor

    def build(self) -> BaseReward:
        """A fresh reward."""
        module, _, cls = self.path.partition(":")
        reward: BaseReward = getattr(importlib.import_module(module), cls)(**self.options)
        return reward


class Job(NamedTuple):
    """All that the workers of a run need to know; plain values."""

    fingerprint: str
    shards_folder: str
    input: tuple[InputFile, ...]  # as the user has it, to name rows by
    source: tuple[InputFile, ...]  # where to read: the input, or what was spilled from it
    spilled: bool
    together: bool  # whether the rows of each problem stand together
    offsets: str  # .npy of Plan.shard_offsets
    ranges: str  # .npy of Plan.shard_ranges, into `source`
    gold_column: str | None  # None: the data has none and the reward needs none
    data_source: str | None  # for data without the column
    choices: dict[str, RewardChoice]  # by data_source
    keep_rewards: bool  # the input is already scored
    limits: Limits
    tokenizer: TokenizerSpec

    def shard_ranges(self, shard: int) -> list[tuple[int, int]]:
        """The row ranges of one shard in `source`, ascending."""
        import numpy as np

        offsets = np.load(self.offsets, mmap_mode="r")
        ranges = np.load(self.ranges, mmap_mode="r")[offsets[shard] : offsets[shard + 1]]
        return [(int(start), int(stop)) for start, stop in ranges]

    def rewards(self) -> dict[str, BaseReward]:
        """A fresh reward for each data_source; data sources of equal choice share one."""
        built: dict[bytes, BaseReward] = {}
        for choice in self.choices.values():
            built.setdefault(_key(choice), choice.build())
        return {name: built[_key(choice)] for name, choice in self.choices.items()}

    def dump(self) -> bytes:
        """As JSON."""
        return orjson.dumps(self._asdict(), default=_plain)

    @classmethod
    def load(cls, data: bytes) -> Job:
        """From JSON."""
        said = orjson.loads(data)
        files = {key: tuple(map(file_from, said[key])) for key in ("input", "source")}
        return cls(
            **said
            | files
            | {
                "choices": {name: RewardChoice(*choice) for name, choice in said["choices"].items()},
                "limits": Limits(*said["limits"]),
                "tokenizer": spec_from(said["tokenizer"]),
            }
        )


def _key(choice: RewardChoice) -> bytes:
    return orjson.dumps([choice.path, dict(choice.options)])


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value)
