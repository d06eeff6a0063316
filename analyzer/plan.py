"""The plan: all that is settled before the first rollout is scored, in one frozen record.

It is kept in the run directory as plan-<digest>.json, with the row ranges of the shards beside it as offsets.npy and
ranges.npy. That, and the input, is all a worker reads; the name of the run directory is the plan's fingerprint.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from analyzer.cache import runs
from analyzer.cache.code import scoring_code_digest, versions_of
from analyzer.errors import UserError, counted
from analyzer.files import storage
from analyzer.grading import Limits
from analyzer.rewards import BaseReward, GroupReward, Reward, WholeReward, leaves
from analyzer.rollouts import dataset
from analyzer.rollouts.dataset import InputFile, file_from
from analyzer.rollouts.numbering import Shards, whole_files
from analyzer.rollouts.sizes import USUAL, Sizes
from analyzer.schema import (
    DATA_IDX,
    DATA_SOURCE,
    EXTRA_INFO,
    FINISH_REASON,
    MAX_TOKENS,
    ORIGINAL,
    PROMPT,
    RESPONSE,
    REWARD,
    REWARD_ANSWER,
    REWARD_PASS_VALUE,
    REWARD_STATUS,
)
from analyzer.tokens import NO_TOKENIZER, TokenizerSpec, spec_from

if TYPE_CHECKING:
    from analyzer.schema import IntArray

OFFSETS, RANGES, SPILL = "offsets.npy", "ranges.npy", "spill"
"""Names in the run directory."""
KWARGS = "kwargs"
"""The option of a custom function whose values may be secrets: only digests of them are written."""


class RewardChoice(NamedTuple):
    """The reward of a data_source, checked by the driver, as what a worker builds it from."""

    name: str  # as the user gave it
    path: str  # "package.module:Class"
    options: Mapping[str, Any]  # of its constructor
    identity: Mapping[str, Any]  # what decides its rewards: the digest of a custom function's source, else its options

    def without_values(self) -> RewardChoice:
        """The same with digests instead of the user's own keyword arguments."""
        if KWARGS not in self.options:
            return self
        return self._replace(options={**self.options, KWARGS: self.identity.get(KWARGS)})

    def build(self) -> BaseReward:
        """A fresh reward."""
        module, _, cls = self.path.partition(":")
        reward: BaseReward = getattr(importlib.import_module(module), cls)(**self.options)
        return reward


_OPTIONS = RewardChoice._fields.index("options")


class Seal(NamedTuple):
    """Passed to a worker in the call that starts it, never in a file, which somebody else might write."""

    sha256: str  # of the plan's file: it names the code that is run
    kwargs: Mapping[str, Mapping[str, Any]]  # data_source -> keyword arguments of a custom function
    elsewhere: bool = False  # the workers were started by somebody else, perhaps from another environment

    @property
    def file(self) -> str:
        """The name of the plan's file. Drivers whose plans differ in a path, say, do not share it."""
        return f"plan-{self.sha256[:16]}.json"


class ScoringInput(NamedTuple):
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
    problem_columns: tuple[str, ...]  # that make a problem: all rows of one data_idx should agree about them
    truth_column: str | None  # the one of them that holds the ground truth
    reward_fn_key: str
    gold_column: str | None  # None: there is none and no reward needs one
    data_source: str | None  # of all rollouts; None: the data has the column
    sources: Mapping[str, int]  # rollouts by data_source; empty where the rewards come with the input
    overruled: Mapping[str, int]  # rollouts by a data_source of the column for which `data_source` is taken
    choices: Mapping[str, RewardChoice]  # by data_source
    keep_rewards: bool  # the input is already scored
    limits: Limits
    tokenizer: TokenizerSpec
    versions: Mapping[str, str]  # of the program and of the libraries that can change a reward or a count
    scoring_code: str  # digest of the code that can change them
    sizes: Sizes = USUAL

    @property
    def all_columns(self) -> tuple[str, ...]:
        """What the workers read: `columns` and `problem_columns`."""
        return (*self.columns, *(name for name in self.problem_columns if name not in self.columns))

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

    @property
    def verdict_parts(self) -> dict[str, Any]:
        """What can change the verdict on an answer beside its reward and the libraries of that."""
        return {"scoring_code": self.scoring_code, "limits": self.limits._asdict()}

    @functools.cached_property
    def fingerprint(self) -> str:
        """The name of the run: equal plans share their scores."""
        return runs.fingerprint(self.parts)

    @property
    def total(self) -> int:
        """Number of shards that are scored."""
        return min(self.cut.total, self.sizes.spill_files) if self.spilled else self.cut.total

    @functools.cached_property
    def shard_rows(self) -> IntArray:
        """(total,) the rollouts of each shard."""
        return self.cut.rows(self.total)

    @functools.cached_property
    def rewards(self) -> Mapping[str, BaseReward]:
        """The reward of each data_source, built once; data sources of equal choice share one."""
        # Sources of equal choice share one object, by which the scorers in a worker are kept.
        built: dict[bytes, BaseReward] = {}
        for choice in self.choices.values():
            built.setdefault(_key(choice), choice.build())
        return {name: built[_key(choice)] for name, choice in self.choices.items()}

    def differs_here(self) -> str:
        """How this process differs from the driver in what can change a score; "" where it does not."""
        here = versions_of(name for name in self.versions if name != "rollout-analyzer")
        other = [
            f"{name} {found} instead of {self.versions[name]}"
            for name, found in here.items()
            if found != self.versions[name]
        ]
        if scoring_code_digest() != self.scoring_code:
            other.append("other code of rollout-analyzer")
        return ", ".join(other)

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
            f"Tokenizer: {self.tokenizer.engine} counts" if self.tokenizer != NO_TOKENIZER else "Tokenizer: none",
        ]
        if self.keep_rewards:
            return [*lines, "Rewards: those of the input are kept (--rescore scores again)"]
        sources = [
            f"  {name}: {counted(n, 'rollout')}, reward {self.choices[name].name}" for name, n in self.sources.items()
        ]
        lines += ["Data sources:", *sources]
        lines += [f"  --data_source overrules {name}: {counted(n, 'rollout')}" for name, n in self.overruled.items()]
        return lines

    def kept_note(self) -> str:
        """What a user should know where the input is scored already; "" where it is not."""
        if not self.keep_rewards:
            return ""
        rows = counted(int(self.shard_rows.sum()), "rollout")
        return f"rewards are taken from the column {REWARD!r} ({rows}); --rescore scores again"

    def save(self, folder: str) -> None:
        """Write the plan to its run directory. The same run writes the same bytes, whoever writes them."""
        import numpy as np

        # Arrays in files of their own, to be mapped: scattered rows can mean millions of ranges, and each worker would
        # parse them.
        for name, array in ((OFFSETS, self.cut.offsets), (RANGES, self.cut.ranges)):
            # Through memory, to compare before writing: the bytes of a cache that is read-only may be there already.
            held = io.BytesIO()
            np.save(held, array)
            storage.write_if_changed(os.path.join(folder, name), held.getvalue())
        storage.write_if_changed(os.path.join(folder, self.seal.file), self._text)

    @functools.cached_property
    def _text(self) -> bytes:
        """The plan as its file holds it: all but the row ranges, and digests of the user's own keyword arguments."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "cut"}
        fields["choices"] = {name: choice.without_values() for name, choice in self.choices.items()}
        return orjson.dumps(fields, default=_as_json)

    @functools.cached_property
    def seal(self) -> Seal:
        """Passed to the workers beside the run directory."""
        values = {name: choice.options[KWARGS] for name, choice in self.choices.items() if KWARGS in choice.options}
        return Seal(hashlib.sha256(self._text).hexdigest(), values)

    @classmethod
    def load(cls, folder: str, seal: Seal) -> Plan:
        """The plan of a run directory; its row ranges are mapped, not read. Raises UserError where it is not there."""
        import numpy as np

        try:
            # Read once, then checked, then parsed: a file that is swapped between two readings would pass the check.
            text = (Path(folder) / seal.file).read_bytes()
            offsets, ranges = (np.load(os.path.join(folder, name), mmap_mode="r") for name in (OFFSETS, RANGES))
        except FileNotFoundError:
            raise UserError(
                f"{folder}: the cache was removed while it was in use; run the same command again"
            ) from None
        if hashlib.sha256(text).hexdigest() != seal.sha256:
            raise UserError(f"{folder}/{seal.file}: was changed by another user; remove it and run the command again")
        fields = orjson.loads(text)
        for name, values in seal.kwargs.items():
            fields["choices"][name][_OPTIONS][KWARGS] = values
        return cls(
            **fields
            | {
                "files": tuple(map(file_from, fields["files"])),
                "cut": Shards(offsets, ranges),
                "choices": {name: RewardChoice(*choice) for name, choice in fields["choices"].items()},
                "limits": Limits(*fields["limits"]),
                "sizes": Sizes(*fields["sizes"]),
                "tokenizer": spec_from(fields["tokenizer"]),
            }
        )

    def scoring_input(self, folder: str) -> ScoringInput:
        """What the workers read: the input, or what was spilled from it to the run directory."""
        if not self.spilled:
            return ScoringInput(self.files, self.cut)
        files = tuple(dataset.file_at(str(path)) for path in sorted((Path(folder) / SPILL).glob("part-*.parquet")))
        return ScoringInput(files, whole_files([file.rows for file in files]))


def described(folder: str) -> tuple[list[str], list[str]]:
    """The input files and the rewards of a run directory, as the user named them; empty where it holds no plan."""
    # Several where options of the user's own differ in nothing but values; the latest is what was asked last.
    plans = sorted(Path(folder).glob("plan-*.json"), key=os.path.getmtime)
    if not plans:
        return [], []
    fields = orjson.loads(plans[-1].read_bytes())
    rewards = {RewardChoice(*choice).name for choice in fields["choices"].values()}
    return [file_from(file).name for file in fields["files"]], sorted(rewards)


def needed_columns(
    names: Sequence[str],
    rewards: Sequence[BaseReward],
    gold_column: str | None,
    by_column: bool,
    keep_rewards: bool,
    *,
    texts: bool = True,
) -> tuple[str, ...]:
    """Those of the input's columns that scoring reads.

    by_column: the data_source of a rollout is in its row; texts: there are responses, not rewards alone.
    """
    wanted = {DATA_IDX, RESPONSE} if texts else {DATA_IDX}
    if keep_rewards:
        wanted |= {REWARD, REWARD_STATUS, REWARD_ANSWER, REWARD_PASS_VALUE, DATA_SOURCE}
    else:
        wanted |= {gold_column} if gold_column is not None else set()
        wanted |= {DATA_SOURCE} if by_column else set()
        each = list(leaves(rewards))
        whole = [reward for reward in each if isinstance(reward, WholeReward)]
        beside = any(isinstance(reward, Reward) and reward.needs_extra_info for reward in each)
        cut = any(isinstance(reward, GroupReward) and reward.needs_cut for reward in each)
        wanted |= {FINISH_REASON, MAX_TOKENS} if cut else set()
        wanted |= {EXTRA_INFO} if whole or beside else set()
        if any(reward.needs_columns for reward in whole):
            wanted |= {PROMPT} | {name for name in names if name.startswith(ORIGINAL)}
    return tuple(name for name in names if name in wanted)


def _key(choice: RewardChoice) -> bytes:
    return orjson.dumps([choice.path, dict(choice.options)])


def _as_json(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value)
