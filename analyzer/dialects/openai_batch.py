"""Outputs of the OpenAI batch API and of vLLM's run-batch: a line for each request, in any order.

    {"custom_id": "gsm8k-0", "response": {"status_code": 200, "body": {"model": "m", "choices": [
        {"index": 0, "message": {"content": "7"}, "finish_reason": "stop"}]}}, "error": null}

Prompts and ground truths are in the request file and in the data: `--join`. Where every request asked for one choice,
its custom_id usually names the problem and the sample (`gsm8k-0-2`); that is settled by looking at all of them.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from analyzer.dialects import Dialect, Row, Settings, register
from analyzer.dialects.layout import Group, Layout
from analyzer.dialects.values import content_text, said_in, why_it_ended
from analyzer.files.inputs import JSONL_SUFFIXES

_NUMBERED = r"^(.+)[-_:/]\d+$"


class OpenaiBatch(Dialect):
    """Reads the choices of every request that was answered."""

    def prepared(self, records: Iterator[Iterator[Row]], settings: Settings) -> Dialect:
        """Grouped by custom_id, or by custom_id without the number of the sample where these number the samples."""
        samples: Counter[str] = Counter()  # of each custom_id without its number
        for record in itertools.chain.from_iterable(records):
            try:
                body = _body(record)
            except ValueError:
                return self  # said with its place when it is read
            if len(body.get("choices") or ()) > 1:
                return self
            match = re.match(_NUMBERED, str(record.get("custom_id")))
            if match is None:
                return self
            samples[match[1]] += 1
        # gsm8k-0, gsm8k-1, ... are problems; gsm8k-0-0, gsm8k-0-1, gsm8k-1-0, ... samples of several.
        # A lone prefix with many numbers is a data set whose problems are numbered.
        if len(samples) < 2 or max(samples.values()) < 2:
            return self
        group = Group(("custom_id",), _NUMBERED)
        return dataclasses.replace(self, layout=dataclasses.replace(self.layout, group=group))

    def records(self, record: Row) -> Iterable[Row]:
        """A row for each choice; one without a response for a request that failed."""
        body = _body(record)
        choices = body.get("choices") or []
        # Of /v1/responses, which gives one answer to a request.
        if isinstance(body.get("output"), list) and body.get("status") != "failed":
            choices = [{"text": said_in(body), "finish_reason": why_it_ended(body)}]
        # Kept as a row without a response, so that it is counted as a failed request.
        if record.get("error") or not choices:
            yield {
                "custom_id": record["custom_id"],
                "response": None,
                "finish_reason": None,
                "model": body.get("model"),
            }
        for choice in choices:
            message = choice.get("message")
            yield {
                "custom_id": record["custom_id"],
                "response": content_text(message.get("content")) if message else choice["text"],
                "finish_reason": choice.get("finish_reason"),
                "model": body.get("model"),
            }


def _body(record: Row) -> Mapping[str, Any]:
    """The body of the response; empty if there is none. Raises ValueError for a response that is no object."""
    found: Mapping[str, Any] = record
    for name in ("response", "body"):
        inner = found.get(name) or {}
        if not isinstance(inner, Mapping):
            raise ValueError(f"{name} is not an object")
        found = inner
    return found


register(
    OpenaiBatch(
        name="openai_batch",
        framework="OpenAI or vLLM batch output",
        file="the output jsonl file of a batch, of vllm run-batch",
        lacks="prompts, ground truths, data_source (--join, of the request file too)",
        requires=frozenset({"custom_id", "response"}),
        suffixes=JSONL_SUFFIXES,
        layout=Layout(
            response="response",
            finish_reason="finish_reason",
            model="model",
            group=Group(("custom_id",)),
            steps=("model",),
        ),
    )
)
