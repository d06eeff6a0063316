"""How well generate_rollouts keeps servers busy, and whether its memory stays flat.

    python benchmarks/bench_generate.py [--prompts 20000] [--memory]

Starts a server that answers all in 100 ms and asks it with 100 requests in flight: ideally 1000 requests/s, counted
by the server from the first to the last. Beside it a bare aiohttp loop that throws the answers away: what this
machine gives at most just now. With --memory, 10,000 and 100,000 prompts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
DELAY, CONCURRENT, SAMPLES = 0.1, 100, 8


class Run(NamedTuple):
    prompts: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    rate: float  # requests per second, as the server saw them


@contextmanager
def server() -> Iterator[str]:
    """The address of a server that lives while the context lasts."""
    command = [sys.executable, str(ROOT / "benchmarks/fixed_server.py"), f"--delay={DELAY}", f"--choices={SAMPLES}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def write_prompts(path: Path, count: int) -> None:
    """Prompts of some 400 characters, as a training file would have them."""
    with pq.ParquetWriter(path, pa.schema([("prompt", pa.string()), ("ground_truth", pa.string())])) as writer:
        for start in range(0, count, 10_000):
            rows = range(start, min(start + 10_000, count))
            texts = [f"Problem {row}: " + "how many apples are left in the basket? " * 10 for row in rows]
            writer.write_table(pa.table({"prompt": texts, "ground_truth": [str(row) for row in rows]}))


def stats(url: str) -> float:
    """Requests per second that the server saw since the last call."""
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats") as answer:
        seen = json.load(answer)
    return float(seen["requests"] / seen["seconds"]) if seen["requests"] > 1 else 0.0


def run(folder: Path, url: str, prompts: int) -> Run:
    """One run of the command, with what it used."""
    data, output = folder / f"{prompts}.parquet", folder / f"rollouts_{prompts}.parquet"
    write_prompts(data, prompts)
    command = [sys.executable, str(ROOT / "scripts/generate_rollouts.py"), "--use_vllm", "--vllm_url", url]
    command += ["--data_path", str(data), "--output_path", str(output), "--num_samples", str(SAMPLES)]
    command += ["--max_concurrent", str(CONCURRENT)]
    stats(url)
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"generate_rollouts ended with {process.returncode}")
    seconds = time.perf_counter() - began
    rows = pq.read_metadata(output).num_rows
    if rows != prompts * SAMPLES:
        raise SystemExit(f"{rows} rollouts instead of {prompts * SAMPLES}")
    return Run(prompts, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, stats(url))


async def bare(url: str, requests: int) -> float:
    """Requests per second of a loop that does nothing else."""
    body = {"model": "fixed", "n": SAMPLES, "prompt": "Problem: " + "how many apples are left in the basket? " * 10}
    left = iter(range(requests))
    stats(url)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def ask() -> None:
            for _ in left:
                async with http.post(f"{url}/completions", json=body) as response:
                    await response.read()

        await asyncio.gather(*(ask() for _ in range(CONCURRENT)))
    return stats(url)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--prompts", type=int, default=20_000)
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    sizes = (10_000, 100_000) if given.memory else (given.prompts // 10, given.prompts)
    with tempfile.TemporaryDirectory() as folder, server() as url:
        before = asyncio.run(bare(url, 10_000))
        short, long = (run(Path(folder), url, size) for size in sizes)
        after = asyncio.run(bare(url, 10_000))
    for done in (short, long):
        print(
            f"{done.prompts:>8} prompts x {SAMPLES}: {done.seconds:6.1f} s, "
            f"{done.cpu_seconds:5.1f} s of CPU, peak {done.peak_mib:.0f} MiB"
        )
    more, ideal = long.prompts - short.prompts, CONCURRENT / DELAY
    print(f"sustained: {long.rate:.0f} requests/s, {long.rate / ideal:.0%} of the ideal {ideal:.0f}")
    print(f"a bare loop: {before:.0f} requests/s before, {after:.0f} after")
    print(f"CPU per request: {(long.cpu_seconds - short.cpu_seconds) / more * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
