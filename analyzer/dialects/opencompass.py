"""OpenCompass's predictions: a .json file for each dataset, or for each part of one.

    {"0": {"origin_prompt": [{"role": "HUMAN", "prompt": "..."}], "prediction": "... 7", "gold": "7"}, "1": ...}

A dataset with `n` is asked n times over; a model with num_return_sequences has a list of predictions.
"""

from __future__ import annotations

from collections.abc import Iterable

from analyzer.dialects import Dialect, Row, register
from analyzer.dialects.layout import Layout

_ROLES = {"HUMAN": "user", "BOT": "assistant", "SYSTEM": "system"}


class Opencompass(Dialect):
    """Reads the predictions of one file."""

    def records(self, record: Row) -> Iterable[Row]:
        """A row for each prediction."""
        for item in record.values():
            asked, predictions = item["origin_prompt"], item["prediction"]
            if isinstance(asked, list):
                asked = [{"role": _ROLES.get(turn["role"], turn["role"]), "content": turn["prompt"]} for turn in asked]
            for text in predictions if isinstance(predictions, list) else [predictions]:
                yield {"prompt": asked, "response": text, "ground_truth": item.get("gold")}


register(
    Opencompass(
        name="opencompass",
        framework="OpenCompass predictions",
        file="predictions/{model}/{dataset}.json",
        lacks="rewards, data_source, ground truths that are 0, false or empty",
        requires=frozenset({"0.origin_prompt", "0.prediction"}),
        suffixes=(".json",),
        layout=Layout(
            prompt="prompt",
            response="response",
            ground_truth="ground_truth",
            file=(("run", r"/(\d{8}_\d{6})/predictions/"), ("model", r"/predictions/([^/]+)/[^/]+$")),
            steps=("run", "model"),
        ),
    )
)
