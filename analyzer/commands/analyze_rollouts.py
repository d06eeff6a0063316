"""analyze_rollouts: rollouts in; rewards, metrics per problem and difficulty buckets out."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from analyzer.commands.command import Command
from analyzer.commands.running import check_addresses, fail
from analyzer.config import AnalysisSettings
from analyzer.errors import EXIT_OK, AnalyzerError, printable
from analyzer.files import inputs, storage
from analyzer.files.outputs import CARD, REPORT
from analyzer.progress import YELLOW, coloured
from analyzer.rollouts.sizes import USUAL, Sizes

if TYPE_CHECKING:
    from analyzer.result import Result

_COMPRESSED = 8  # times smaller than in memory a file may be


def analyze_rollouts(argv: Sequence[str] | None = None) -> int:
    """The command analyze_rollouts; returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["cache"]:  # it has flags of its own
        from analyzer.commands import cache

        return cache.COMMAND.main(words[1:])
    return COMMAND.main(argv)


def analyze(settings: AnalysisSettings, sizes: Sizes = USUAL) -> int:
    """Analyse, or say what would be done; returns the exit code."""
    from analyzer import pipeline

    if settings.dry_run or settings.explain_cache:
        print("\n".join(pipeline.explain(settings, sizes)))
        return EXIT_OK
    result = pipeline.analyze(settings, sizes=sizes)
    if result is None:
        print(f"part {settings.part} is scored", file=sys.stderr)
        return EXIT_OK
    code = show(result)
    print(where_to_look(settings), file=sys.stderr)
    return code


@contextlib.contextmanager
def ahead(settings: AnalysisSettings, sizes: Sizes = USUAL) -> Iterator[None]:
    """A context in which other processes load what is likely to be needed: a new tokenizer, and what workers import."""
    check_addresses()
    if settings.dry_run or settings.explain_cache:
        yield
        return
    from analyzer.cache import known_tokenizers
    from analyzer.workers import backends

    if settings.limit is None and _is_large(settings.rollouts, sizes.ahead // _COMPRESSED):
        backends.start(settings.workers, "analyzer.stages.score:load_modules")
    try:
        with known_tokenizers.loading_early(settings.model_path, settings.trust_remote_code, settings.cache_dir):
            yield
    finally:
        backends.end(settings.workers)


def _is_large(rollouts: str, least: int) -> bool:
    """Whether there are so many bytes of rollouts; a guess for a URL, since to ask takes longer than a start."""
    try:
        return storage.is_remote(rollouts) or sum(map(os.path.getsize, inputs.find(rollouts))) >= least
    except (AnalyzerError, OSError):  # the first step says what is wrong with them
        return False


def where_to_look(settings: AnalysisSettings) -> str:
    """The last line: where the outputs are, and what to open first."""
    folder = settings.output_dir.rstrip("/") or "/"
    first = f"{folder}/{CARD}, which says what each file holds" if settings.no_report else f"{folder}/{REPORT}"
    return printable(f"Outputs: {folder}; open {first}")


def show(result: Result) -> int:
    """Print the summary; returns the exit code."""
    print(result.summary.to_text(), end="", flush=True)
    # The last section alone is coloured: a page of yellow would be read as a failure.
    remarks, heading, warnings = result.summary.remarks().partition("\nWarnings:\n")
    print(remarks + coloured(heading + warnings, YELLOW, sys.stderr), end="", file=sys.stderr)
    if result.exit_code != EXIT_OK:
        fail(
            f"{result.summary.unscored_share:.2%} of the rollouts have no reward, more than --max_unscored "
            f"{result.max_unscored:.2%}; all outputs are written"
        )
    return result.exit_code


COMMAND = Command(
    name="analyze_rollouts",
    settings=AnalysisSettings,
    summary="rollouts -> rewards, difficulty, buckets, report",
    description="Score rollouts, measure how hard each problem is for this policy, and put problems into buckets. "
    "Scores are cached: another strategy scores nothing again. `analyze_rollouts cache` lists and removes cached runs.",
    example="--rollouts rollouts.parquet --model_path Qwen/Qwen3-8B --output_dir analysis",
    call=analyze,
    ahead=ahead,
    unscored="done, but too many rollouts have no reward (--max_unscored)",
    resumes=True,
)
