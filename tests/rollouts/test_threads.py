"""Reading on a node that allows no more threads."""

from __future__ import annotations

from pathlib import Path

from tests import processes
from tests.grading.sandbox.test_threads import group

__all__ = ["group"]

SAMPLE = Path(__file__).parents[2] / "examples" / "sample" / "rollouts.parquet"
SCRIPT = """
import os, sys
from pathlib import Path
import pyarrow.compute, pyarrow.dataset
from analyzer.rollouts.dataset import Reader, file_at
files = (file_at(sys.argv[2]),)
Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
Path(sys.argv[1], "pids.max").write_text("1")
try:
    print(sum(batch.num_rows for _, batch in Reader(files, ["data_idx", "response"]).all()))
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_file_that_arrow_finds_no_thread_for_is_not_called_damaged(group: Path) -> None:
    done = processes.run(["-c", SCRIPT, group, SAMPLE], brief=False, check=True)
    assert done.stdout.strip() == "RuntimeError can't start new thread"
