"""The real rollouts that the statistics of difficulty are measured on: passes and answers by problem.

Rewards are the data's own labels where its authors gave one to every rollout, else those of the data source's reward.
"""

from __future__ import annotations

import functools
import itertools
import re
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analyzer import rewards
from analyzer.grading import Limits
from analyzer.rewards import Reward
from analyzer.schema import Problem
from analyzer.scoring import Scorer

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
NAMES = ("aime_amc_50", "game24_cot", "gsm8k_zeroeval", "math_l5_zeroeval")
_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


class Data(NamedTuple):
    """Rollouts of problems, sorted by problem; arrays of shape (rollouts,)."""

    codes: NDArray[np.int64]  # 0 .. problems-1
    rewards: NDArray[np.float64]
    answers: list[str | None]
    models: list[str]
    ids: list[Any]  # (problems,) data_idx
    golds: list[str]  # (problems,)

    @property
    def problems(self) -> int:
        """How many there are."""
        return len(self.ids)

    def table(self, seed: int) -> list[NDArray[np.int64]]:
        """For each problem its rollouts (positions in the arrays) in random order."""
        random = np.random.default_rng(seed)
        ends = np.cumsum(np.bincount(self.codes, minlength=self.problems))
        return [random.permutation(rows) for rows in np.split(np.arange(len(self.codes)), ends[:-1])]


def split(data: Data, seed: int, *sizes: int) -> list[NDArray[np.int64]]:
    """Disjoint sets of rollouts: of each problem the first sizes[0] of a random order, the next sizes[1], ..."""
    rows = [order for order in data.table(seed) if len(order) >= sum(sizes)]
    edges = np.cumsum([0, *sizes])
    return [np.stack([order[low:high] for order in rows]) for low, high in itertools.pairwise(edges)]


@functools.cache
def load(name: str) -> Data:
    """The rollouts of one file of the shared data. Raises FileNotFoundError where it is absent."""
    table = pq.read_table(SHARED / f"{name}.parquet").sort_by([("data_idx", "ascending"), ("sample_idx", "ascending")])
    column = {key: table[key].to_pylist() for key in table.column_names}
    ids, codes = np.unique(np.array(column["data_idx"]), return_inverse=True)
    golds = [info["ground_truth"] for info in column["original_reward_model"]]
    firsts = np.searchsorted(codes, np.arange(len(ids)))
    labels = column["label"]
    route = rewards.default_route(column["original_data_source"][0])
    if None not in labels:
        values = np.array(labels, np.float64)
        answers = [found[-1].strip() if (found := _TAGGED.findall(text)) else None for text in column["response"]]
    else:
        assert route is not None, name
        values, answers = _scored(rewards.build(route), codes, column["response"], golds)
    return Data(
        codes.reshape(-1), values, answers, column["model"], ids.tolist(), [golds[first] for first in firsts.tolist()]
    )


def _scored(
    reward: Any, codes: NDArray[np.int64], responses: list[str], golds: list[str]
) -> tuple[NDArray[np.float64], list[str | None]]:
    assert isinstance(reward, Reward)
    values: list[float] = []
    with closing(Scorer(reward, Limits())) as scorer:
        for code in range(int(codes.max()) + 1):
            rows = np.flatnonzero(codes == code).tolist()
            scores = scorer.score(Problem("", golds[rows[0]]), [responses[row] for row in rows])
            values += [np.nan if score.reward is None else score.reward for score in scores]
    return np.array(values), [None if (answer := reward.extract(text)) is None else str(answer) for text in responses]
