"""What a run has found out before it is summed up and written: one record for the stages that read all of it."""

from __future__ import annotations

from typing import NamedTuple

from analyzer.buckets import Assignment
from analyzer.difficulty.stability import Stability
from analyzer.rollouts.numbering import Numbering
from analyzer.schema import Metrics
from analyzer.stages.audit import Audit
from analyzer.stages.difficulty import Difficulty
from analyzer.stages.merge import Merged


class Findings(NamedTuple):
    """Of each rollout, of each problem, and of the rewards. Problems are in the order of `numbering`."""

    numbering: Numbering
    merged: Merged
    metrics: Metrics
    assignment: Assignment
    stability: Stability | None  # None with fewer than two scored problems
    audit: Audit
    difficulty: Difficulty
    collisions: tuple[str, ...]  # warnings of problems that share a data_idx, or have several
