"""Scoring: the rollouts of one problem in, one `Score` for each out, whatever the reward does.

    with closing(Scorer(reward, Limits())) as scorer:
        scores = scorer.score(Problem("openai/gsm8k", "5"), ["#### 5", "#### 6", "#### 5"])   # two answers are graded
        [score.reward for score in scores]      # [1.0, 0.0, 1.0]

A failure of the scorer is a status on its own rollout, never a reward of 0 and never an exception. Only what would
befall every rollout is raised: a reward that cannot be loaded (RewardError).
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from numbers import Real
from typing import Any, Protocol

from analyzer.errors import AnalyzerError
from analyzer.grading import Limits, Reply, Target, nursery
from analyzer.grading.frames import as_text
from analyzer.grading.supervisor import Supervisor
from analyzer.rewards import BaseReward, GroupReward, Part, Reward, Where, WholeReward
from analyzer.schema import (
    ANSWER_LENGTH,
    NOTHING,
    PASS_THRESHOLD,
    TRANSIENT,
    GoldError,
    Lengths,
    NotPresentable,
    Problem,
    Score,
    Status,
    Unscored,
)

DETAIL_LENGTH = 300  # characters of an explanation that are kept
BATCH_CHARS = 4 << 20  # characters of responses in one call of a WholeReward
RECENT_BYTES = 16 << 20  # of answers with dear grades that are remembered, about
_FINAL = frozenset({Status.OK, Status.GOLD_ERROR, Status.LIMIT, Status.ABSTAIN})


class Verdicts(Protocol):
    """What graders have said before, kept somewhere: the methods of a reward are pure, so they would say it again."""

    def find(self, question: str) -> Reply | None:
        """The reply to a method's name and arguments (as JSON), None where it is not known."""

    def keep(self, question: str, reply: Reply) -> None:
        """Note a reply that is final."""


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
        if self._grades is None or not _same(gold, self._gold):
            if self._child is None:
                grades = Grades(
                    lambda: reward.check_gold(gold), lambda answer: reward.grade(answer, gold), reward.answer_text
                )
            else:
                if isinstance(self._gold, str) and self._grades is not None:
                    self._remember(self._gold, self._grades)
                grader = _Grader(reward, self._child, self._verdicts, gold)
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
        """One call of `score`. Raises whatever that raises, and Unscored for what is no list of as many scores."""
        if self._child is None:
            scores = reward.score(problem, batch)
        else:
            # A batch that crashes is not tried again as it is, but each of its rollouts is.
            # The budget grows with the number of rollouts, so a batch is no stricter than single calls.
            reply = self._child.call("score_json", problem, batch, items=len(batch), retry=len(batch) == 1)
            scores = list(map(_score_from, _value_of(reply)))
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


class Grades(dict[Hashable, Score]):
    """Answer -> Score for one ground truth, filled as answers are looked up, so that a hit costs a dict look-up.

    A grade that fails becomes the Score that says why. What `check` raises makes every answer unscored.
    """

    def __init__(
        self, check: Callable[[], None], grade: Callable[[Any], Score], text: Callable[[Any], str | None]
    ) -> None:
        super().__init__()
        self._grade = grade
        self._text = text
        self.size = 1000  # bytes, about
        self.refusal = _failure_of(check)

    def has_transient(self) -> bool:
        """Whether any answer, or the ground truth, failed in a way that another try may not."""
        refused = self.refusal is not None and self.refusal.status in TRANSIENT
        return refused or any(score.status in TRANSIENT for score in self.values())

    def __missing__(self, answer: Hashable) -> Score:
        """Grade an answer not seen before. Raises GoldError where only grading finds that the gold cannot be graded."""
        try:
            score = checked(self._grade(answer), found=answer is not None)
        except GoldError as error:
            self.refusal = failure(error)
            raise
        except AnalyzerError:
            raise
        except Exception as error:  # noqa: BLE001 - a failing scorer must not end the run, nor count as a wrong answer
            score = failure(error)
        reward, status, found, extra, detail, _, pass_value, parts = score
        text = shortened(self._text(answer))
        # Built anew: _replace() takes four times as long.
        score = self[answer] = Score(reward, status, found, extra, detail, text, pass_value, parts)
        self.size += 500 + _length(answer)
        return score


def _length(answer: Any) -> int:
    """Characters in an answer, about."""
    if isinstance(answer, tuple):
        return sum(map(_length, answer))
    return len(answer) if isinstance(answer, str) else 20


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


def _failure_of(check: Callable[[], None]) -> Score | None:
    try:
        check()
    except AnalyzerError:
        raise
    except Exception as error:  # noqa: BLE001 - becomes the status of all rollouts of the problem
        return failure(error)
    return None


class _Grader:
    """Grades by one ground truth: what neither the worker knows nor an earlier run has asked goes to the child."""

    def __init__(self, reward: Reward, child: Supervisor, verdicts: Verdicts | None, gold: Any) -> None:
        self._reward = reward
        self._child = child
        self._verdicts = verdicts
        self._gold = gold

    def check(self) -> None:
        # Known in the worker: saves a round trip to the child for every problem.
        if self._reward.settle_gold(self._gold):
            return
        try:
            self._ask("check_gold", self._gold)
        except GoldError:
            raise
        except Unscored as error:
            raise Unscored(error.status, f"in checking the ground truth: {error.detail}") from None

    def grade(self, answer: Any) -> Score:
        # The same for answers: of the 9,706 pairs of problem and answer of math_l5_zeroeval, 796 reach the child.
        settled = self._reward.settle(answer, self._gold)
        return settled if settled is not None else _score_from(self._ask("grade", answer, self._gold))

    def _ask(self, method: str, *args: Any) -> Any:
        if self._verdicts is None:
            return _value_of(self._child.call(method, *args))
        try:
            question = as_text([method, *args])
        except (TypeError, ValueError, RecursionError):  # the call says what is wrong with it
            return _value_of(self._child.call(method, *args))
        reply = self._verdicts.find(question)
        if reply is None:
            reply = self._child.call(method, *args)
            if reply.status in _FINAL:
                self._verdicts.keep(question, reply)
        return _value_of(reply)


def _value_of(reply: Reply) -> Any:
    """The value of a reply. Raises Unscored, or GoldError, where it has none."""
    # A GoldError travels as a status and becomes the exception again on this side.
    if reply.status is Status.GOLD_ERROR:
        raise GoldError(reply.detail)
    if reply.status is not Status.OK:
        raise Unscored(reply.status, reply.detail)
    return reply.value


def _score_from(fields: Any) -> Score:
    """A Score from its fields as they come out of JSON."""
    reward, status, found, extra, detail, answer, *_ = fields
    return Score(reward, Status(status), found, writable(extra), detail, answer)


def target_of(reward: BaseReward) -> Target:
    """How the child builds a reward equal to this one."""
    cls = type(reward)
    return Target(f"{cls.__module__}:{cls.__qualname__}", reward.options, str(reward))


def failure(error: Exception) -> Score:
    """The Score of a rollout whose scoring raised: the status of Unscored, else `memory` or `error`."""
    if isinstance(error, Unscored):
        return Score(None, error.status, detail=one_line(error.detail))
    status = Status.MEMORY if isinstance(error, MemoryError) else Status.ERROR
    return Score(None, status, detail=one_line(f"{type(error).__name__}: {error}"))


def checked(score: Score, found: bool = True) -> Score:
    """The score with its reward as a finite float, or INVALID_RESULT; without a reward where the status is not OK."""
    found = found and score.found
    # Most scores are as they should be, and some thousand a second are looked at.
    plain = type(score.reward) is float and score.status is Status.OK and score.answer is None and not score.detail
    if plain and found is score.found and math.isfinite(score.reward):  # type: ignore[arg-type]
        return score
    score = score._replace(answer=shortened(score.answer))
    if score.status is not Status.OK:
        return score._replace(reward=None, found=found, detail=one_line(score.detail))
    reward: Any = score.reward
    try:
        # Real covers numpy's scalars; a str or None becomes NaN, and so INVALID_RESULT.
        number = float(reward) if isinstance(reward, Real) else math.nan
    except OverflowError:
        number = math.inf
    # NaN and infinity would spoil every mean that they enter, and JSON cannot hold them.
    if not math.isfinite(number):
        shown = repr(reward) if isinstance(reward, float) else f"of type {type(reward).__name__}"
        detail = f"the reward is {shown}, not a finite number"
        invalid = Status.INVALID_RESULT
        return score._replace(reward=None, status=invalid, found=found, detail=one_line(detail), pass_value=None)
    return score._replace(reward=number, found=found, detail=one_line(score.detail))


def shortened(answer: str | None) -> str | None:
    """An answer of at most ANSWER_LENGTH characters; of a longer one the start, and a digest that keeps it distinct."""
    if answer is None or (len(answer) <= ANSWER_LENGTH and answer.isascii()):
        return answer
    if len(answer) > ANSWER_LENGTH:
        # Two long answers with one beginning must not be one answer in a majority.
        digest = hashlib.blake2b(answer.encode(errors="surrogatepass"), digest_size=8).hexdigest()
        answer = f"{answer[: ANSWER_LENGTH - len(digest) - 2]}… {digest}"
    return str(writable(answer))


def one_line(text: str) -> str:
    """Text for a person: one line, bounded, and writable as UTF-8."""
    return str(writable(" ".join(text[: 2 * DETAIL_LENGTH].split())[:DETAIL_LENGTH]))


def writable(value: Any) -> Any:
    """A JSON value with the lone surrogates in its texts replaced by "?", since no file format here can hold them."""
    if isinstance(value, str):
        # isascii() reads a flag of the string; encoding costs a pass.
        return value if value.isascii() else value.encode(errors="replace").decode()
    if isinstance(value, list):
        return [writable(item) for item in value]
    if isinstance(value, dict):
        return {writable(key): writable(item) for key, item in value.items()}
    return value


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


def _same(gold: Any, other: Any) -> bool:
    """Whether two JSON values are the same to any reward: == is too lenient, as `[1] == [True]` and `0.0 == -0.0`.

    Types are equal all the way down, and objects hold their keys in one order. Without recursion: a value may be
    nested deeper than the interpreter's stack.
    """
    pairs = [(gold, other)]
    while pairs:
        one, two = pairs.pop()
        if one is two:
            continue
        # True == 1 and 1 == 1.0 to Python; a reward may tell them apart, and so must the memo.
        if type(one) is not type(two):
            return False
        if isinstance(one, list | tuple):
            if len(one) != len(two):
                return False
            pairs.extend(zip(one, two, strict=True))
        elif isinstance(one, dict):
            if list(one) != list(two):
                return False
            pairs.extend(zip(one.values(), two.values(), strict=True))
        elif repr(one) != repr(two) if isinstance(one, float) else one != two:  # NaN is NaN, and -0.0 is not 0.0
            return False
    return True
