"""Verdicts kept for later runs: the same outputs with and without them, whatever happens to the log."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from analyzer import rewards, scoring
from analyzer.cache import verdicts
from analyzer.cache.verdicts import Log, Verdicts
from analyzer.grading import Limits, Reply
from analyzer.rewards import Reward
from analyzer.schema import Problem, Status
from analyzer.scoring import Scorer
from tests.commands import ROOT, Outcome, Row, parquet
from tests.grading.bounded_rewards import Bounded
from tests.grading.warm import warm_zygotes
from tests.processes import Process

Analyze = Callable[..., Outcome]
OTHER = 65534
RIGHT = Reply(Status.OK, [1.0, "ok", True, {}, "", None, None, {}])

ANSWERS = {
    r"\frac{\sqrt{3}}{2}": [r"\sqrt{3}/2", r"\frac{\sqrt{3}}{3}", r"\sqrt{\frac{3}{4}}"],
    r"x^2 + 2x + 1": [r"(x+1)^2", r"x^2 + 1", r"(x+1)(x+1)"],
    r"\left(1, \pi\right)": [r"(1, \pi)", r"(\pi, 1)", r"[1, \pi]"],
    r"2\sqrt{5} + \log_2 x": [r"\log_2 x + \sqrt{20}", r"2\sqrt{5}", r"\sqrt{20} + \frac{\ln x}{\ln 2}"],
}
"""Ground truths and answers that only the child can compare."""


def rollouts(opening: str, first: int = 0) -> list[Row]:
    return [
        {
            "prompt": f"Question {number}",
            "response": f"{opening}\nThe final answer is $\\boxed{{{answer}}}$.",
            "data_idx": first + number,
            "sample_idx": sample,
            "original_data_source": "maths",
            "original_reward_model": {"style": "rule", "ground_truth": gold},
        }
        for number, (gold, answers) in enumerate(ANSWERS.items())
        for sample, answer in enumerate(answers)
    ]


@pytest.fixture(scope="module", autouse=True)
def _loaded_once() -> Iterator[None]:
    """A run ends the processes of its rewards. Here they stay for the next one: loading sympy takes most of it."""
    with warm_zygotes(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "end_rewards", lambda: None)
        yield


def logs(cache: Path) -> list[Path]:
    return sorted(cache.glob("verdicts/*/*.log"))


def log_of(folder: Path) -> Log:
    folder.mkdir(mode=0o700, exist_ok=True)
    return Log(folder / "verdicts" / "f", str(folder), {"reward": "a reward"})


# ---------------------------------------------------------------- what is kept, and what for


@pytest.mark.parametrize("reward", ["math_verify", pytest.param("math_prime", marks=pytest.mark.slow)])
def test_a_later_run_on_the_same_problems_has_the_same_outputs_with_verdicts_and_without(
    analyze: Analyze, tmp_path: Path, reward: str
) -> None:
    earlier = parquet(tmp_path / "earlier.parquet", rollouts("I see."))
    later = parquet(tmp_path / "later.parquet", rollouts("Let me think.", first=100))
    expected = analyze(later, reward_fn=reward, cache_dir=tmp_path / "another")
    analyze(earlier, reward_fn=reward, overwrite=True)
    (log,) = logs(tmp_path / "cache")
    before = log.read_bytes()
    found = analyze(later, reward_fn=reward, overwrite=True)
    assert expected.table()["reward"].null_count == 0
    assert (found.code, found.files()) == (expected.code, expected.files())
    assert log.read_bytes() == before  # nothing was graded that was not known
    assert len(before.split()) > 10


def test_a_verdict_that_is_kept_is_not_graded_again(analyze: Analyze, tmp_path: Path) -> None:
    """Shown by what nobody would grade so: what the log says is what the rollout gets."""
    data = parquet(tmp_path / "rollouts.parquet", rollouts("I see."))
    analyze(data, reward_fn="math_verify")
    (log,) = logs(tmp_path / "cache")
    lines = [line.split(b" ", 2) for line in log.read_bytes().splitlines() if line]
    turned = [(key, text.replace(b"[1.0,", b"[0.0,")) for key, _, text in lines]
    log.write_bytes(b"".join(b"%b %b %b\n" % (key, verdicts._check(key, text), text) for key, text in turned))
    shutil.rmtree(tmp_path / "cache" / "runs")
    again = analyze(data, reward_fn="math_verify", overwrite=True)
    assert set(again.table()["reward"].to_pylist()) == {0.0}


@pytest.mark.parametrize("change", [{"reward_timeout": 7}, {"reward_kwargs": {"recipe": "verl"}}], ids=str)
def test_other_limits_and_options_have_verdicts_of_their_own(
    analyze: Analyze, tmp_path: Path, change: dict[str, Any]
) -> None:
    data = parquet(tmp_path / "rollouts.parquet", rollouts("I see."))
    analyze(data, reward_fn="math_verify")
    analyze(data, reward_fn="math_verify", overwrite=True, **change)
    assert len(logs(tmp_path / "cache")) == 2


def test_other_code_and_another_library_have_verdicts_of_their_own(tmp_path: Path) -> None:
    reward = rewards.build("math_verify")
    assert isinstance(reward, Reward)
    versions = {"sympy": "1.14.0", "numpy": "2.0"}
    for number, (code, changed) in enumerate([("a", {}), ("b", {}), ("a", {"sympy": "1.15"}), ("a", {"numpy": "3"})]):
        log = Verdicts(str(tmp_path), {"scoring_code": code}, versions | changed).of(reward)
        assert log is not None
        log.find("")
        log.keep(f"{number}", RIGHT)
        log.sync()
    assert len(logs(tmp_path)) == 3  # numpy is none of the libraries that the reward names


def test_the_parts_of_a_sum_share_the_verdicts_of_the_reward_itself(analyze: Analyze, tmp_path: Path) -> None:
    data = parquet(tmp_path / "rollouts.parquet", rollouts("I see."))
    analyze(data, reward_fn="math_verify")
    (log,) = logs(tmp_path / "cache")
    before = log.read_bytes()
    parts = {"parts": ["math_verify", {"name": "repetition", "weight": 0.1}], "pass_on": "math_verify"}
    assert analyze(data, reward_fn="combine", reward_kwargs=parts, overwrite=True).code == 0
    assert logs(tmp_path / "cache") == [log]
    assert log.read_bytes() == before


def test_nothing_is_kept_of_a_function_of_the_user_s_own(analyze: Analyze, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def score(data_source, solution_str, ground_truth, extra_info=None):\n    return 1.0\n")
    assert analyze(parquet(tmp_path / "r.parquet", rollouts("I see.")), reward_fn=f"{file}:score").code == 0
    assert logs(tmp_path / "cache") == []
    assert Verdicts(str(tmp_path), {}, {}).of(Bounded()) is None


def test_only_what_is_final_is_kept(tmp_path: Path) -> None:
    log = log_of(tmp_path / "cache")
    limits = Limits(cpu_seconds=0.3, wall_factor=10)
    with closing(Scorer(Bounded(), limits, lambda _: log)) as scorer:
        # hang: timeout; x: the scorer raises, which a broken installation would do as well.
        scores = scorer.score(Problem("", "7"), ["a 6", "b hang", "c x", "d 7.0"])
        assert [score.status for score in scores] == [Status.OK, Status.TIMEOUT, Status.ERROR, Status.OK]
        assert {score.status for score in scorer.score(Problem("", "bad"), ["a 6"])} == {Status.GOLD_ERROR}
        assert {score.status for score in scorer.score(Problem("", "hangs"), ["a 6"])} == {Status.TIMEOUT}
    log.sync()
    found = {
        line.split(b" ", 2)[2][:14] for line in (tmp_path / "cache/verdicts/f/0.log").read_bytes().split(b"\n")[1:-1]
    }
    assert found == {b'["ok",[0.0,"ok', b'["ok",[1.0,"ok', b'["ok",null,""]', b'["gold_error",'}


def test_a_transient_failure_is_not_the_fate_of_another_problem_with_that_answer() -> None:
    with closing(Scorer(Bounded(), Limits(cpu_seconds=0.2, wall_factor=10))) as scorer:
        for gold in ("7", "8", "7"):
            scores = scorer.score(Problem("", gold), ["b hang", "c 6"])
            assert [score.status for score in scores] == [Status.TIMEOUT, Status.OK]
        calls = [scorer.score(Problem("", gold), ["d 5"])[0].extra["calls"] for gold in ("9", "8", "9")]
    assert calls[2] == calls[0]  # remembered, across another problem, where all went well


# ---------------------------------------------------------------- what befalls the log


def test_a_line_that_is_not_as_it_was_written_is_not_there(tmp_path: Path) -> None:
    writer = log_of(tmp_path)
    for number in range(20):
        writer.keep(f"question {number}", RIGHT._replace(detail=f"{number}"))
    writer.sync()
    path = tmp_path / "verdicts/f" / f"{os.geteuid()}.log"
    whole = path.read_bytes()
    rng = random.Random(7)
    damages = [whole[:size] for size in range(0, len(whole), 97)]
    for _ in range(300):
        at = rng.randrange(len(whole))
        damages.append(whole[:at] + bytes([whole[at] ^ (1 << rng.randrange(8))]) + whole[at + 1 :])
    damages += [os.urandom(5000) + whole, whole.replace(b"\n", b""), b"\0" * 4096 + whole, b"\n" * 100]
    lost = 0
    for damaged in damages:
        path.write_bytes(damaged)
        log = log_of(tmp_path)
        found = [log.find(f"question {number}") for number in range(20)]
        for number, reply in enumerate(found):
            assert reply in (None, RIGHT._replace(detail=f"{number}"))
        lost += found.count(None)
    assert 0 < lost < 20 * len(damages)
    path.write_bytes(whole[:-30])  # cut off, then appended to: what follows is whole
    log = log_of(tmp_path)
    log.keep("one more", RIGHT)
    log.sync()
    assert log_of(tmp_path).find("one more") == RIGHT


def append(folder: str, worker: int, count: int) -> None:
    log = log_of(Path(folder))
    for number in range(count):
        log.keep(f"{worker} {number}", RIGHT._replace(detail="long " * (number % 50)))
        if number % 7 == 0:
            log.sync()
    log.sync()


def test_many_processes_append_to_one_log_and_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=append, args=(str(tmp_path), worker, 300)) for worker in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    log = log_of(tmp_path)
    missing = [(w, n) for w in range(6) for n in range(300) if log.find(f"{w} {n}") is None]
    assert missing == []


def test_what_one_worker_grades_another_finds_after_its_next_shard(tmp_path: Path) -> None:
    one, other = log_of(tmp_path), log_of(tmp_path)
    assert other.find("question") is None
    one.keep("question", RIGHT)
    one.sync()
    other.sync()
    assert other.find("question") == RIGHT


KEEP_ON = """
import sys
from pathlib import Path
from tests.cache.test_verdicts import RIGHT, log_of
log = log_of(Path(sys.argv[1]))
for number in range(10**9):
    log.keep(f"{number}", RIGHT._replace(detail=str(number) * 20))
    if number % 5 == 0:
        log.sync()
"""


def test_a_process_that_is_killed_while_it_writes_spoils_nothing(tmp_path: Path) -> None:
    def written() -> int:
        return sum(path.stat().st_size for path in logs(tmp_path))

    for _ in range(2):  # the second goes on with what the first left
        before = written()
        process = Process(["-c", KEEP_ON, tmp_path], cwd=ROOT)
        while written() == before:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(random.random() / 10)
        process.kill()
        process.wait()
    log = log_of(tmp_path)
    found = [log.find(f"{number}") for number in range(50)]
    assert found == [RIGHT._replace(detail=str(number) * 20) for number in range(50)]


def test_a_log_is_bounded_and_keeps_the_newer_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "MOST_BYTES", 20_000)
    append(str(tmp_path), 0, 1000)
    (path,) = logs(tmp_path)
    assert 20_000 <= path.stat().st_size < 25_000
    last = max(n for n in range(1000) if log_of(tmp_path).find(f"0 {n}"))
    verdicts.tidy(str(tmp_path))
    assert 5_000 < path.stat().st_size <= 12_500
    log = log_of(tmp_path)
    assert (log.find("0 0"), log.find(f"0 {last}") is None) == (None, False)
    monkeypatch.setattr(verdicts, "MOST_LOGS_BYTES", 1_000)
    verdicts.tidy(str(tmp_path))
    assert logs(tmp_path) == []


@pytest.mark.parametrize(("characters", "kept"), [(verdicts.MOST_REPLY - 100, True), (verdicts.MOST_REPLY, False)])
def test_a_reply_that_is_very_long_is_graded_again(characters: int, kept: bool, tmp_path: Path) -> None:
    log = log_of(tmp_path)
    log.keep("question", Reply(Status.OK, [1.0], "x" * characters))
    log.sync()
    assert (log_of(tmp_path).find("question") is not None) == kept


def test_a_log_that_is_replaced_is_read_anew(tmp_path: Path) -> None:
    reader = log_of(tmp_path)
    append(str(tmp_path), 0, 50)
    assert reader.find("0 7") is not None
    (path,) = logs(tmp_path)
    append(str(tmp_path / "other"), 1, 50)
    (other,) = logs(tmp_path / "other")
    os.replace(other, path)
    reader.sync()
    assert reader.find("1 7") is not None


# ---------------------------------------------------------------- whose it is


def test_logs_are_as_private_as_the_cache(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        append(str(tmp_path / "mine"), 0, 1)
    finally:
        os.umask(before)
    folder = tmp_path / "mine" / "verdicts"
    assert {path.stat().st_mode & 0o777 for path in [folder, *folder.rglob("*")]} == {0o700, 0o600}
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*.*")} == {0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_verdicts_that_somebody_else_put_there_are_not_believed_nor_added_to(tmp_path: Path) -> None:
    append(str(tmp_path), 0, 5)
    (path,) = logs(tmp_path)
    os.chown(path, OTHER, OTHER)
    log = log_of(tmp_path)
    assert log.find("0 1") is None
    log.keep("mine", RIGHT)
    log.sync()
    assert log_of(tmp_path).find("mine") is None
    os.chown(tmp_path, OTHER, OTHER)  # the owner of a shared cache is believed, under the name that is its own
    path.rename(path.with_name(f"{OTHER}.log"))
    assert log_of(tmp_path).find("0 1") is not None


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"untouched")
    folder = tmp_path / "cache" / "verdicts" / "f"
    folder.mkdir(parents=True)
    (folder / f"{os.geteuid()}.log").symlink_to(victim)
    append(str(tmp_path / "cache"), 0, 5)
    assert victim.read_bytes() == b"untouched"


def test_a_cache_that_cannot_be_written_to_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "verdicts").write_text("a file where a folder should be")
    log = log_of(tmp_path)
    log.keep("question", RIGHT)
    log.sync()
    assert log.find("question") == RIGHT
