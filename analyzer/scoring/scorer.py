"""The scorer of one reward: it knows how each kind of reward is called, and what to do when one fails."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from analyzer.errors import AnalyzerError
from analyzer.grading import Limits, Target, nursery
from analyzer.grading.supervisor import Supervisor
from analyzer.rewards import BaseReward, GroupReward, Part, Reward, Where, WholeReward
from analyzer.schema import (
    NOTHING,
    PASS_THRESHOLD,
    GoldError,
    Lengths,
    NotPresentable,
    Problem,
    Score,
    Status,
    Unscored,
)
from analyzer.scoring.grades import ChildGrader, Grades, Verdicts, same, score_from, value_of
from analyzer.scoring.scores import checked, failure, one_line

BATCH_CHARS = 4 << 20  # characters of responses in one call of a WholeReward
RECENT_BYTES = 16 << 20  # of answers of recent problems that are remembered, about


class Scorer:
    """Scores the rollouts of one reward. One for each thread: it has a child process and remembers recent problems."""

    def __init__(
        self, reward: BaseReward, limits: Limits, verdicts: Callable[[Reward], Verdicts | None] = lambda _: None
    ) -> None:
        """Cheap: a child process is started when the first rollout needs it, or by `start`.

        verdicts: where the replies of a reward that is graded in the child are kept, if they are.
        """
        self._reward = reward
        self._parts = [Scorer(part.reward, limits, verdicts) for part in reward.parts]
        self._child = Supervisor(target_of(reward), limits) if reward.where is Where.CHILD else None
        self._verdicts = verdicts(reward) if self._child is not None and isinstance(reward, Reward) else None
        # Rollouts of a problem come one after another, so where grading is cheap, one problem's grades are enough.
        self._gold: Any = None
        self._grades: Grades | None = None
        self._recent: dict[str, Grades] = {}  # by ground truth, the one used last at the end
        self._recent_bytes = 0

    def start(self) -> None:
        """Load the reward as scoring will. Raises RewardError where that fails; for the driver, before any work."""
        if self._child is not None:
            self._child.start()
        else:
            self._reward.load()
        for part in self._parts:
            part.start()

    def score(
        self,
        problem: Problem,
        responses: Sequence[str],
        lengths: Lengths | None = None,
        verdicts: Sequence[bool] | None = None,
    ) -> list[Score]:
        """One score per response, in order. `problem` holds plain JSON values.

        Give all rollouts of a problem in one call, or in calls one after another: what was graded is remembered
        until the ground truth changes. `lengths` are needed by rewards that look at them, and `verdicts`, which
        responses are right, by those of them that are part of a sum. Raises RewardError when the reward cannot be
        loaded.
        """
        if self._parts:
            return self._score_parts(problem, responses, lengths)
        if isinstance(self._reward, GroupReward):
            return _score_group(self._reward, responses, lengths, verdicts)
        if isinstance(self._reward, WholeReward):
            whole = self._reward
            batches = _batches(responses, whole.batch_size)
            return [score for batch in batches for score in self._score_together_or_alone(whole, problem, batch)]
        if not isinstance(self._reward, Reward):
            raise TypeError(f"{self._reward!r} is neither a Reward nor a WholeReward")
        grades = self._grades_of(self._reward, self._reward.gold_of(problem))
        try:
            return _score_all(self._reward, grades, responses)
        except GoldError as error:
            return [failure(error)] * len(responses)

    def earns(self, problem: Problem, scores: Sequence[Score]) -> bool | None:
        """Whether the problem's ground truth can earn the maximum: as a response did, or presented as one does.

        scores: of the problem's rollouts. None where it was not asked: the reward cannot present a ground truth, or
        asking costs more than a microsecond and the problem is solved too often (over 1 in 8) to be worth it, or the
        grader failed for reasons that are not the ground truth's.
        """
        reward = self._reward
        if self._parts:
            return self._decider.earns(problem, [score._replace(reward=score.pass_value) for score in scores])
        if not isinstance(reward, Reward) or not reward.needs_gold or reward.where is Where.SANDBOX:
            return None
        best = [score.reward for score in scores if score.reward is not None]
        if any(value >= reward.maximum for value in best):
            return True
        # The ratio bounds the cost: presenting takes a call of the child, and a ground truth that earns often is
        # no suspect.
        if reward.where is Where.CHILD and 8 * sum(value >= PASS_THRESHOLD for value in best) > len(best) > 0:
            return None
        try:
            own = self.present(problem, reward.gold_of(problem))
        except NotPresentable:
            return None
        if own.reward is None:
            return None if own.status is not Status.GOLD_ERROR else False
        return own.reward >= reward.maximum

    def present(self, problem: Problem, gold: Any) -> Score:
        """What a ground truth earns as the answer to a problem; GOLD_ERROR where it is none that can be presented.

        Raises NotPresentable where the reward can make up no response at all.
        """
        if not isinstance(self._reward, Reward):
            raise TypeError(f"{self._reward!r} cannot present a ground truth")
        try:
            answer = self._reward.present(gold)
        except (AnalyzerError, NotPresentable):
            raise
        except Unscored as error:
            return failure(error)
        except Exception as error:  # noqa: BLE001  # a ground truth of another type must not end a run that is scored
            return failure(error)._replace(status=Status.GOLD_ERROR)
        return self.score(problem, [answer])[0]

    def close(self) -> None:
        """End the child process, if there is one. The scorer must not be used afterwards."""
        if self._child is not None:
            self._child.close()
        for part in self._parts:
            part.close()

    @property
    def _decider(self) -> Scorer:
        return next(part for part in self._parts if part._reward is self._reward.decider)

    def _score_parts(self, problem: Problem, responses: Sequence[str], lengths: Lengths | None) -> list[Score]:
        """The sums. What passes is settled first, since other parts may depend on it."""
        decider = self._decider
        first = decider.score(problem, responses, lengths)
        right_from = self._reward.right_from
        verdicts = [score.reward is not None and score.reward >= right_from for score in first]
        by_part = [
            first if part is decider else part.score(problem, responses, lengths, verdicts) for part in self._parts
        ]
        at = self._parts.index(decider)
        # Equal answers share one Score, so most rollouts of a problem have the same scores from each part.
        known: dict[tuple[int, ...], Score] = {}
        summed = []
        for scores in zip(*by_part, strict=True):
            key = tuple(map(id, scores))
            if (score := known.get(key)) is None:
                score = known[key] = _sum_of(self._reward.parts, scores, at)
            summed.append(score)
        return summed

    def _grades_of(self, reward: Reward, gold: Any) -> Grades:
        """The grades for this ground truth: those of a recent call where it is the same one, else new ones."""
        if self._grades is None or not same(gold, self._gold):
            if self._child is None:
                grades = Grades(
                    lambda: reward.check_gold(gold), lambda answer: reward.grade(answer, gold), reward.answer_text
                )
            else:
                if isinstance(self._gold, str) and self._grades is not None:
                    self._remember(self._gold, self._grades)
                grader = ChildGrader(reward, self._child, self._verdicts, gold)
                # A problem may be there under several data_idx, and many problems have the same number as an answer.
                known = self._recent.pop(gold, None) if isinstance(gold, str) else None
                if known is not None:
                    self._recent_bytes -= known.size
                grades = known if known is not None else Grades(grader.check, grader.grade, reward.answer_text)
            self._gold, self._grades = gold, grades
        return self._grades

    def _remember(self, gold: str, grades: Grades) -> None:
        # What a busy node did to one problem is not to be the fate of another.
        if grades.has_transient():
            return
        self._recent[gold] = grades
        self._recent_bytes += grades.size
        while self._recent_bytes > RECENT_BYTES:
            self._recent_bytes -= self._recent.pop(next(iter(self._recent))).size

    def _score_together_or_alone(self, reward: WholeReward, problem: Problem, batch: Sequence[str]) -> list[Score]:
        try:
            return self._score_batch(reward, problem, batch)
        except AnalyzerError:
            raise
        except Exception as error:  # noqa: BLE001 - a status, of the rollout that is to blame
            # One by one, since it is not known which of them is to blame.
            if len(batch) == 1:
                return [failure(error)]
            return [self._score_together_or_alone(reward, problem, [response])[0] for response in batch]

    def _score_batch(self, reward: WholeReward, problem: Problem, batch: Sequence[str]) -> list[Score]:
        """One call of `score`. Raises whatever that raises, and Unscored if it is not a list of as many scores."""
        if self._child is None:
            scores = reward.score(problem, batch)
        else:
            # A batch that crashes is not tried again as it is, but each of its rollouts is.
            # The budget grows with the number of rollouts, so a batch is not stricter than single calls.
            reply = self._child.call("score_json", problem, batch, items=len(batch), retry=len(batch) == 1)
            scores = list(map(score_from, value_of(reply)))
        # Too few or too many: nobody knows which score belongs to which response.
        if len(scores) != len(batch):
            raise Unscored(Status.INVALID_RESULT, f"{len(scores)} scores for {len(batch)} responses")
        return [checked(score) for score in scores]


def announce_rewards() -> None:
    """Let workers that start before `start_rewards` has ended use what it starts."""
    nursery.announce()


def start_rewards(rewards: Iterable[BaseReward], limits: Limits) -> None:
    """Load every reward before any work, once for all workers on this host; end them with `end_rewards`.

    Raises RewardError for one that cannot start.
    """
    # By identity: the same reward may serve many data sources.
    for reward in {id(reward): reward for reward in rewards}.values():
        with contextlib.closing(Scorer(reward, limits)) as scorer:
            scorer.start()
    nursery.share()


@contextlib.contextmanager
def starting(rewards: Iterable[BaseReward], limits: Limits) -> Iterator[Future[None]]:
    """A context of `start_rewards` under way in a thread; at its end it has ended. Raises RewardError as that does."""
    with ThreadPoolExecutor(1) as thread:
        started = thread.submit(start_rewards, rewards, limits)
        yield started
        started.result()


def end_rewards() -> None:
    """End the processes of rewards."""
    nursery.close_all()


def _score_group(
    reward: GroupReward, responses: Sequence[str], lengths: Lengths | None, verdicts: Sequence[bool] | None
) -> list[Score]:
    if lengths is None:
        raise TypeError(f"{reward} needs the lengths of the responses")
    try:
        scores = reward.score(responses, lengths, verdicts)
        known = {id(score): checked(score) for score in scores}
        return [known[id(score)] for score in scores]
    except AnalyzerError:
        raise
    except Exception as error:  # noqa: BLE001 - a failing scorer must not end the run
        return [failure(error)] * len(responses)


def _sum_of(parts: Sequence[Part], scores: Sequence[Score], decider: int) -> Score:
    """The weighted sum of one rollout's scores; without a reward, and with the status of the first part that has none.

    Whether an answer was found, and which, is what the deciding part says.
    """
    first = scores[decider]
    extra: dict[str, Any] = {}
    given: dict[str, float] = {}
    terms: list[float] = []
    failed: tuple[Part, Score] | None = None
    for part, score in zip(parts, scores, strict=True):
        if score.reward is None:
            failed = failed or (part, score)
        else:
            given[part.name] = score.reward
            terms.append(part.weight * score.reward)
        if score.extra:
            extra.update((f"{part.name}_{key}", value) for key, value in score.extra.items())
    if failed is not None:
        detail = one_line(f"{failed[0].name}: {failed[1].detail}")
        return Score(None, failed[1].status, first.found, extra or NOTHING, detail, first.answer, None, given)
    total = math.fsum(terms)
    if math.isfinite(total):  # what else `checked` looks at was looked at in the parts
        return Score(total, Status.OK, first.found, extra or NOTHING, "", first.answer, first.reward, given)
    return checked(Score(total, Status.OK, first.found, extra or NOTHING, "", first.answer, first.reward, given))


def _score_all(reward: Reward, grades: Grades, responses: Sequence[str]) -> list[Score]:
    if grades.refusal is not None:
        return [grades.refusal] * len(responses)
    try:
        # map, not a loop: for rewards that only cut strings the frame of each call would be most of the cost.
        return list(map(grades.__getitem__, map(reward.extract, responses)))
    except (GoldError, AnalyzerError):
        raise
    except Exception:  # noqa: BLE001 - some response fails in `extract`: find out which, one at a time
        return [_score_one(reward, grades, response) for response in responses]


def _score_one(reward: Reward, grades: Grades, response: str) -> Score:
    try:
        return grades[reward.extract(response)]
    except (GoldError, AnalyzerError):
        raise
    except Exception as error:  # noqa: BLE001 - as above: a status on this rollout alone
        return failure(error)


def target_of(reward: BaseReward) -> Target:
    """How the child builds a reward equal to this one."""
    cls = type(reward)
    return Target(f"{cls.__module__}:{cls.__qualname__}", reward.options, str(reward))


def _batches(responses: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The responses in runs of at most `size` and about BATCH_CHARS characters."""
    start = chars = 0
    for index, response in enumerate(responses):
        # At least one response a batch, however long it is.
        if index > start and (index - start >= size or chars + len(response) > BATCH_CHARS):
            yield responses[start:index]
            start, chars = index, 0
        chars += len(response)
    if start < len(responses):
        yield responses[start:]
