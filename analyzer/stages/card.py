"""card: README.md of the output folder, by which `datasets.load_dataset(output_dir)` and the hub read it.

Without it the datasets library would take all parquet files of the folder for parts of one data set.
"""

from __future__ import annotations

from collections.abc import Sequence

from analyzer.errors import counted
from analyzer.files import outputs

_FILES = (
    (outputs.PROBLEMS, "a row per problem: the training row, then `difficulty_*`; the default of `load_dataset`"),
    (outputs.ROLLOUTS, "a row per rollout, with its reward"),
    (outputs.TABLE, "the metrics alone"),
    (outputs.SUMMARY, "counts, settings, versions, warnings"),
)


def dataset_card(problems: int, rollouts: int, buckets: Sequence[str] | None) -> str:
    """The text of README.md. `buckets` names the buckets whose rollouts have files of their own; None: no rollouts."""
    configs = [("problems", outputs.PROBLEMS)]
    if buckets is not None:
        configs += [("rollouts", outputs.ROLLOUTS)]
        configs += [(f"rollouts_{bucket}", outputs.bucket_file(bucket)) for bucket in buckets]
    files = [(name, what) for name, what in _FILES if buckets is not None or name != outputs.ROLLOUTS]
    lines = ["---", "configs:"]
    for name, file in configs:
        lines += [f"- config_name: {name}", f"  data_files: {file}"]
        lines += ["  default: true"] if file == outputs.PROBLEMS else []
    return "\n".join(
        [
            *lines,
            "tags:",
            "- rollout-analyzer",
            "---",
            "",
            "# Difficulty of problems for one policy",
            "",
            f"{counted(problems, 'problem')} and {counted(rollouts, 'rollout')}, analyzed by rollout-analyzer.",
            "",
            "| file | what |",
            "|---|---|",
            *(f"| `{name}` | {what} |" for name, what in files),
            "",
            "    from datasets import load_dataset",
            "",
            '    problems = load_dataset("PATH", split="train")',
            *(['    rollouts = load_dataset("PATH", "rollouts", split="train")'] if buckets is not None else []),
            "",
        ]
    )
