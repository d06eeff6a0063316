"""What filter_difficulty does: generate, analyse, select; in a module of its own, since --help needs none of it."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import orjson

from analyzer import generation, pipeline
from analyzer.commands import analyze_rollouts, select_problems
from analyzer.commands.filter_checks import Coming, check_all, check_grammar, check_selection
from analyzer.commands.filter_settings import FilterSettings
from analyzer.commands.generate_rollouts import again
from analyzer.commands.preview import preview
from analyzer.config import AnalysisSettings
from analyzer.errors import EXIT_OK, EXIT_UNSCORED, ConfigError, OutputError, counted
from analyzer.files import storage
from analyzer.files.outputs import PROVENANCE
from analyzer.generation import Generated, GenerationSettings
from analyzer.plan import Plan
from analyzer.rollouts.input import Input
from analyzer.rollouts.numbering import Numbering
from analyzer.selection.select import select


def generate_analyse_select(settings: FilterSettings) -> int:
    """Generate (or take --rollouts), analyse, and select where a rule or a format is given; returns the exit code.

    Run again, it goes on where it stopped, in any of the three.
    """
    generation, analysis = settings.generation, settings.analysis
    # Whatever can be wrong about the second and third step is found before the first, which takes hours of a GPU.
    if generation is None:
        check_grammar(settings.selection)
    else:
        check_all(settings, generation)
    if analysis.dry_run or analysis.explain_cache:
        if analysis.dry_run and generation is not None:
            print(preview(generation))
            return EXIT_OK
        return analyze_rollouts.analyze(analysis)

    def planned(plan: Plan, opened: Input, numbering: Numbering) -> None:
        if settings.selection is not None:  # with --rollouts, only now it is known what their columns are
            coming = Coming(opened.dataset.schema, plan.rewards.values(), plan.gold_column, numbering.most_rows())
            check_selection(settings.selection, coming, analysis.data_source)

    # Then the three steps as the three commands do them; each finds what it has done before.
    done = None if generation is None else _generate(generation, analysis.output_dir)
    if done is not None and not done.rollouts:
        print(
            f"error: no prompt has rollouts, see {done.failures} ({done.first_failure}); nothing was analyzed; "
            f"{_of_the_folder(again(done.failed, done.unusable))}",
            file=sys.stderr,
        )
        return EXIT_UNSCORED
    grown = generation is not None and _holds_an_analysis_of_its_rollouts(analysis)
    result = pipeline.analyze(analysis, grown=grown, planned=planned)
    if result is None:
        raise ConfigError("--part has no meaning here")
    code = analyze_rollouts.show(result)
    if settings.selection is not None:
        select_problems.show(select(settings.selection))
    print(analyze_rollouts.where_to_look(analysis), file=sys.stderr)
    if done is not None and done.failed:
        print(
            f"error: {counted(done.failed, 'prompt lacks', 'prompts lack')} rollouts; "
            f"{_of_the_folder(again(done.failed, done.unusable))}",
            file=sys.stderr,
        )
        return EXIT_UNSCORED
    return code


def _generate(wanted: GenerationSettings, folder: str) -> Generated:
    storage.make_folder(folder)
    try:  # --overwrite is for what differs: rollouts of the same settings are kept
        done = generation.run(dataclasses.replace(wanted, overwrite=False))
    except OutputError as error:
        if not wanted.overwrite:
            raise OutputError(_of_the_folder(str(error))) from None
        done = generation.run(wanted)
    new = f"{done.complete}; nothing was requested" if done.complete else f"{done.asked} new"
    print(f"{done.path}: {counted(done.rollouts, 'rollout')}, {new}", file=sys.stderr)
    return done


def _of_the_folder(advice: str) -> str:
    """Advice of the generation by the flag that this command has: its rollouts are in the output folder."""
    return advice.replace("another --output_path", "another --output_dir")


def _holds_an_analysis_of_its_rollouts(analysis: AnalysisSettings) -> bool:
    """Whether the outputs in the folder are of the rollouts file in it.

    It is written anew when prompts that had failed are tried again: the same command must then go on.
    """
    try:
        provenance = orjson.loads((Path(analysis.output_dir) / PROVENANCE).read_bytes())
        paths = [os.path.join(provenance["working_directory"], path) for path in provenance["rollouts"]]
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return False
    return [os.path.realpath(path) for path in paths] == [os.path.realpath(analysis.rollouts)]
