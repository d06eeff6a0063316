"""The words of the program: column names, statuses, and the records that cross a boundary.

A rollout, as it comes in (one row)::

    {"prompt": "What is 2+3?", "response": "2+3=5\\n#### 5", "data_idx": 0, "sample_idx": 0,
     "original_data_source": "openai/gsm8k", "original_reward_model": {"style": "rule", "ground_truth": "5"}}

and as it goes out: the same columns plus ``reward``, ``reward_status``, ``response_tokens``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # numpy stays off the path of --help
    import numpy as np
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

PROMPT = "prompt"
RESPONSE = "response"
DATA_IDX = "data_idx"
SAMPLE_IDX = "sample_idx"
REQUIRED_COLUMNS = (PROMPT, RESPONSE, DATA_IDX, SAMPLE_IDX)

ORIGINAL = "original_"
DEFAULT_REWARD_FN_KEY = "reward_model"
"""Prefix that generate_rollouts gives to the columns of the training data."""
DATA_SOURCE = ORIGINAL + "data_source"
EXTRA_INFO = ORIGINAL + "extra_info"

DIFFICULTY = "difficulty_"
"""Prefix of the program's columns beside those of the training data."""
MADE = b"analyzer.column"
"""Key in the metadata of a field that this program added to a training row; the value is METRIC or GROUND_TRUTH."""
METRIC, GROUND_TRUTH = b"metric", b"ground_truth"

REWARD = "reward"
REWARD_STATUS = "reward_status"
RESPONSE_TOKENS = "response_tokens"
FINISH_REASON = "finish_reason"
MAX_TOKENS = "max_tokens"
REWARD_ANSWER = "reward_answer"
REWARD_PASS_VALUE = "reward_pass_value"
"""What is compared with the pass threshold, in data where that is not the reward: a part of a sum of rewards."""
ANSWER_LENGTH = 200  # characters of an answer that are kept
REWARD_EXTRA = "reward_"
"""Prefix of the further columns a reward may return, `reward_pred` for instance."""

NOT_COUNTED = -1
"""The response_tokens, within the program, of a response without a tokenizer to count it by; null in outputs."""

PASS_THRESHOLD = 0.5
"""A rollout passes when its reward is at least this."""

_ROUNDING = 2.0**-20  # relative; that of 32-bit floats is 2**-24, and sums of a few rewards add theirs up


def least_passing(threshold: float) -> float:
    """The least reward that passes: the threshold less what rounding may take from a reward that is meant to equal it.

    Trainers keep rewards as 32-bit floats, in which 0.7 is 0.69999999, and 0.7 + 0.2 + 0.1 is below 1 in 64 bits too.
    """
    return threshold - abs(threshold) * _ROUNDING


def threshold_of(summary: Mapping[str, Any]) -> float:
    """The pass threshold of an analysis by its summary.json; those of early versions do not name it."""
    threshold = summary.get("settings", {}).get("pass_threshold")
    return PASS_THRESHOLD if threshold is None else float(threshold)  # 0 is a threshold: of -1 and 0, or of penalties


class Status(StrEnum):
    """What became of the scoring of one rollout. Only OK goes with a reward."""

    OK = "ok"  # scored; a wrong or missing answer is OK too, with its reward
    GOLD_ERROR = "gold_error"  # the ground truth itself cannot be graded
    LIMIT = "limit"  # refused by a static limit before any work
    TIMEOUT = "timeout"  # over the CPU budget or the wall-clock backstop
    MEMORY = "memory"  # over the memory limit
    CRASH = "crash"  # the grading process died, twice
    ERROR = "error"  # the scorer raised
    INVALID_RESULT = "invalid_result"  # the scorer returned something other than a finite number
    ABSTAIN = "abstain"  # the scorer returned None on purpose
    INPUT_ERROR = "input_error"  # the row itself cannot be scored
    SANDBOX_UNAVAILABLE = "sandbox_unavailable"  # the sandbox failed, not the program in it


# Files name the statuses that their codes stand for, so the order may change between versions, but not within a run.
STATUSES: tuple[Status, ...] = tuple(Status)
"""All statuses in a fixed order; files of scores hold the position in this tuple."""

TRANSIENT = frozenset({Status.TIMEOUT, Status.MEMORY, Status.CRASH, Status.SANDBOX_UNAVAILABLE})
"""Statuses that may be the node's fault and not the rollout's: scored again at the next run. All others are final."""

NOTHING: Mapping[str, Any] = MappingProxyType({})

MAX_DEPTH = 100
"""Levels in which lists and dicts may be nested, in a line of the input and in what a reward returns."""


def is_deeper(value: Any, levels: int = MAX_DEPTH) -> bool:
    """Whether lists and dicts are nested in each other more than `levels` deep."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(is_deeper(item, levels - 1) for item in inner)


class Score(NamedTuple):
    """What one rollout earned. `reward` is a finite float exactly when `status` is OK, else None."""

    reward: float | None
    status: Status = Status.OK
    found: bool = True  # whether an answer was found in the response
    extra: Mapping[str, Any] = NOTHING  # further columns, without the prefix `reward_`
    detail: str = ""  # why there is no reward, for a person to read
    answer: str | None = None  # the answer found in the response, at most ANSWER_LENGTH characters
    pass_value: float | None = None  # compared with the pass threshold instead of the reward
    parts: Mapping[str, float] = NOTHING  # of a sum of rewards: what each part gave, by name


class Lengths(NamedTuple):
    """How long the responses of one problem are, as they were sampled."""

    tokens: Sequence[int]
    cut: Sequence[bool] | None  # whether each was cut off at its token limit; None: the data does not say


class Problem(NamedTuple):
    """What the rollouts of one problem have in common, as a reward sees it."""

    data_source: str
    ground_truth: Any
    extra_info: Any = None
    prompt: Any = None  # a string or a chat list, as the data holds it
    columns: Mapping[str, Any] = NOTHING  # original_* columns without their prefix, where a reward asks for them
    gold_text: str | None = None  # of a number in a column of texts: the text that the outputs have it as


class Unscored(Exception):
    """Raised inside a reward when it cannot judge: the rollout gets `status` and no reward.

    Never raise it for a wrong or missing answer: those are scored.
    """

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


class GoldError(Unscored):
    """Raised when the ground truth cannot be graded; makes every rollout of the problem unscored."""

    def __init__(self, detail: str) -> None:
        super().__init__(Status.GOLD_ERROR, detail)
        self.args = (detail,)


class NotPresentable(Exception):
    """Raised by `present` of a reward that cannot make up a response with an answer: the audit then does not ask."""


MEAN_AT = (1, 3, 5, 10, 20)
"""The k of mean@k."""


class Metrics(NamedTuple):
    """Per-problem metrics as a struct of arrays, all of shape (problems,), float64 unless said; NaN: none scored."""

    mean_at: Mapping[int, FloatArray]  # k -> mean of the k highest rewards, of all where there are fewer
    pass_rate: FloatArray  # share of scored rollouts that pass
    mean_reward: FloatArray
    max_reward: FloatArray
    min_reward: FloatArray
    std_reward: FloatArray  # population
    num_samples: IntArray  # int64, all rollouts
    num_scored: IntArray  # int64, those with a reward
    pass_rate_low: FloatArray  # the pass rate if every unscored rollout failed; 0 where none is scored
    pass_rate_high: FloatArray  # ... and if every one passed; 1 where none is scored
    passes: IntArray  # int64, scored rollouts that pass
    common_samples: int  # the fewest scored rollouts of any scored problem, 0 where none is scored
    common_mean_at_5: FloatArray  # mean@5 expected of `common_samples` of the rollouts: no larger for more samples
    common_std_reward: FloatArray  # the standard deviation expected of so many (2 at least)
    parts: Mapping[str, FloatArray] = NOTHING  # of sums of rewards: the mean of each part by name; NaN: it gave nothing

    def only(self, chosen: NDArray[np.bool_] | slice) -> Metrics:
        """Those of some problems; `parts` and `common_samples` stay what they are."""
        import numpy as np

        mean_at = {k: values[chosen] for k, values in self.mean_at.items()}
        arrays: dict[str, Any] = {
            name: values[chosen] for name, values in self._asdict().items() if isinstance(values, np.ndarray)
        }
        return self._replace(mean_at=mean_at, **arrays)
