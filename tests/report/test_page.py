"""The page: what it says is what the analysis found, and text of a model is inert in it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html.parser
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import analyzer
from analyzer.errors import InputError
from analyzer.report import analysis as reading
from analyzer.report import build, figures, lengths, packed, templating, texts, write_report
from analyzer.report.analysis import Analysis, Written
from analyzer.report.harmless import visible
from analyzer.rollouts import dataset
from analyzer.selection.recipes import RECIPES
from tests.commands import Outcome, analyzed, parquet

SAMPLE = Path(__file__).resolve().parents[2] / "examples" / "sample"
HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "{{7*7}} ]]> <!-- &lt;",
    "\u202egnp.exe \u200b\x1b]0;owned\x07",
    "=cmd|' /C calc'!A0",
)


class Page(html.parser.HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        {"script": self.scripts, "style": self.styles}.get(self._inside, self.text).append(data)

    def part(self, name: str) -> bytes:
        """What a data block holds."""
        at = [attrs.get("id") for tag, attrs in self.elements if tag == "script"].index(name)
        return base64.b64decode(self.scripts[at])


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An analysis of the bundled sample."""
    import analyzer

    folder = tmp_path_factory.mktemp("sample")
    analyzer.analyze(
        rollouts=SAMPLE / "rollouts.parquet",
        model_path=SAMPLE / "tokenizer",
        output_dir=folder / "out",
        cache_dir=folder / "cache",
        backend="sequential",
    )
    return folder / "out"


@pytest.fixture(scope="module")
def page(sample: Path) -> Page:
    """The page of that analysis."""
    return page_of(sample)


def page_of(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def test_the_page_loads_nothing_and_runs_its_own_script_alone(page: Page) -> None:
    policy = next(attrs["content"] for tag, attrs in page.elements if attrs.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    program = next(text for text in page.scripts if '"use strict"' in text)
    assert base64.b64encode(hashlib.sha256(program.encode()).digest()).decode() in policy
    assert base64.b64encode(hashlib.sha256("".join(page.styles).encode()).digest()).decode() in policy
    outside = [attrs for _, attrs in page.elements if attrs.get("src") or str(attrs.get("href", "#"))[:1] != "#"]
    assert outside == []
    handlers = [name for _, attrs in page.elements for name in attrs if name.startswith("on") or name == "style"]
    assert handlers == []


def test_the_columns_in_the_page_are_those_of_the_analysis(page: Page, sample: Path) -> None:
    analysis = Analysis(sample)
    data = gzip.decompress(page.part("columns"))
    problems = analysis.problems.num_rows
    passes = np.frombuffer(data, "u1", problems)  # the low bytes come first, and these are below 256
    scored = np.frombuffer(data, "u1", problems, 2 * problems)
    assert (passes / scored).tolist() == pytest.approx(analysis.problems["pass_rate"].to_pylist())
    meta = json.loads(page.part("meta"))
    assert meta["integer_ids"]
    planes = np.frombuffer(data, "u1", 4 * problems, (3 * 2 + 2 * 1 + 4 + 2 * 2) * problems)
    steps = np.ascontiguousarray(planes.reshape(4, problems).T).view("<i4").reshape(-1)
    assert np.cumsum(steps).tolist() == analysis.problems["data_idx"].to_pylist()
    assert meta["buckets"] == ["hard", "medium-hard", "medium-easy", "easy"]
    assert meta["problems"] == problems


GRADED: dict[
    str, list[float | None]
] = {  # rewards of each problem: what differs below the threshold, hovers about 0.9, or is equal
    "all fail and differ": [0.0, 0.1, 0.4],
    "all pass and differ": [0.6, 0.9, 1.0],
    "equal and not 0 or 1": [0.7, 0.7, 0.7],
    "mean of exactly 0.9": [0.8, 0.9, 1.0],
    "mixed, with a mean above the rate": [3.0, 3.0, -1.0],
    "one rollout": [1.0],
    "none is scored": [None, None],
}


@pytest.mark.parametrize("kept", [list(GRADED), ["all fail and differ"], ["one rollout"], ["none is scored"]], ids=len)
def test_a_published_rule_keeps_in_the_page_what_it_keeps_in_the_command(tmp_path: Path, kept: list[str]) -> None:
    row = {"prompt": "1 + 1?", "response": "2", "original_data_source": "sums"}
    rows = [
        {**row, "prompt": f"{number} + 1?", "data_idx": number, "sample_idx": sample, "reward": reward}
        for number, name in enumerate(kept)
        for sample, reward in enumerate(GRADED[name])
    ]
    analyzed(tmp_path, rows, outputs="problems")
    page = page_of(tmp_path / "out")
    meta, data = json.loads(page.part("meta")), gzip.decompress(page.part("columns"))
    start = (3 * 2 + 2 * 1 + 4 + 2 * 2 + 2 * bool(meta["statuses"])) * len(kept)
    if meta["rules"] is None:
        planes = np.frombuffer(data, "u1", 4 * len(kept), start).reshape(4, len(kept))
        bits = np.ascontiguousarray(planes.T).view("<u4").reshape(-1)
    else:
        passes, scored = Analysis(tmp_path / "out").passes
        pairs = {(k, n): bits for k, n, bits in meta["rules"]}
        bits = np.array([pairs[k, n] for k, n in zip(passes.tolist(), scored.tolist(), strict=True)])
    assert (meta["rules"] is None) == (len(kept) > 1), "graded rewards of equal passes differ"
    assert {recipe.name for recipe in RECIPES if recipe.where and "'" not in recipe.where} == {
        recipe["name"] for recipe in meta["recipes"]
    }
    for bit, recipe in enumerate(meta["recipes"]):
        shown = np.flatnonzero(bits >> bit & 1).tolist()
        output = tmp_path / f"{recipe['name']}.parquet"
        if not shown:
            with pytest.raises(InputError, match="keeps no problem"):
                analyzer.select(analysis=tmp_path / "out", output=output, where=recipe["where"])
        else:
            analyzer.select(analysis=tmp_path / "out", output=output, where=recipe["where"])
            assert [f"{number} + 1?" for number in shown] == pq.read_table(output)["prompt"].to_pylist()


@pytest.mark.parametrize(("known", "shown"), [({}, "–"), ({"finish_reason": "stop"}, "0.0 %")])
def test_a_share_of_cut_off_responses_that_nobody_knows_is_not_zero(
    tmp_path: Path, known: dict[str, str], shown: str
) -> None:
    row = {"prompt": "1 + 1?", "response": "2", "data_idx": 0, "original_data_source": "sums", **known}
    analyzed(tmp_path, [{**row, "sample_idx": sample, "reward": float(sample % 2)} for sample in range(4)])
    text = write_report(tmp_path / "out").read_text().split('id="by-source"')[1].split("</section>")[0]
    cells = re.findall(r'<td class="n">([^<]*)</td>', text)
    assert dict(zip(("found", "cut", "unscored"), cells[5:8], strict=True)) == {
        "found": "–",
        "cut": shown,
        "unscored": "0",
    }


def test_problems_teach_nothing_where_their_rewards_are_equal(tmp_path: Path) -> None:
    row = {"prompt": "1 + 1?", "response": "2", "original_data_source": "sums"}
    rows = [
        {**row, "data_idx": number, "sample_idx": sample, "reward": reward}
        for number, name in enumerate(["all fail and differ", "all pass and differ", "equal and not 0 or 1"])
        for sample, reward in enumerate(GRADED[name])
    ]
    analyzed(tmp_path, rows, outputs="problems")
    text = write_report(tmp_path / "out").read_text()
    assert "1 problem was never solved and 2 always. 33.3 % of the problems have equal rewards only" in text


def test_one_sample_a_problem_does_not_tell_what_teaches(tmp_path: Path) -> None:
    text = (
        analyzed(tmp_path, [row | {"original_data_source": "sums"} for row in rewarded(samples=1)]) / "report.html"
    ).read_text()
    assert "cannot be told from one sample per problem" in text
    assert "informative groups" not in text
    assert re.search(r'"value">–</div><div class="label">of the problems have equal rewards only', text)


def test_new_groups_are_predicted_by_source_and_curves_that_are_left_out_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the samples that a rule chose problems by, all 1 to 7 of 8 have an informative group of 8."""
    rows = [row | {"original_data_source": f"s{row['data_idx'] % 8}"} for row in rewarded(24, 8)]
    folder = analyzed(tmp_path, rows)
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    predicted = json.loads(page.part("meta"))["predicted"]
    table = pq.read_table(folder / "problem_metrics.parquet")
    kinds = [f"{p % 8},{min(p, 8)},8" for p in range(24)]
    shown = {kind: [] for kind in kinds}
    for kind, value in zip(kinds, table["informative@8"].to_pylist(), strict=True):
        shown[kind].append(value)
    assert predicted == {kind: pytest.approx(np.mean(values), abs=1e-4) for kind, values in shown.items()}
    assert max(predicted.values()) < 1
    monkeypatch.setattr(packed, "_MOST_PAIRS", 8)  # of 16: those of all data sources together
    text = packed.meta(Analysis(folder), [], {}, packed.Rules([], np.zeros(0, np.uint32), None), server=False)
    together: dict[str, list[float]] = {}
    for kind, values in shown.items():
        together.setdefault(re.sub("^[0-9]+", "-1", kind), []).extend(values)
    assert json.loads(base64.b64decode(text))["predicted"] == {
        kind: pytest.approx(np.mean(values), abs=1e-4) for kind, values in together.items()
    }
    report = (folder / "report.html").read_text()
    assert "6 of 8 data sources: those with the most problems" in report
    assert re.findall(r'<span class="key s\d">([^<]*)</span>', report) == [
        "all problems",
        *(f"s{at}" for at in range(6)),
    ]


@pytest.mark.parametrize(
    ("share", "digits", "shown"),
    [(0.0, 1, "0.0 %"), (1.0, 0, "100 %"), (0.9996, 1, ">99.9 %"), (0.996, 0, ">99 %"), (0.0004, 1, "<0.1 %"),
     (0.004, 0, "<1 %"), (0.12345, 1, "12.3 %"), (0.9994, 1, "99.9 %"), (float("nan"), 1, "–")],
)  # fmt: skip
def test_only_all_is_a_hundred_per_cent_and_only_nothing_is_none(share: float, digits: int, shown: str) -> None:
    assert templating.percent(share, digits) == shown


def test_a_page_without_a_scored_rollout_shows_no_number_for_what_nobody_measured(tmp_path: Path) -> None:
    row = {"prompt": "1 + 1?", "response": "2", "data_idx": 0, "original_data_source": "sums", "reward": None}
    analyzed(tmp_path, [{**row, "sample_idx": sample} for sample in range(4)], outputs="problems")
    text = write_report(tmp_path / "out").read_text()
    assert "– – –" not in text
    for number in ("0.000", "0.0 %", "– to –", "never solved"):
        assert number not in text.split('id="by-source"')[0]
    assert "No problem has a scored rollout." in text


def test_a_problem_of_more_rollouts_than_two_bytes_count_keeps_its_pass_rate(tmp_path: Path) -> None:
    row = {"prompt": "1 + 1?", "response": "2", "data_idx": 0, "original_data_source": "sums"}
    rows = [{**row, "sample_idx": sample, "reward": float(sample < 2)} for sample in range(8)]
    analyzed(tmp_path, rows, outputs="problems")
    path = tmp_path / "out" / "problem_metrics.parquet"
    table = pq.read_table(path)
    for name in ("passes", "num_scored", "num_samples"):
        at, times = table.schema.get_field_index(name), 10_000
        table = table.set_column(at, table.schema.field(name), pa.compute.multiply(table[name], times))
    parquet(path, table)
    data = gzip.decompress(page_of(tmp_path / "out").part("columns"))
    passes, scored = np.frombuffer(data, "<u2", 2).tolist()
    assert (passes / scored, scored) == (pytest.approx(0.25, abs=1e-4), 65535)


def test_every_problem_of_a_small_set_has_its_texts(page: Page) -> None:
    shown = json.loads(gzip.decompress(page.part("texts")))
    assert [text["number"] for text in shown] == list(range(200))
    assert all(len(text["samples"]) == 8 and text["prompt"] and text["ground_truth"] for text in shown)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from([None, -1.0, -0.0, 0.0, 0.5, 1.0])), min_size=1, max_size=60),
    st.sets(st.integers(0, 5), min_size=1),
    st.sampled_from([2, 4, 8]),
)
def test_of_many_samples_the_best_and_the_worst_are_shown(
    rollouts: list[tuple[int, float | None]], wanted: set[int], most: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids, rewards = zip(*rollouts, strict=True)
        table = pa.table({"data_idx": ids, "reward": pa.array(rewards, pa.float64()), "number": range(len(ids))})
        pq.write_table(table, folder / "rollouts_with_rewards.parquet", row_group_size=7)
        pq.write_table(pa.table({"data_idx": range(6)}), folder / "problem_metrics.parquet")
        found = Analysis(folder).samples(sorted(wanted), ["reward", "number"], most)
    for problem in wanted:
        own = [(reward, at) for at, (of, reward) in enumerate(rollouts) if of == problem]
        ranked = sorted(own, key=lambda one: 1.0 if one[0] is None else -one[0])
        if len(ranked) > most:
            ranked = [*ranked[: most // 2], *ranked[-most // 2 :]]
        assert [row["number"] for row in found[problem]] == sorted(at for _, at in ranked)


def test_texts_that_do_not_compress_stay_within_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert texts.BUDGET == 10_000_000
    monkeypatch.setattr(texts, "BUDGET", 1_500_000)
    random = np.random.default_rng(0)
    noise = random.integers(0x4E00, 0x9FFF, 1_000_000, "<u2").tobytes().decode("utf-16-le")  # Chinese, 3 bytes each
    rows = [
        {
            "prompt": noise[p * 450 :][:450],
            "response": noise[(p * 4 + s) * 250 :][: 20_000 if p % 50 == 0 else 250],
            "data_idx": p,
            "sample_idx": s,
            "reward": float(s < p % 5),
            "original_data_source": "noise",
            "original_reward_model": {"style": "rule", "ground_truth": str(p)},
        }
        for p in range(600)
        for s in range(4)
    ]
    analyzed(tmp_path, rows, no_report=True)
    page = page_of(tmp_path / "out")
    at = [attrs.get("id") for tag, attrs in page.elements if tag == "script"].index("texts")
    assert 750_000 < len(page.scripts[at]) <= 1_500_000
    shown = json.loads(gzip.decompress(page.part("texts")))
    assert len(shown) == 560  # 200 of each bucket
    assert all(sample["head"] and sample["tail"] for text in shown for sample in text["samples"])
    assert (tmp_path / "out" / "report.html").stat().st_size < 2_000_000


@pytest.mark.parametrize("samples", [2, 12])  # of 4 kB each: several problems in a row group, or a part of one
def test_of_much_text_a_few_row_groups_are_read_and_whole_problems_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, samples: int
) -> None:
    random = np.random.default_rng(0)
    rows = [
        {"prompt": "", "response": random.bytes(2000).hex(), "data_idx": p, "sample_idx": s, "reward": float(p % 2)}
        for p in range(600 // samples)
        for s in range(samples)
    ]
    analysis = Analysis(analyzed(tmp_path, [row | {"original_data_source": "noise"} for row in rows]))
    path = analysis.folder / "rollouts_with_rewards.parquet"
    parquet(path, pq.read_table(path), row_group_size=6)
    monkeypatch.setattr(dataset, "BATCH_BYTES", 24_000)  # up to which row groups are read as one
    sizes = Written(path).pieces()
    assert len(sizes) == 100
    monkeypatch.setattr(texts, "_MOST_BYTES", 400_000)  # one in six
    numbers = texts.choose_problems(analysis, 42)
    first, stop, code = analysis.rows
    shown = np.isin(code, numbers)
    assert np.bincount(code[shown], (stop - first)[shown])[numbers].tolist() == [samples] * len(numbers)
    rows_read = np.concatenate(list(map(np.arange, first[shown], stop[shown])))
    read = np.unique(np.searchsorted(np.cumsum(sizes), rows_read, "right"))
    assert 1 / 20 < sizes[read].sum() / 600 < 1 / 5


def test_whiskers_reach_from_the_fewest_to_the_most_problems_a_bar_could_have(tmp_path: Path) -> None:
    rows = [
        {
            "prompt": f"What is {p}?",
            "response": "x",
            "data_idx": p,
            "sample_idx": s,
            "reward": None if (p, s) in ((0, 3), (1, 3)) else float(s < (0, 3, 2, 2)[p]),
            "original_data_source": "sums",
            "original_reward_model": {"style": "rule", "ground_truth": str(p)},
        }
        for p in range(4)
        for s in range(4)
    ]

    analyzed(
        tmp_path,
        rows,
        max_unscored=1.0,
    )
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    reach = re.findall(r'class="reach"[^>]*><title>([^<]*)<', text)
    # Problem 0 may have 0 or 1 passes of 4, problem 1 may have 3 or 4; the other two have 2.
    assert reach == ["0: 0 to 1", "1: 0 to 1", "3: 0 to 1", "4: 0 to 1"]
    assert "had all rollouts been scored" in text


def rewarded(problems: int = 3, samples: int = 2, **values: Any) -> list[dict[str, Any]]:
    """Rollouts that bring rewards along; of problem number p the first p pass."""
    return [
        {"prompt": f"{p}?", "response": "x", "data_idx": p, "sample_idx": s, "reward": float(s < p)} | values
        for p in range(problems)
        for s in range(samples)
    ]


@pytest.mark.parametrize(
    "rows",
    [
        rewarded(1),
        rewarded(samples=1),
        rewarded(reward=1.0),
        rewarded(reward=-0.25),
        rewarded(reward=None),
        rewarded() + [row | {"data_idx": 7, "reward": None} for row in rewarded(1)],
        rewarded() + [row | {"data_idx": 7} for row in rewarded(1, 5)],
        [row | {"reward": 0.1 * at} for at, row in enumerate(rewarded())],
        [row | {"data_idx": f"p{at // 2}", "original_data_source": f"s{at // 2}"} for at, row in enumerate(rewarded())],
        rewarded(prompt=[{"role": "user", "content": "?"}], finish_reason="length"),
        rewarded() + [row | {"data_idx": 7, "response": None} for row in rewarded(1)],
    ],
    ids=["one problem", "one sample", "all pass", "below zero", "no reward", "an unscored problem", "unequal samples",
         "graded", "names and sources", "chat, cut off", "some without a response"],
)  # fmt: skip
def test_every_kind_of_analysis_has_its_page(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    usual = {"original_data_source": "sums", "original_reward_model": {"ground_truth": "1"}}
    folder = analyzed(tmp_path, [usual | row for row in rows], max_unscored=1.0)
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert json.loads(page.part("meta"))["problems"] == len({row["data_idx"] for row in rows})
    assert json.loads(gzip.decompress(page.part("texts")))


def test_without_javascript_charts_and_tables_are_there(page: Page) -> None:
    assert sum(tag == "svg" for tag, _ in page.elements) >= 3
    assert all(attrs.get("aria-label") for tag, attrs in page.elements if tag == "svg")
    words = " ".join(" ".join(page.text).split())
    assert "How hard is the set?" in words
    assert "28 problems were never solved and 14 always" in words
    # Whoever has no mouse scrolls a wide table by the arrow keys, which needs the focus.
    scrolled = [attrs for _, attrs in page.elements if (attrs.get("class") or "").startswith("scroll")]
    assert scrolled
    assert all(attrs.get("tabindex") == "0" and attrs.get("aria-labelledby") for attrs in scrolled)


def test_the_same_analysis_gives_the_same_page(sample: Path) -> None:
    assert build.render(Analysis(sample)) == build.render(Analysis(sample))


def test_text_of_a_model_is_inert_wherever_it_stands(tmp_path: Path, analyze: Callable[..., Outcome]) -> None:
    rows = [
        {
            "prompt": text,
            "response": f"{text}\n#### 5",
            "data_idx": f"{text}-{number}",
            "sample_idx": sample,
            "original_data_source": f"openai/gsm8k{text}" if number else "openai/gsm8k",
            "original_reward_model": {"style": "rule", "ground_truth": text if number else "5"},
        }
        for number in range(2)
        for text in HOSTILE
        for sample in range(2)
    ]
    rollouts = parquet(tmp_path / "r.parquet", rows)
    analyze(rollouts, output_dir=tmp_path / "out", reward_fn="exact_match")
    page = page_of(tmp_path / "out")
    assert {tag for tag, _ in page.elements} & {"img", "iframe", "object", "embed", "link", "base", "form"} == set()
    assert sum(tag == "script" for tag, _ in page.elements) == 4
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert not re.search("[\u202e\u200b\x1b\x07]", text)
    assert "49" not in re.findall(r"\{\{.*?\}\}", text)


def test_a_folder_that_holds_no_analysis_is_a_users_error(tmp_path: Path) -> None:
    from analyzer.errors import InputError

    with pytest.raises(InputError, match="name an output folder of analyze_rollouts"):
        write_report(tmp_path)


def test_the_script_shows_the_same_marks_as_python() -> None:
    assert visible("a\u202eb\x00\u200d\ud800") == "a<U+202E>b<U+0000><U+200D><U+D800>"
    assert visible("naïve 日本\n\t👩") == "naïve 日本\n\t👩"
    script = templating.asset("report.js")
    assert r"[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}]" in script  # the categories of `visible`


# ---------------------------------------------------------------- lengths


def counted(right: list[int], wrong: list[int]) -> lengths.Rollouts:
    longest = max([*right, *wrong]) + 1
    return lengths.Rollouts(
        np.bincount(right, minlength=longest), np.bincount(wrong, minlength=longest), {}, 0.0, 1.0, 0, True
    )


@given(st.lists(st.sampled_from([0.0, 1.0, 0.5, -1.0]), max_size=20), st.integers(1, 4))
def test_rewards_are_counted_by_value(rewards: list[float], kinds: int) -> None:
    some = np.array([reward for reward in rewards if reward in (1.0, 0.0, 0.5, -1.0)[:kinds]])
    assert lengths._levels(some) == dict(Counter(some.tolist()))


@pytest.mark.parametrize("kinds", [3, 40])
def test_rewards_are_drawn_by_value_passing_ones_apart(kinds: int) -> None:
    values = {at / kinds: 10 + at for at in range(kinds)}
    passing = {value: number for value, number in values.items() if value >= 0.5}
    drawn = figures.values_chart(counted([1], [1])._replace(values=values, passing=passing))
    of_style = {
        style: sum(int(n) for n in re.findall(rf'class="{style}"[^>]*><title>reward [^:]*: (\d+) rollouts', drawn))
        for style in ("right", "wrong")
    }
    assert of_style == {"right": sum(passing.values()), "wrong": sum(values.values()) - sum(passing.values())}


def test_deciles_hold_every_rollout_once_and_split_no_tie() -> None:
    random = np.random.default_rng(0)
    right, wrong = random.integers(1, 200, 3000).tolist(), random.integers(50, 400, 2000).tolist()
    tenths = lengths.deciles(counted(right, wrong))
    assert sum(tenth.rollouts for tenth in tenths) == 5000
    for tenth in tenths:
        inside = [n for n in right if tenth.shortest <= n <= tenth.longest]
        both = inside + [n for n in wrong if tenth.shortest <= n <= tenth.longest]
        assert tenth.rollouts == len(both)
        assert tenth.pass_rate == len(inside) / len(both)
    assert len(lengths.deciles(counted([5] * 100, [5] * 50))) == 1


@pytest.mark.parametrize(
    ("right", "wrong"),
    [([1, 2, 2, 1000], [1, 70, 999_999]), ([1], []), ([0], [0]), ([1], [0]), ([0, 1], [1]), ([7] * 5, [7]), ([2], [3])],
)
def test_bins_of_lengths_hold_every_rollout_once(right: list[int], wrong: list[int]) -> None:
    edges, r, w = lengths.log_bins(counted(right, wrong))
    assert sum(r) == len(right)
    assert sum(w) == len(wrong)
    assert edges == sorted(set(edges))
    assert len(edges) == len(r) + 1


def test_a_notebook_shows_the_top_of_the_page(tmp_path: Path) -> None:
    import analyzer

    rows = [
        {
            "prompt": HOSTILE[1],
            "response": "x",
            "data_idx": number,
            "sample_idx": sample,
            "reward": float(sample < number),
            "original_data_source": HOSTILE[0],
            "original_reward_model": {"style": "rule", "ground_truth": "5"},
        }
        for number in range(5)
        for sample in range(4)
    ]
    result = analyzer.analyze(
        rollouts=parquet(tmp_path / "<i>rollouts.parquet", rows),
        output_dir=tmp_path / "out",
        cache_dir=tmp_path / "cache",
        backend="sequential",
    )
    text = result._repr_html_()
    page = Page(text)
    assert {tag for tag, _ in page.elements} & {"script", "img", "i", "iframe"} == set()
    words = " ".join(" ".join(page.text).split())
    assert "5 problems, 20 rollouts" in words
    assert f"{result.summary.warnings[0]}" in words
    assert sum(tag == "rect" for tag, _ in page.elements) == 5  # 0 to 4 of 4, a bar each


@given(st.lists(st.sampled_from(["hard", "easy", "", None, "medium"]), max_size=30), st.integers(1, 9), st.booleans())
def test_codes_of_few_names_are_in_the_order_in_which_they_appear(
    names: list[str | None], group_rows: int, together: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = pa.table({"data_idx": range(len(names)), "bucket": pa.array(names, pa.string())})
        pq.write_table(table, Path(folder) / "problem_metrics.parquet", row_group_size=group_rows)
        with pytest.MonkeyPatch.context() as patch:
            if not together:  # as of many problems
                patch.setattr(reading, "_READ_TOGETHER", -1)
            found, codes = Analysis(Path(folder)).coded("bucket")
    shown = [name or "" for name in names]
    assert [found[code] for code in codes.tolist()] == shown
    assert found == list(dict.fromkeys(shown))
