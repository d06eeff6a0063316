"""Something to look at: one self-contained page per analysis, a viewer of all its text, a comparison of several.

    write_report("analysis")        # report.html from the files of an output folder; nothing is scored

The page is drawn from problem_metrics.parquet, summary.json and row ranges of rollouts_with_rewards.parquet, so an
analysis made earlier can have its report made again.
"""

from analyzer.report.analysis import Seen
from analyzer.report.build import fragment, write_report
from analyzer.report.templating import layout

__all__ = ["Seen", "fragment", "layout", "write_report"]
