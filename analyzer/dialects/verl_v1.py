"""Rollouts and validation generations of verl's v1 trainer: a line for each output of an agent loop.

    {"input": "...", "output": "...", "gts": "7", "score": 1.0, "step": 1, "uid": "4f1c_2_0"}

uid is `{problem}_{rollout}_{output}`. An agent loop that compacts its context has several outputs in one rollout; the
trainer computes advantages and validation scores from the last of them, so the others are not rollouts of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from analyzer.dialects import Dialect, Row, Settings, register
from analyzer.dialects.table import VERL

_UID = r"^(.*)_\d+_\d+$"


@dataclass(frozen=True, kw_only=True)
class VerlV1(Dialect):
    """Reads the last output of each rollout."""

    earlier: frozenset[str] = frozenset()  # uids of outputs that are not the last of their rollout

    def prepared(self, records: Iterator[Iterator[Row]], settings: Settings) -> Dialect:
        """With the outputs that others follow, and a condition that leaves them out, where there are any."""
        earlier: set[str] = set()
        for file in records:
            last: dict[str, int] = {}  # rollout -> the number of its last output
            for uid in (record.get("uid") for record in file):
                rollout, _, number = str(uid).rpartition("_")
                if number.isdigit():
                    before = last.get(rollout, int(number))
                    last[rollout] = max(before, int(number))
                    if before != int(number):
                        earlier.add(f"{rollout}_{min(before, int(number))}")
        if not earlier:
            return self
        layout = dataclasses.replace(self.layout, rows="final_output == 1")
        return dataclasses.replace(self, earlier=frozenset(earlier), layout=layout)

    def records(self, record: Row) -> Iterable[Row]:
        """The row itself; where some are not the last output of their rollout, whether this one is."""
        if not self.earlier:
            return (record,)
        return ({**record, "final_output": int(record["uid"] not in self.earlier)},)


def _v1(name: str, title: str, flag: str, *more: str) -> VerlV1:
    return VerlV1(
        name=name,
        framework=f"verl v1 {title}",
        file=f"trainer.{flag}/{{step}}.jsonl of the v1 trainer",
        lacks="data_source, chat prompts (they are rendered text: --join)",
        requires=frozenset({"input", "output", "gts", "score", "uid", *more}),
        layout=VERL.with_columns({"group": {"regex": _UID, "of": "uid"}}),
    )


register(_v1("verl_rollouts_v1", "rollouts", "rollout_data_dir"))
register(_v1("verl_validation_v1", "validation generations", "validation_data_dir", "reward"))
