"""The report of 600,000 problems: megabytes of the page, seconds to write it, and to have it ready in Chromium.

    python benchmarks/bench_report.py     # the bar: 3 MB and 10 MB of texts, 5 s, ready in Chromium in a second or two

The analysis is made up: metrics of random solve rates, and responses of a few words, since the page shows no more of
a text than its budget. Chromium is measured where playwright and chromium are installed (make test-browser).
"""

from __future__ import annotations

import argparse
import base64
import re
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from analyzer.report import write_report
from analyzer.report.analysis import Analysis
from analyzer.report.viewer import Viewer

BUCKETS = ("hard", "medium-hard", "medium-easy", "easy")


def make_analysis(folder: Path, problems: int, samples: int) -> None:
    """The files of an analysis that the report reads, as analyze_rollouts lays them out."""
    random = np.random.default_rng(0)
    passes = random.binomial(samples, random.beta(0.6, 0.6, problems))
    rate = passes / samples
    place = np.minimum((np.argsort(np.argsort(rate, kind="stable")) * 4) // problems, 3)
    flag = np.where(random.random(problems) < 0.02, "suspect_gold", "")
    columns = {
        "data_idx": np.arange(problems),
        "bucket": pa.array(BUCKETS).take(pa.array(place)),
        "pass_rate": rate,
        "mean_reward": rate,
        "num_samples": np.full(problems, samples),
        "num_scored": np.full(problems, samples),
        "passes": passes,
        "truncated": random.binomial(samples, 0.03, problems),
        "tokens_mean": random.gamma(4, 120, problems),
        "flag": pa.array(flag),
    }
    pq.write_table(pa.table(columns), folder / "problem_metrics.parquet", compression="zstd")
    sizes = np.bincount(place, minlength=4).tolist()
    summary = {
        "total_problems": problems,
        "total_rollouts": problems * samples,
        "bucketing_strategy": "percentile",
        "bucket_distribution": dict(zip(BUCKETS, sizes, strict=True)),
        "overall_metrics": {"mean_pass_rate": rate.mean(), "mean_reward": rate.mean(), "mean@5": rate.mean()},
        "reward_status": {"ok": problems * samples},
        "data_sources": {"openai/gsm8k": {"reward": "gsm8k", "answer_found": 0.98, "pass_rate": rate.mean()}},
        "response_tokens": {"median": 440, "p95": 930},
        "truncated": 0.03,
        "settings": {"reward_fn_key": "reward_model", "seed": 42},
        "warnings": [],
    }
    (folder / "summary.json").write_bytes(orjson.dumps(summary, option=orjson.OPT_SERIALIZE_NUMPY))
    prompt = pa.array([f"A farmer has {n} sheep and buys {n + 7} more. How many are there?" for n in range(1000)])
    number = pa.array(np.arange(problems) % 1000)
    pq.write_table(pa.table({"prompt": prompt.take(number)}), folder / "problems.parquet", compression="zstd")
    step = 50_000
    with pq.ParquetWriter(
        folder / "rollouts_with_rewards.parquet", _rollouts(0, 1, samples, passes, prompt).schema
    ) as to:
        for first in range(0, problems, step):
            to.write_table(_rollouts(first, min(first + step, problems), samples, passes, prompt))


def _rollouts(first: int, stop: int, samples: int, passes: np.ndarray, prompt: pa.Array) -> pa.Table:
    ids = np.repeat(np.arange(first, stop), samples)
    right = np.tile(np.arange(samples), stop - first) < passes[ids]
    return pa.table(
        {
            "prompt": prompt.take(pa.array(ids % 1000)),
            "response": pa.array(["Adding them gives #### 12", "I would say #### 7"]).take(
                pa.array((~right).astype(int))
            ),
            "data_idx": ids,
            "original_reward_model": pa.array(['{"ground_truth": "12"}']).take(pa.array(np.zeros(len(ids), int))),
            "reward": right.astype(float),
            "reward_status": pa.array(["ok"]).take(pa.array(np.zeros(len(ids), int))),
            "response_tokens": (ids * 7919 % 900 + 20).astype(np.int32),
        }
    )


def ready_in_chromium(page: str) -> float | None:
    """Seconds from navigation until the page can be used; None where there is no browser."""
    program = shutil.which("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if program is None:
        return None
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.set_default_timeout(120_000)
        start = time.perf_counter()
        tab.goto(page)
        tab.wait_for_selector("html[data-ready]")
        seconds = time.perf_counter() - start
        browser.close()
    return seconds


def measure(folder: Path) -> dict[str, Any]:
    """Figures of the report of one analysis."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    path = write_report(folder)
    wrote = time.perf_counter() - start
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    text = path.read_text()
    match = re.search(r'id="texts">([^<]*)<', text)
    texts = len(base64.b64decode(match[1])) * 4 / 3 if match else 0
    start = time.perf_counter()
    with Viewer(Analysis(folder)) as viewer:
        _ = viewer.page
        first = time.perf_counter() - start
    return {
        "page_mb": round((len(text.encode()) - texts) / 1e6, 2),
        "texts_mb": round(texts / 1e6, 2),
        "write_seconds": round(wrote, 2),
        "more_memory_mb": round(more),
        "viewer_first_page_seconds": round(first, 2),
        "ready_seconds": ready_in_chromium(path.as_uri()),
    }


def main() -> None:
    """Make an analysis in a temporary folder and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=600_000)
    parser.add_argument("--samples", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        make_analysis(Path(name), given.problems, given.samples)
        print(orjson.dumps(measure(Path(name)), option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    main()
