"""The result of an analysis, for those who call it from Python."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analyzer.errors import EXIT_OK, EXIT_UNSCORED, ConfigError
from analyzer.files import outputs
from analyzer.registry import unknown
from analyzer.stages.summary import Summary

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Result:
    """What a run found; the DataFrames are read from its outputs when they are asked for."""

    output_dir: str
    summary: Summary  # as in summary.json
    max_unscored: float
    scored: int  # rollouts scored by this call
    reused: int  # rollouts whose scores an earlier run had committed
    outputs: str = "all"  # which files were written

    @property
    def exit_code(self) -> int:
        """0, or 3 where over --max_unscored of the rollouts have no reward, or of the problems less than half."""
        worst = max(self.summary.unscored_share, self.summary.mostly_unscored_share)
        return EXIT_UNSCORED if worst > self.max_unscored else EXIT_OK

    @functools.cached_property
    def problems(self) -> pd.DataFrame:
        """One row per problem, ascending by data_idx: data_idx, bucket and the metrics (columns of the README)."""
        return self._frame(outputs.TABLE)

    @functools.cached_property
    def rollouts(self) -> pd.DataFrame:
        """One row per rollout in input order: the input's columns with reward, reward_status, response_tokens.

        Raises ConfigError where they were not written (outputs="problems").
        """
        return self._frame(outputs.ROLLOUTS)

    def bucket(self, name: str) -> pd.DataFrame:
        """The rollouts of one bucket. Raises ConfigError for a name that the strategy does not have."""
        if name not in self.summary.bucket_distribution:
            raise unknown("bucket", name, self.summary.bucket_distribution)
        return self._frame(outputs.bucket_file(name))

    def _repr_html_(self) -> str:
        """What a notebook shows: the top of report.html, or the summary as text where the outputs are remote."""
        from html import escape

        from analyzer import report
        from analyzer.files import storage

        if storage.is_remote(self.output_dir):
            return f"<pre>{escape(self.summary.to_text())}</pre>"
        return report.fragment(storage.local(self.output_dir))

    def _frame(self, name: str) -> pd.DataFrame:
        import pandas as pd

        if name != outputs.TABLE and self.outputs != "all":
            raise ConfigError(
                f"{self.output_dir} holds no rollouts: it was written with outputs='problems'; analyze with "
                "outputs='all', nothing is scored again"
            )
        return pd.read_parquet(os.path.join(self.output_dir, name))
