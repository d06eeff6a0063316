"""Logs of inspect_ai: .eval (a zip of JSON files, compressed with zstandard) and .json, a sample for each epoch.

    {"eval": {"task": "gsm8k", "model": "m"}, "samples": [{"id": "0", "epoch": 1, "input": "...", "target": "7",
     "output": {"choices": [{"message": {...}, "stop_reason": "stop"}]}, "scores": {"match": {"value": "C"}}}]}

In a .eval file each sample is `samples/<id>_epoch_<n>.json`. zipfile reads zstandard only from Python 3.14 on, hence
backports.zstd, which is that version's code.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from analyzer.dialects import Dialect, Row, Settings, register
from analyzer.dialects.layout import Group, Layout
from analyzer.dialects.values import content_text
from analyzer.errors import InputError
from analyzer.files import inputs, storage
from analyzer.rollouts.json_text import load_json

EVAL = ".eval"


def read_eval(path: str) -> Iterator[Row]:
    """Each sample of a .eval file as the log of that one sample. Raises InputError for a file that is not whole."""
    if sys.version_info >= (3, 14):
        import zipfile
    else:
        from backports.zstd import zipfile

    with inputs.open_binary(path) as file:
        try:
            with zipfile.ZipFile(file) as log:
                names = log.namelist()
                # header.json is written at the end; the log of a run that was killed has the journal alone.
                header = load_json(log.read("header.json" if "header.json" in names else "_journal/start.json"))
                # Sorted, since the order in the zip is that in which samples happened to end.
                for name in sorted(name for name in names if name.startswith("samples/") and name.endswith(".json")):
                    yield {"eval": header["eval"], "samples": [load_json(log.read(name))]}
        except (zipfile.BadZipFile, OSError, KeyError, ValueError, EOFError) as error:
            storage.check_of_the_file(error, path)
            raise InputError(f"{path}: not a readable inspect log ({error}); is the file complete?") from None


@dataclass(frozen=True, kw_only=True)
class Inspect(Dialect):
    """Reads the samples of logs, with the one scorer that is wanted."""

    retried: frozenset[str] = frozenset()  # eval_id of logs of which another is the retry, with what they had finished

    def prepared(self, records: Iterator[Iterator[Row]], settings: Settings) -> Dialect:
        """With the scorer as the reward where there is one; where there are several, --columns must name it.

        Logs that were tried again are left out.
        """
        # Of each log: tasks have scorers of their own. Of its first sample that has any: one that failed has none.
        found: set[tuple[str, ...]] = set()
        tries: dict[str, list[tuple[str, str]]] = {}  # task_id, which a retry keeps -> (created, eval_id) of its logs
        for log in records:
            first = next(log, None)
            if first is None:
                continue
            about = first["eval"]
            if about.get("task_id") and about.get("eval_id"):
                tries.setdefault(about["task_id"], []).append((str(about.get("created")), about["eval_id"]))
            found.add(tuple(_scored(itertools.chain([first], log))))
        retried = {name for logs in tries.values() for _, name in logs if name != max(logs)[1]}
        names = sorted({name for scorers in found for name in scorers})
        reward = "scores.*"
        if len(names) == 1:
            reward = f'scores["{names[0]}"]'
        elif all(len(scorers) < 2 for scorers in found):
            reward = "only_score"
        layout = dataclasses.replace(self.layout, reward=reward, rows="tried_again == 0" if retried else None)
        return dataclasses.replace(self, layout=layout, retried=frozenset(retried))

    def records(self, record: Row) -> Iterable[Row]:
        """A row for each sample of the log."""
        about = record["eval"]
        log = {"model": about.get("model"), "task": about["task"], "run": about.get("created")}
        if self.retried:
            log["tried_again"] = int(about.get("eval_id") in self.retried)
        for sample in record["samples"]:
            choices = (sample.get("output") or {}).get("choices") or [{}]
            scores = {name: _value(score) for name, score in (sample.get("scores") or {}).items()}
            message = choices[0].get("message") or {}
            # The request failed before the model said anything: no response, and nothing that could be scored.
            unanswered = bool(sample.get("error")) and not message and not scores
            target = sample["target"]
            yield {
                "prompt": _prompt(sample),
                "response": None if unanswered else content_text(message.get("content")),
                "ground_truth": target[0] if isinstance(target, list) and len(target) == 1 else target,
                "scores": scores or None,
                "only_score": next(iter(scores.values())) if len(scores) == 1 else None,
                "finish_reason": choices[0].get("stop_reason"),
                **log,
                "id": str(sample["id"]),
                "epoch": sample["epoch"],
                "metadata": sample.get("metadata") or None,
            }


def _scored(log: Iterator[Row]) -> Iterable[str]:
    """The names of the scorers of a log."""
    samples = (sample for record in log for sample in record.get("samples") or ())
    return next((scores for sample in samples if (scores := sample.get("scores"))), ())


def _value(score: Any) -> Any:
    value = score.get("value") if isinstance(score, dict) else score
    return next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else value


def _prompt(sample: dict[str, Any]) -> Any:
    """The prompt; of a question with choices the messages that the solver made, since the input lacks these."""
    asked = list(itertools.takewhile(lambda message: message["role"] != "assistant", sample.get("messages") or ()))
    return _messages(asked if sample.get("choices") and asked else sample["input"])


def _messages(prompt: Any) -> Any:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [{"role": message["role"], "content": content_text(message.get("content"))} for message in prompt]


register(
    Inspect(
        name="inspect",
        framework="inspect_ai logs",
        file="logs/*.eval, logs/*.json",
        lacks="data_source",
        requires=frozenset({"eval", "samples"}),
        suffixes=(EVAL, ".json"),
        layout=Layout(
            prompt="prompt",
            response="response",
            ground_truth="ground_truth",
            reward="scores.*",
            finish_reason="finish_reason",
            model="model",
            group=Group(("id",)),
            sample="epoch",
            steps=("model", "run"),
            tasks=("task",),
        ),
    )
)
