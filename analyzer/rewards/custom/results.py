"""What a user's reward function returns, as a Score: a finite number, or the status that says why there is none."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from analyzer.schema import NOTHING, Score, Status, is_deeper

MAX_EXTRA = 64 << 10  # characters of the further columns of one rollout, as JSON
_EXACT = 1 << 53  # integers up to here are exact as a float
_RENAMED = {"status": "status_"}  # `reward_status` is a column of ours
_DROP = object()


def score_of(result: Any) -> Score:
    """What a function returned for one rollout, as a Score: a number, None, a dict with "score", or a tuple.

    The other keys of a dict are further columns, where they hold text, numbers, or lists and dicts of those.
    """
    extra: Mapping[str, Any] = NOTHING
    answer: str | None = None
    value = result
    if isinstance(result, dict):
        # verl's managers take result["score"] and pass the rest on; so do we.
        if "score" not in result:
            return _invalid(f'a dict without "score" (its keys: {", ".join(map(str, list(result)[:5]))})')
        value = result["score"]
        kept = {str(key): _as_json(item) for key, item in result.items() if key != "score"}
        extra = {_RENAMED.get(key, key): item for key, item in kept.items() if item is not _DROP}
        answer = _answer(extra.pop("answer", None))
        if extra and len(json.dumps(extra)) > MAX_EXTRA:
            return _invalid(f"a dict of over {MAX_EXTRA:,} characters")
        if is_deeper(extra):
            return _invalid("a dict nested too deeply to be a column")
    elif isinstance(result, list | tuple):
        if not result:
            return _invalid("nothing")
        value = result[0]
    if value is None:
        return Score(None, Status.ABSTAIN, extra=extra, detail="it returned None", answer=answer)
    # Many functions return a scalar of numpy or torch.
    number = _scalar(value)
    # Larger integers would be rounded silently by the column's float64.
    if isinstance(number, bool | float) or (isinstance(number, int) and abs(number) <= _EXACT):
        number = float(number)
        if math.isfinite(number):
            return Score(number, extra=extra, answer=answer)
        return _invalid(str(number))
    return _invalid("an integer too large to be a reward" if isinstance(number, int) else f"a {type(number).__name__}")


def _answer(value: Any) -> str | None:
    """The function's own "answer" as text: what it took the response to say."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _invalid(what: str) -> Score:
    return Score(None, Status.INVALID_RESULT, detail=f"it returned {what}, not a finite number")


def _scalar(value: Any) -> Any:
    """A number of numpy or torch as the number it is."""
    if isinstance(value, bool | int | float | str) or not hasattr(value, "item"):
        return value
    try:
        return value.item()
    except (ValueError, RuntimeError, TypeError):  # an array of several
        return value


def _as_json(value: Any) -> Any:
    """A value as JSON holds it, _DROP for what JSON does not know."""
    value = _scalar(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [item for item in map(_as_json, value) if item is not _DROP]
    if isinstance(value, dict):
        return {
            str(key): item for key, item in ((key, _as_json(item)) for key, item in value.items()) if item is not _DROP
        }
    return value.tolist() if hasattr(value, "tolist") else _DROP
