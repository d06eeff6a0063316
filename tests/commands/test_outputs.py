"""--outputs problems: everything but the copies of the text, and what that leaves to the other commands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import analyzer
from analyzer.commands.analyze_rollouts import analyze_rollouts
from analyzer.commands.compare_analyses import compare_analyses
from analyzer.commands.filter_difficulty import filter_difficulty
from analyzer.commands.select_problems import select_problems
from analyzer.commands.view_analysis import view_analysis
from analyzer.errors import EXIT_OK, EXIT_USER, UserError
from analyzer.files import outputs
from analyzer.report import texts
from analyzer.report.analysis import Analysis
from tests.commands import SAMPLE, TOKENIZER, flags

OF_RUN = {outputs.PROVENANCE, outputs.TIMINGS, outputs.REPORT, outputs.MANIFEST}
Analyze = Callable[..., Path]


@pytest.fixture(scope="module")
def analyzed(tmp_path_factory: pytest.TempPathFactory) -> Analyze:
    """The command on the sample, into a folder of that name; scored once for all of them."""
    place = tmp_path_factory.mktemp("outputs")

    def run(name: str, **more: object) -> Path:
        words = flags(
            rollouts=SAMPLE, model_path=TOKENIZER, n_jobs=1, cache_dir=place / "cache", output_dir=place / name, **more
        )
        assert analyze_rollouts(words) == EXIT_OK
        return place / name

    return run


@pytest.fixture(scope="module")
def both(analyzed: Analyze) -> tuple[Path, Path]:
    return analyzed("all"), analyzed("problems", outputs="problems")


def test_what_is_written_has_the_bytes_it_has_beside_the_rollouts(both: tuple[Path, Path]) -> None:
    everything, problems = ({path.name for path in folder.iterdir()} for folder in both)
    assert everything - problems == {name for name in everything if name.startswith("rollouts_")}
    assert not problems - everything
    for name in sorted(problems - OF_RUN - {outputs.CARD}):
        assert (both[0] / name).read_bytes() == (both[1] / name).read_bytes(), name


def test_the_card_names_no_file_that_is_not_there(both: tuple[Path, Path]) -> None:
    assert "rollouts_with_rewards" in (both[0] / outputs.CARD).read_text()
    assert "rollouts_" not in (both[1] / outputs.CARD).read_text()


def test_the_page_that_the_analysis_writes_has_the_texts_and_charts_all_the_same(both: tuple[Path, Path]) -> None:
    pages = [(folder / outputs.REPORT).read_text() for folder in both]
    for part in ("Lengths of right and wrong responses", 'id="texts">', "Pass rate by length"):
        assert [part in page for page in pages] == [True, True], part
    packed = [page.partition('id="texts">')[2].partition("<")[0] for page in pages]
    assert packed[0] == packed[1]


def test_a_page_made_later_says_that_the_texts_are_not_there(
    analyzed: Analyze, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = analyzed("later", outputs="problems")
    assert view_analysis(["--analysis", str(folder), "--report_only"]) == EXIT_OK
    said = capsys.readouterr()
    assert "written without its rollouts (--outputs problems)" in said.err
    assert "written without its rollouts" in (folder / outputs.REPORT).read_text()
    assert len(texts.choose_problems(Analysis(folder), 42)) == 0


def test_show_says_that_the_responses_are_not_there(
    both: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert view_analysis(["--analysis", str(both[1]), "--show", "all", "-n", "1"]) == EXIT_OK
    said = capsys.readouterr().out
    assert "no responses here: the analysis was written without its rollouts (--outputs problems)" in said
    assert "ground truth: " in said
    assert "ground truth: (none)" not in said


@pytest.mark.parametrize("kind", ["sft", "dpo", "kto"])
def test_formats_of_responses_say_what_to_run(
    both: tuple[Path, Path], tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = flags(analysis=both[1], output=tmp_path / "train.jsonl", format=kind, where="pass_rate < 0.9")
    assert select_problems(words) == EXIT_USER
    said = capsys.readouterr().err
    assert "was written without it (--outputs problems)" in said
    assert "nothing is scored again" in said
    assert len(said.splitlines()) == 1


def test_problems_are_selected_as_from_the_whole_analysis(both: tuple[Path, Path], tmp_path: Path) -> None:
    written = []
    for number, folder in enumerate(both):
        output = tmp_path / str(number) / "train.parquet"
        output.parent.mkdir()
        assert select_problems(flags(analysis=folder, output=output, where="pass_rate < 0.9")) == EXIT_OK
        written.append(output.read_bytes())
    assert written[0] == written[1]


def test_comparisons_are_those_of_the_whole_analyses(both: tuple[Path, Path], tmp_path: Path) -> None:
    words = ["--analyses", str(both[0]), str(both[1]), "--output_dir", str(tmp_path / "compared")]
    assert compare_analyses(words) == EXIT_OK
    found = analyzer.compare(list(map(str, both)), output_dir=str(tmp_path / "again"))
    assert found.changed_bucket == 0
    assert not found.warnings  # rewards of 0 and 1 are known from the passes


def test_a_folder_with_rollouts_is_not_stripped_of_them_unasked(
    analyzed: Analyze, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = analyzed("kept")
    words = flags(rollouts=SAMPLE, model_path=TOKENIZER, n_jobs=1, cache_dir=folder.parent / "cache", output_dir=folder)
    assert analyze_rollouts([*words, "--outputs", "problems"]) == EXIT_USER
    assert "which --outputs problems would remove" in capsys.readouterr().err
    assert (folder / outputs.ROLLOUTS).exists()
    assert analyze_rollouts([*words, "--outputs", "problems", "--overwrite"]) == EXIT_OK
    assert not (folder / outputs.ROLLOUTS).exists()
    assert analyze_rollouts(words) == EXIT_OK  # and back, which takes nothing from anybody
    assert (folder / outputs.ROLLOUTS).exists()


def test_python_has_it_too(analyzed: Analyze, tmp_path: Path) -> None:
    cache = analyzed("python").parent / "cache"
    found = analyzer.analyze(
        rollouts=str(SAMPLE),
        model_path=str(TOKENIZER),
        n_jobs=1,
        cache_dir=str(cache),
        output_dir=str(tmp_path / "out"),
        outputs="problems",
    )
    assert len(found.problems) == found.summary.total_problems
    with pytest.raises(UserError, match="outputs='all'"):
        _ = found.rollouts


def test_filter_difficulty_refuses_formats_of_responses_before_it_generates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = flags(rollouts=SAMPLE, model_path=TOKENIZER, output_dir=tmp_path / "out", format="sft", outputs="problems")
    assert filter_difficulty(words) == EXIT_USER
    assert "--outputs problems" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
