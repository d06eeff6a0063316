"""Files of scores: a status is stored by its name, so that no later version of the program reads another one."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.cache import score_files
from analyzer.cache.score_files import ShardFooter, SourceCount
from analyzer.errors import AnalyzerError
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
        [None] * len(rows),
        ["gsm8k"] * len(rows),
        np.zeros(len(rows), dtype=np.int8),
        rows.astype(np.uint64),
        np.full(len(rows), np.nan),
        {"part": rows.astype(np.float64)},
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
    """Write the file again with another footer, sealed as its writer would have."""
    table = pq.read_table(path)
    said = orjson.loads(table.schema.metadata[b"analyzer.shard"])
    changed = {b"analyzer.shard": orjson.dumps({**said, **values})}
    path.write_bytes(score_files.parquet_bytes(table.replace_schema_metadata(changed)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of scores, byte for byte."""
    path = tmp_path_factory.mktemp("scores") / "shard"
    write(path, STATUSES)
    return path.read_bytes()


@given(st.data())
def test_a_file_in_which_any_byte_is_another_or_missing_is_scored_again(whole: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytes([whole[at] ^ data.draw(st.integers(1, 255))])
    damaged = data.draw(
        st.sampled_from(
            [whole[:at] + flipped + whole[at + 1 :], whole[:at], whole[:at] + whole[at + 1 :], whole + flipped]
        )
    )
    with tempfile.NamedTemporaryFile() as file:
        file.write(damaged)
        file.flush()
        assert score_files.committed(file.name, FINGERPRINT, 0) is None
        with pytest.raises(AnalyzerError, match="the cache is damaged"):
            score_files.read(file.name)
        file.seek(0)
        file.write(whole)
        file.truncate()
        file.flush()
        assert score_files.committed(file.name, FINGERPRINT, 0) is not None
