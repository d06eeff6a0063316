"""compare: analyses in, compare.json, compare.parquet and report.html out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from analyzer.config import ComparisonSettings
from analyzer.errors import ConfigError
from analyzer.files import outputs, storage
from analyzer.report.analysis import Analysis
from analyzer.report.comparison import Comparison, compared
from analyzer.report.comparison_page import render


def compare(settings: ComparisonSettings) -> Comparison:
    """Compare analyses; write compare.json, compare.parquet, report.html. Raises the errors of analyzer.errors."""
    analyses = [_opened(folder) for folder in settings.analyses]
    if len(analyses) < 2:
        raise ConfigError("--analyses: name two output folders of analyze_rollouts or more")
    for first, analysis in enumerate(analyses):
        if any(os.path.samefile(analysis.folder, other.folder) for other in analyses[:first]):
            raise ConfigError(f"--analyses: {analysis.folder} is named twice")
    compared_of = {"analyses": outputs.DIGEST + _digest(analyses), "seed": settings.seed}
    target = outputs.OutputFolder(settings.output_dir, compared_of)
    inputs = [str(analysis.folder / outputs.SUMMARY) for analysis in analyses]
    target.check(settings.overwrite, [], inputs[0], inputs)
    # --overwrite is for another comparison: an analysis would be gone whole.
    target.check_kept(outputs.PROBLEMS, "a comparison", "give another folder")
    found = compared(analyses, settings.seed)
    with target.staged(settings.overwrite) as folder, storage.storage_errors(settings.output_dir):
        import pyarrow.parquet as pq

        (folder / outputs.COMPARISON).write_bytes(found.to_json())
        pq.write_table(found.to_table(), folder / outputs.COMPARISON_TABLE, compression="zstd")
        (folder / outputs.REPORT).write_text(render(found), encoding="utf-8", errors="replace")
    return found


def _digest(analyses: Sequence[Analysis]) -> str:
    """Tells whether a comparison is of the same analyses: of what was scored, and of what was found."""
    digest = hashlib.sha256()
    # The fingerprint names what was scored, the summary what was found of it; neither changes when a folder is moved.
    for analysis in analyses:
        digest.update(str(analysis.provenance.get("fingerprint")).encode())
        digest.update((analysis.folder / outputs.SUMMARY).read_bytes())
    return digest.hexdigest()


def _opened(folder: str) -> Analysis:
    if storage.is_remote(folder):
        raise ConfigError(f"--analyses {folder}: copy the folder to this machine first")
    analysis = Analysis(Path(storage.local(folder)))
    _ = analysis.summary, analysis.problems  # raises InputError if there is none
    return analysis
