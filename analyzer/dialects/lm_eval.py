"""lm-eval's samples: a line for each document and filter, whose `resps[0]` are the responses to it.

    {"doc_id": 0, "doc": {...}, "target": "7", "arguments": {"gen_args_0": {"arg_0": "Question: ..."}},
     "resps": [["... 7", "... 8"]], "filter": "strict-match", "exact_match": 0.5}

The responses of a document are the same under every filter, and a metric is one number for all of them: the lines of
one filter are read, and the responses scored by their target. Up to release 0.4.4 lines do not name their filter.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from analyzer.dialects import Dialect, Row, Settings, register
from analyzer.dialects.layout import Group, Layout


class LmEval(Dialect):
    """Reads one filter of a samples file."""

    def once_in_file(self, record: Row) -> Any:
        """The responses to a document: releases up to 0.4.4 write them for each filter, and do not say which."""
        return None if "filter" in record else (record["doc_id"], hash(repr(record["resps"])))

    def prepared(self, records: Iterator[Iterator[Row]], settings: Settings) -> Dialect:
        """With the filter of each task's first line as the one that is read."""
        tasks: dict[str, list[str | None]] = {}  # filter -> the tasks of which it is the first
        for file in records:
            first = next(file, {})
            name, task = first.get("filter"), first.get("task")
            if isinstance(name, str) and not any(task in known for known in tasks.values()):
                tasks.setdefault(name, []).append(task)
        if not tasks:
            return self
        rules = [f"filter == {_quoted(name)}" for name in tasks]
        if len(rules) > 1:  # tasks have filters of their own, and each is read by one of its own
            rules = [f"{rule} and {_is_of(known)}" for rule, known in zip(rules, tasks.values(), strict=True)]
        return dataclasses.replace(self, layout=dataclasses.replace(self.layout, rows=" or ".join(rules)))


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _is_of(tasks: list[str | None]) -> str:
    named = [_quoted(task) for task in tasks if task is not None]
    return f"task in [{', '.join(named)}]" if named else "task is null"


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
            file=(
                ("task", r"samples_(.+)_\d{4}-\d\d-\d\dT"),
                ("model", r"([^/]+)/samples_[^/]+$"),
                ("run", r"samples_.+_(\d{4}-\d\d-\d\dT[^/]*)\.jsonl"),
            ),
            steps=("model", "run"),
            tasks=("task",),
        ),
    )
)
