"""lm-eval's samples: a line for each document and filter, whose `resps[0]` are the responses to it.

    {"doc_id": 0, "doc": {...}, "target": "7", "arguments": {"gen_args_0": {"arg_0": "Question: ..."}},
     "resps": [["... 7", "... 8"]], "filter": "strict-match", "exact_match": 0.5}

The responses of a document are the same under every filter, and a metric is one number for all of them: the lines of
one filter are read, and the responses scored by their target.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from analyzer.dialects import Dialect, Row, Settings, register
from analyzer.dialects.layout import Group, Layout


class LmEval(Dialect):
    """Reads one filter of a samples file."""

    def prepared(self, records: Iterator[Row], settings: Settings) -> Dialect:
        """With the filter of the first line as the one that is read."""
        first = next(records, {}).get("filter")
        if not isinstance(first, str):
            return self
        text = first.replace("\\", "\\\\").replace("'", "\\'")
        return dataclasses.replace(self, layout=dataclasses.replace(self.layout, rows=f"filter == '{text}'"))


register(
    LmEval(
        name="lm_eval",
        framework="lm-eval samples",
        file="{model}/samples_{task}_{date}.jsonl of --log_samples",
        lacks="rewards of single responses (a metric is of all responses to a document), data_source",
        requires=frozenset({"doc_id", "resps", "target", "arguments"}),
        layout=Layout(
            prompt="arguments.gen_args_0.arg_0|arguments[0][0]",
            response="resps[0]",
            explode=("resps[0]",),
            ground_truth="target",
            group=Group(("doc_id",)),
            drop=("filtered_resps",),
            file=(("task", r"samples_(.+)_\d{4}-\d\d-\d\dT"), ("model", r"([^/]+)/samples_[^/]+$")),
            steps=("model",),
            tasks=("task",),
        ),
    )
)
