"""Tables of the page from summary.json and a few columns: audit, flags, moves, cut-off shares, parts of rewards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.errors import percentage
from analyzer.report import charts
from analyzer.report.analysis import Analysis, Rollouts
from analyzer.report.harmless import visible
from analyzer.schema import DATA_SOURCE, RESPONSE_TOKENS, REWARD, REWARD_EXTRA, REWARD_PASS_VALUE, least_passing

if TYPE_CHECKING:
    from analyzer.schema import IntArray

_LISTED = 50  # flagged problems with both answers
_LONGEST = 1 << 21  # tokens; longer responses are counted as so long


class Part(NamedTuple):
    """A number that a reward gives beside the reward, reward_format for instance."""

    name: str
    rollouts: int  # that have it
    low: float
    high: float
    right: float  # mean over the rollouts that pass; NaN where there are none
    wrong: float
    weight: float | None = None  # in a sum of rewards


def audit_lines(summary: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """What the audit says of each data source, as sentences; True: it is as it should be."""
    audit = summary.get("audit") or {}
    lines = []
    for name, gold in (audit.get("ground_truths") or {}).items():
        asked, failed, others, fooled = (gold.get(key, 0) for key in ("asked", "failed", "others", "fooled"))
        line = f"{name}: the correct answer scores full marks in {asked - failed} of {asked} sampled problems"
        line += f", another problem's answer in {fooled} of {others}" if others else ""
        lines.append((visible(line), not failed and not fooled))
    for name, second in (audit.get("second_grader") or {}).items():
        line = (
            f"{name}: {second['grader']} disagrees on {second['disagreed']:,} of {second['compared']:,} rollouts "
            f"(95 % interval {percentage(second['low'], 1)} to {percentage(second['high'], 1)})"
        )
        # The upper end: with few rollouts compared, no disagreement seen is no proof that there is none.
        lines.append((visible(line), second["high"] < 0.05))
    return lines


def flagged_answers(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Problems whose ground truth cannot be earned or looks wrong, with both answers and their counts."""
    difficulty = summary.get("difficulty") or {}
    rows = []
    for flag in ("gold_unearnable", "suspect_gold"):
        for one in (difficulty.get(flag) or [])[:_LISTED]:
            rows.append(
                {
                    "flag": flag,
                    "id": str(one.get("data_idx")),
                    "shown": visible(str(one.get("data_idx"))),
                    "truth": visible(_short(one.get("ground_truth"))),
                    "passes": one.get("passes"),
                    "answer": visible(_short(one.get("majority_answer"))),
                    "votes": one.get("votes"),
                    "samples": one.get("num_samples"),
                }
            )
    return rows


def _short(value: Any) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= 120 else text[:117] + "..."


def move_rows(stability: Mapping[str, Any] | None, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row per bucket: where its problems would be after another sampling. Empty where it is not known."""
    moves = (stability or {}).get("moves") or {}
    return [
        {
            "name": name,
            "cells": [
                {
                    "share": moves[name].get(other, 0.0),
                    "same": name == other,
                    "shade": round(10 * moves[name].get(other, 0.0)),
                }
                for other in names
            ],
        }
        for name in names
        if name in moves
    ]


def cut_by_bucket(analysis: Analysis, names: Sequence[str]) -> list[dict[str, Any]]:
    """The share of cut-off responses in each bucket; empty where nothing was cut off, or that is unknown."""
    cut = analysis.column("truncated").astype(np.float64)
    if not analysis.summary.get("truncated") or not cut.any():
        return []
    samples = analysis.column("num_samples").astype(np.float64)
    there, bucket = analysis.coded("bucket")
    rows = []
    for name in names:
        member = bucket == there.index(name) if name in there else np.zeros(len(bucket), bool)
        if total := samples[member].sum():
            mostly = float((cut[member] >= samples[member] / 2).mean())
            rows.append({"name": name, "share": float(cut[member].sum() / total), "mostly": mostly})
    return rows


def parts(rollouts: Rollouts, threshold: float) -> list[Part]:
    """The numbers that rewards gave beside the reward, read in one pass; memory does not grow with the rollouts."""
    import pyarrow as pa

    schema = rollouts.schema
    names = [
        field.name
        for field in schema
        if field.name.startswith(REWARD_EXTRA)
        and field.name != REWARD_PASS_VALUE
        and (pa.types.is_floating(field.type) or pa.types.is_integer(field.type))
    ]
    if not names:
        return []
    sums = {name: np.zeros((2, 2)) for name in names}  # (wrong, right) x (count, sum)
    low, high = dict.fromkeys(names, np.inf), dict.fromkeys(names, -np.inf)
    deciding = [name for name in (REWARD, REWARD_PASS_VALUE) if name in schema.names]
    for _, batch in rollouts.read([*deciding, *names]):
        columns = {
            name: batch.column(name).to_numpy(zero_copy_only=False).astype(np.float64) for name in batch.schema.names
        }
        # The last is the part that decides, where there is one; without a value of its own the sum itself decides.
        decides = columns[deciding[-1]]
        passing = np.where(np.isnan(decides), columns[REWARD], decides) >= least_passing(threshold)
        for name in names:
            there = np.isfinite(columns[name])
            for right in (0, 1):
                chosen = columns[name][there & (passing == bool(right))]
                sums[name][right] += (len(chosen), chosen.sum())
            if there.any():
                low[name] = min(low[name], float(columns[name][there].min()))
                high[name] = max(high[name], float(columns[name][there].max()))
    found = []
    for name in names:
        counts, totals = sums[name].T
        if counts.any():
            wrong, right = np.where(counts > 0, totals / np.maximum(counts, 1), np.nan).tolist()
            found.append(Part(name, int(counts.sum()), low[name], high[name], right, wrong))
    return found


def weighted(parts: Sequence[Part], summary: Mapping[str, Any]) -> list[Part]:
    """The parts with their weights in the sum; those whose weights differ between data sources have none."""
    weights: dict[str, set[float]] = {}
    for reward in summary.get("settings", {}).get("rewards", {}).values():
        for part in reward.get("parts", []):
            weights.setdefault(f"{REWARD_EXTRA}{part['as']}", set()).add(float(part["weight"]))
    return [
        part._replace(weight=min(weights[part.name])) if len(weights.get(part.name, ())) == 1 else part
        for part in parts
    ]


def parts_chart(parts: Sequence[Part]) -> str:
    """What each part of a sum adds on average, where it passes and where it does not; "" where nothing is a sum."""
    rows = [
        charts.Pair(f"{part.name} × {part.weight:g}", part.weight * part.right, part.weight * part.wrong)
        for part in parts
        if part.weight is not None
    ]
    return charts.pairs("What the parts of the reward add", rows, x_title="weight × mean of the part") if rows else ""


def tokens_by_source(rollouts: Rollouts) -> dict[str, tuple[int, int]]:
    """Median and 95th percentile of the response lengths of each data source that the rollouts name."""
    import pyarrow as pa
    import pyarrow.compute as pc

    counts: dict[str, IntArray] = {}
    if DATA_SOURCE not in rollouts.schema.names:
        return {}
    for _, batch in rollouts.read([DATA_SOURCE, RESPONSE_TOKENS]):
        tokens = batch.column(RESPONSE_TOKENS)
        if tokens.null_count == len(tokens):
            continue
        lengths = np.minimum(pc.fill_null(tokens, 0).to_numpy().astype(np.int64), _LONGEST)
        sources = batch.column(DATA_SOURCE)
        encoded = sources if pa.types.is_dictionary(sources.type) else pc.dictionary_encode(sources.cast("string"))
        codes = pc.fill_null(encoded.indices, -1).to_numpy()
        for code, name in enumerate(encoded.dictionary.to_pylist()):
            new = np.bincount(lengths[codes == code])
            old = counts.get(str(name), np.zeros(0, np.int64))
            size = max(len(new), len(old))
            counts[str(name)] = np.pad(new, (0, size - len(new))) + np.pad(old, (0, size - len(old)))
    return {name: (_percentile(count, 0.5), _percentile(count, 0.95)) for name, count in counts.items()}


def _percentile(counts: IntArray, share: float) -> int:
    return int(np.searchsorted(np.cumsum(counts), share * counts.sum()))
