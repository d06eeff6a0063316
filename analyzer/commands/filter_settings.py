"""The flags of filter_difficulty: those of generation, analysis and selection as one command, and sorted into three."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import Any, get_type_hints

from analyzer.config import AnalysisSettings, SelectionSettings
from analyzer.errors import ConfigError
from analyzer.generation.settings import GenerationSettings
from analyzer.selection import formats

ROLLOUTS = "rollouts.parquet"
# A share of the shards cannot be selected from.
_OF_ANALYSIS_ONLY = ("part",)
_OF_GENERATION_ONLY = ("output_path", "top_up")  # the analysis's --top_up, which writes such a list, has its name
_OF_SELECTION_ONLY = ("analysis", "seed", "overwrite", "dry_run")  # given by the other two
_GENERATION = {field.name: field for field in dataclasses.fields(GenerationSettings)}
_ANALYSIS = {field.name: field for field in dataclasses.fields(AnalysisSettings)}
_SELECTION = {f.name: f for f in dataclasses.fields(SelectionSettings) if f.name not in _OF_SELECTION_ONLY}
_HELP = {  # where the three commands together mean more than the analysis alone
    "model_path": "the policy: a folder, or the name of a model in the hub cache; its tokenizer counts tokens, and "
    "without --use_vllm it generates",
    "trust_remote_code": "run code that comes with the model",
    "seed": "seed of sampling (none unless given), and of the analysis (42 unless given)",
}
SELECTED = "selected"  # in output_dir, unless --output is given


def _flags() -> list[tuple[str, Any, Any]]:
    """The flags of the three commands; those that generation and analysis share are the analysis's, with its help.

    But for the seed: sampling has one only where it is asked for, since not every server can serve a request with one.
    """
    classes = (SelectionSettings, GenerationSettings, AnalysisSettings)
    kinds = {name: kind for cls in classes for name, kind in get_type_hints(cls).items()} | {"seed": int | None}
    named = {name: field for name, field in _GENERATION.items() if name not in _OF_GENERATION_ONLY}
    named |= {name: field for name, field in _ANALYSIS.items() if name not in _OF_ANALYSIS_ONLY}
    named |= _SELECTION
    made = []
    for name, field in named.items():
        default = None if field.default is dataclasses.MISSING else field.default
        metadata = {**field.metadata, "required": name in ("model_path", "output_dir")}
        if name == "seed":
            default = None
        if name in _HELP:
            metadata["help"] = _HELP[name]
        made.append((name, kinds[name], dataclasses.field(default=default, metadata=metadata)))
    return made


FLAGS = dataclasses.make_dataclass("FilterFlags", _flags(), frozen=True, kw_only=True)
"""The settings class of the parser: a flag per field of the three settings, sorted into them by `FilterSettings.of`."""


@dataclass(frozen=True)
class FilterSettings:
    """The settings of filter_difficulty: those of the three commands that it runs."""

    generation: GenerationSettings | None  # None: the rollouts are given
    analysis: AnalysisSettings
    selection: SelectionSettings | None  # None: nothing is to be selected

    @classmethod
    def of(cls, flags: Any) -> FilterSettings:
        """Sort flags into the settings of the three commands. Raises ConfigError where they contradict each other."""
        if flags.rollouts is not None and flags.data_path is not None:
            raise ConfigError("--rollouts and --data_path: give one: existing rollouts, or data to generate them from")
        if flags.rollouts is None and flags.data_path is None:
            raise ConfigError("--data_path is required: training data to generate rollouts from (or --rollouts)")
        # In the output folder, so that the same command finds them again.
        path = os.path.join(flags.output_dir, ROLLOUTS)
        generation = None
        if flags.rollouts is None:
            values = {name: getattr(flags, name) for name in _GENERATION if name not in _OF_GENERATION_ONLY}
            generation = GenerationSettings(**values, output_path=path)
        names = [name for name in _ANALYSIS if name not in (*_OF_ANALYSIS_ONLY, "rollouts")]
        # None stands for "not given": the analysis has defaults of its own, which are not None.
        given = {name: value for name in names if (value := getattr(flags, name)) is not None}
        analysis = AnalysisSettings(**given, rollouts=flags.rollouts or path, part=None)
        selection = _selection(flags)
        _check_replaced(selection, flags.data_path or flags.rollouts, path)
        from analyzer.selection.formats._responses import ResponseFormat

        wanted = selection.format if selection is not None else None
        if wanted is not None and analysis.outputs != "all" and issubclass(formats.find(wanted), ResponseFormat):
            raise ConfigError(
                f"--format {wanted} takes responses from the rollouts, which --outputs problems leaves out: leave out "
                "--outputs, or choose another format"
            )
        return cls(generation, analysis, selection)


def _check_replaced(selection: SelectionSettings | None, given: str, rollouts: str) -> None:
    """Raise ConfigError where a selection would replace its own input, even with --overwrite."""
    if selection is None:
        return
    for flag, path in (("--output", selection.output), ("--control", selection.control)):
        for read in (given, rollouts):
            if path is not None and os.path.realpath(path) == os.path.realpath(read):
                raise ConfigError(f"{flag} {path}: is read by this command, and would be replaced; give another name")


def _selection(flags: Any) -> SelectionSettings | None:
    """The selection's part of the flags; None where nothing is to be selected."""
    # What differs from its default was given: naming any rule or format is what asks for a selection.
    given = {name: value for name, f in _SELECTION.items() if (value := getattr(flags, name)) != f.default}
    if not given:
        return None
    ending = formats.find(flags.format).endings[0] if flags.format else ".parquet"
    given.setdefault("output", os.path.join(flags.output_dir, SELECTED + ending))
    seed = {} if flags.seed is None else {"seed": flags.seed}
    return SelectionSettings(analysis=flags.output_dir, overwrite=flags.overwrite, **seed, **given)
