"""Problems of a bucket in a terminal: prompt, ground truth, and each response with its reward and extracted answer."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import numpy as np

from analyzer.errors import ConfigError, counted
from analyzer.registry import did_you_mean
from analyzer.report.analysis import WITHOUT_ROLLOUTS, Analysis
from analyzer.report.harmless import visible
from analyzer.report.texts import Sample, read_problem
from analyzer.schema import DATA_IDX

WIDTH = 100
_PROMPT_CHARS = 1200
_TAIL_CHARS = 300
_MOST_SAMPLES = 16


def show(analysis: Analysis, name: str, problems: int, seed: int) -> Iterator[str]:
    """The lines for some problems of a bucket, or with a flag, or (`all`) of any, chosen at random.

    Raises ConfigError for any other name.
    """
    buckets, bucket = analysis.coded("bucket")
    flags, flag = analysis.coded("flag")
    known = [*analysis.summary["bucket_distribution"], *sorted(filter(None, flags)), "all"]
    if name not in known:
        raise ConfigError(
            f"--show {name}: must be a bucket or flag of this analysis, {', '.join(known)}{did_you_mean(name, known)}"
        )
    members = np.arange(len(bucket))
    if name in buckets:
        members = np.flatnonzero(bucket == buckets.index(name))
    elif name != "all":
        members = np.flatnonzero(flag == flags.index(name)) if name in flags else members[:0]
    chosen = np.sort(np.random.default_rng(seed).permutation(members)[:problems])
    yield f"{len(chosen)} of {len(members):,} problems: {name}"
    for number in chosen.tolist():
        yield from _problem(analysis, number, buckets[bucket[number]], flags[flag[number]] if flags else "")


def _problem(analysis: Analysis, number: int, bucket: str, flag: str) -> Iterator[str]:
    text, total = read_problem(analysis, number, most=_MOST_SAMPLES, chars=_TAIL_CHARS)
    passes, scored = analysis.passes
    facts = [bucket, f"{passes[number]} of {scored[number]} pass", *filter(None, [flag])]
    yield ""
    yield "=" * WIDTH
    yield f"data_idx {visible(str(analysis.problems[DATA_IDX][number].as_py()))}: {', '.join(facts)}"
    yield "=" * WIDTH
    yield from _wrapped(text.prompt if len(text.prompt) <= _PROMPT_CHARS else text.prompt[:_PROMPT_CHARS] + " [...]")
    yield "ground truth: " + _line(text.ground_truth or "(none)", 400)
    if analysis.rollouts is None:
        yield f"no responses here: {WITHOUT_ROLLOUTS}"
    for place, sample in enumerate(text.samples):
        yield ""
        yield f"--- {place + 1} of {total}: {_facts(sample)}"
        whole = sample.head + sample.tail if sample.tail else sample.head
        end = whole[-_TAIL_CHARS:]
        yield from _wrapped(end if len(end) == sample.length else "[...] " + end, "    ")
    if total > len(text.samples):
        yield ""
        yield f"({counted(total - len(text.samples), 'more response')})"


def _facts(sample: Sample) -> str:
    reward = "none" if sample.reward is None else f"{sample.reward:g}"
    facts = [f"reward {reward}"]
    if sample.status != "ok":
        facts.append(f"status {sample.status}")
    facts.append("no answer found" if sample.answer is None else f"answer {_line(sample.answer, 200)}")
    if sample.finish:
        facts.append(f"finish_reason {_line(sample.finish, 40)}")
    if sample.tokens is not None:
        facts.append(f"{sample.tokens:,} tokens")
    return ", ".join(facts)


def _line(text: str, chars: int) -> str:
    shown = visible(text).replace("\n", " ")
    return shown if len(shown) <= chars else shown[:chars] + " [...]"


def _wrapped(text: str, indent: str = "") -> Iterator[str]:
    for line in visible(text).expandtabs(4).split("\n"):
        yield from textwrap.wrap(
            line, WIDTH, initial_indent=indent, subsequent_indent=indent, replace_whitespace=False
        ) or [""]
