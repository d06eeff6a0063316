"""Files of scores: a status is stored by its name, so that no later version of the program reads another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest

from analyzer.cache import score_files
from analyzer.cache.score_files import ShardFooter, SourceCount
from analyzer.schema import STATUSES, Status

FINGERPRINT = "f" * 32


def write(path: Path, statuses: tuple[Status, ...]) -> None:
    """A file of one rollout of each status."""
    rows = np.arange(len(statuses))
    scores = score_files.Scores(
        rows,
        np.where([status is Status.OK for status in statuses], 1.0, np.nan),
        np.array([STATUSES.index(status) for status in statuses], dtype=np.int8),
        rows.astype(np.int32),
        rows >= 0,
        [],
    )
    source = SourceCount(len(rows), len(rows), (), {"timeout": (2, "over 5 s")})
    score_files.write(str(path), ShardFooter(FINGERPRINT, 0, len(rows), {"gsm8k": source}), scores)


def read_statuses(path: Path) -> list[Status]:
    return [STATUSES[code] for code in score_files.read(str(path))[0].statuses]


def test_statuses_survive_an_order_that_changed_since(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a status was added in the middle of schema.Status: `timeout` would have become `limit`."""
    write(tmp_path / "shard", STATUSES)
    assert read_statuses(tmp_path / "shard") == list(STATUSES)
    turned = STATUSES[::-1]
    monkeypatch.setattr(score_files, "STATUSES", turned)
    found = [turned[code] for code in score_files.read(str(tmp_path / "shard"))[0].statuses]
    assert found == list(STATUSES)


def test_a_status_of_a_later_version_makes_the_file_no_score_of_ours(tmp_path: Path) -> None:
    write(tmp_path / "shard", STATUSES)
    assert score_files.committed(str(tmp_path / "shard"), FINGERPRINT, 0)
    change_footer(tmp_path / "shard", statuses=[*STATUSES, "bored"])
    assert not score_files.committed(str(tmp_path / "shard"), FINGERPRINT, 0)


@pytest.mark.parametrize(
    "damage",
    [{"statuses": None}, {"sources": {"gsm8k": 1}}, {"sources": []}, {"rows": 3}, {"fingerprint": None}, {"shard": 1}],
    ids=str,
)
def test_a_footer_that_is_not_as_written_is_no_whole_file_and_no_crash(
    tmp_path: Path, damage: dict[str, object]
) -> None:
    write(tmp_path / "shard", STATUSES)
    change_footer(tmp_path / "shard", **damage)
    assert not score_files.committed(str(tmp_path / "shard"), FINGERPRINT, 0)


def change_footer(path: Path, **values: object) -> None:
    table = pq.read_table(path)
    said = orjson.loads(table.schema.metadata[b"analyzer.shard"])
    pq.write_table(table.replace_schema_metadata({b"analyzer.shard": orjson.dumps({**said, **values})}), path)
