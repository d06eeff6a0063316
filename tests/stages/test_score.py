"""score: what a worker thread holds belongs to one plan, and a shard that is there is not scored again."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.errors import UserError
from analyzer.plan import Seal
from analyzer.schema import Score
from analyzer.stages import score
from tests.commands import Outcome, parquet, rollouts

Analyze = Callable[..., Outcome]


@pytest.fixture
def plans(tmp_path: Path, analyze: Analyze) -> Iterator[list[tuple[str, Seal]]]:
    """Two finished runs of the same rollouts, under another reward each: (run directory, seal)."""
    path = parquet(tmp_path / "r.parquet", rollouts(problems=4, samples=3))
    for reward in ("gsm8k", "last_number"):
        assert analyze(path, reward_fn=reward, output_dir=tmp_path / reward).code == 0
    files = sorted((tmp_path / "cache" / "runs").glob("*/plan-*.json"))
    assert len(files) == 2
    yield [(str(file.parent), Seal(hashlib.sha256(file.read_bytes()).hexdigest(), {})) for file in files]
    score.end_worker()


def test_another_plan_gets_a_worker_of_its_own_and_the_same_plan_keeps_it(plans: list[tuple[str, Seal]]) -> None:
    held = score._ThisThread()
    first = held.worker(*plans[0])
    assert held.worker(*plans[0]) is first
    second = held.worker(*plans[1])
    assert second is not first
    assert second.plan.fingerprint != first.plan.fingerprint
    assert {str(reward) for reward in second.plan.rewards.values()} != {str(r) for r in first.plan.rewards.values()}
    held.end()


def test_a_run_directory_that_was_removed_and_made_again_gets_a_worker_of_its_own(
    plans: list[tuple[str, Seal]],
) -> None:
    """As a worker of a cluster that outlives the cache sees it."""
    held = score._ThisThread()
    first = held.worker(*plans[0])
    folder = Path(plans[0][0])
    folder.rename(folder.with_name("removed"))
    with pytest.raises(UserError, match="the cache was removed while it was in use; run the same command again"):
        held.worker(*plans[0])
    shutil.copytree(folder.with_name("removed"), folder, copy_function=shutil.copyfile)
    assert held.worker(*plans[0]) is not first
    held.end()


def test_a_shard_that_is_committed_is_left_alone(plans: list[tuple[str, Seal]]) -> None:
    folder, seal = plans[0]
    shard = next(Path(folder).glob("shards/shard-*.parquet"))
    before = shard.stat()
    assert score.score_shard(seal, folder, 0) == 0
    after = shard.stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)
    shard.unlink()
    assert score.score_shard(seal, folder, 0) == 12
    assert shard.exists()


@given(st.lists(st.sampled_from(["", "short", *(letter * size for letter in "abé" for size in (199, 200, 201))])))
def test_equal_responses_are_counted_whatever_their_lengths(texts: list[str]) -> None:
    counted = score._count(range(len(texts)), [Score(1.0)] * len(texts), texts)
    long = [text for text in texts if len(text) >= 200]
    assert (counted.long, counted.repeated) == (len(long), len(long) - len(set(long)))
