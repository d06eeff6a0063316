"""What a reward returned, as a Score that can be kept: a finite number or a status, its texts short and writable."""

from __future__ import annotations

import hashlib
import math
from numbers import Real
from typing import Any

from analyzer.schema import ANSWER_LENGTH, Score, Status, Unscored

DETAIL_LENGTH = 300  # characters of an explanation that are kept


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
