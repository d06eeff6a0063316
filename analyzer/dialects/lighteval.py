"""lighteval's details: a row for each document, with all responses to it.

{"doc": {"query": "...", "choices": ["7"], "gold_index": 0, "id": "0", "task_name": "gsm8k"},
 "model_response": {"text": ["... 7", "... 8"]}, "metric": {"extractive_match": 0.5}}
"""

from __future__ import annotations

from collections.abc import Iterable

from analyzer.dialects import Dialect, Row, register
from analyzer.dialects.layout import Group, Layout


class Lighteval(Dialect):
    """Reads the details of one task."""

    def records(self, record: Row) -> Iterable[Row]:
        """A row for each response; a metric is of all of them, so it is not a reward."""
        doc, answer = record["doc"], record["model_response"]
        index = doc["gold_index"]
        golds = [doc["choices"][at] for at in (index if isinstance(index, list) else [index])]
        texts = answer["text"]
        for text in [texts] if isinstance(texts, str) else texts:
            yield {
                "prompt": doc["query"],
                "response": text,
                "ground_truth": golds[0] if len(golds) == 1 else golds,
                "data_source": doc.get("task_name"),
                "id": str(doc["id"]),
                "task": doc.get("task_name"),
                "metric": record.get("metric"),
            }


register(
    Lighteval(
        name="lighteval",
        framework="lighteval details",
        file="details_{task}_{date}.parquet of --save-details",
        lacks="rewards of single responses (a metric is of all responses to a document)",
        requires=frozenset({"doc", "model_response"}),
        layout=Layout(
            prompt="prompt",
            response="response",
            ground_truth="ground_truth",
            data_source="data_source",
            group=Group(("id",)),
            # details/{model}/{date}/details_{task}_{date}.parquet
            file=(
                ("model", r"/details/(.+)/\d{4}-\d\d-\d\dT[^/]*/details_[^/]*$"),
                ("run", r"details_.+_(\d{4}-\d\d-\d\dT[^/]*)\.parquet"),
            ),
            steps=("model", "run"),
            tasks=("task",),
        ),
    )
)
