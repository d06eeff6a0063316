"""How well generate_rollouts keeps servers busy, and whether its memory stays flat.

    python benchmarks/bench_generate.py [--prompts 20000] [--samples 8] [--memory] [--clients]

Starts a server that answers all in 100 ms and asks it with 100 requests in flight: ideally 1000 requests/s, counted
by the server from the first to the last. Beside it a bare aiohttp loop that throws the answers away: what this
machine gives at most just now. With --memory, 10,000 and 100,000 prompts. With --clients, ways to ask in bare loops,
each answer parsed: what the client costs that generate_rollouts uses, and what the others would.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import httpx2
import openai
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from analyzer.generation import GenerationSettings
from analyzer.generation.client import Client

ROOT = Path(__file__).resolve().parent.parent
DELAY, CONCURRENT = 0.1, 100
PROMPT = "Problem: " + "how many apples are left in the basket? " * 10
Ask = Callable[[], Awaitable[object]]


class Run(NamedTuple):
    prompts: int
    seconds: float
    cpu_seconds: float
    peak_mib: float
    rate: float  # requests per second, as the server saw them


@contextmanager
def server(samples: int) -> Iterator[str]:
    """The address of a server that lives while the context lasts."""
    command = [sys.executable, str(ROOT / "benchmarks/fixed_server.py"), f"--delay={DELAY}", f"--choices={samples}"]
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


def run(folder: Path, url: str, prompts: int, samples: int) -> Run:
    """One run of the command, with what it used."""
    data, output = folder / f"{prompts}.parquet", folder / f"rollouts_{prompts}.parquet"
    write_prompts(data, prompts)
    command = [sys.executable, str(ROOT / "scripts/generate_rollouts.py"), "--use_vllm", "--vllm_url", url]
    command += ["--data_path", str(data), "--output_path", str(output), "--num_samples", str(samples)]
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
    if rows != prompts * samples:
        raise SystemExit(f"{rows} rollouts instead of {prompts * samples}")
    return Run(prompts, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, stats(url))


async def loop(url: str, requests: int, ask: Ask) -> tuple[float, float]:
    """Requests per second, and milliseconds of CPU for each, of a loop that does nothing else."""
    left = iter(range(requests))

    async def work() -> None:
        for _ in left:
            await ask()

    await ask()  # connected, and imported what it imports late
    stats(url)
    began = time.process_time()
    await asyncio.gather(*(work() for _ in range(CONCURRENT)))
    return stats(url), (time.process_time() - began) / requests * 1e3


def body(samples: int) -> dict[str, Any]:
    return {"model": "fixed", "n": samples, "temperature": 0.7, "top_p": 0.9, "max_tokens": 512, "prompt": PROMPT}


@asynccontextmanager
async def bare(url: str, samples: int) -> AsyncIterator[Ask]:
    """aiohttp alone."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def ask() -> object:
            async with http.post(f"{url}/completions", json=body(samples)) as response:
                return orjson.loads(await response.read())

        yield ask


def of_openai(over_aiohttp: bool, raw: bool) -> Callable[[str, int], AbstractAsyncContextManager[Ask]]:
    """openai's client as its documentation shows it."""

    @asynccontextmanager
    async def client(url: str, samples: int) -> AsyncIterator[Ask]:
        limits = httpx2.Limits(max_connections=CONCURRENT, max_keepalive_connections=CONCURRENT)
        http = (openai.DefaultAioHttpClient if over_aiohttp else openai.DefaultAsyncHttpxClient)(limits=limits)
        async with openai.AsyncOpenAI(api_key="none", base_url=url, http_client=http, max_retries=0) as api:

            async def ask() -> object:
                if raw:
                    answer = await api.completions.with_raw_response.create(**body(samples))
                    return orjson.loads(answer.content)
                return [choice.text for choice in (await api.completions.create(**body(samples))).choices]

            yield ask

    return client


@asynccontextmanager
async def ours(url: str, samples: int) -> AsyncIterator[Ask]:
    """aiohttp as generate_rollouts uses it."""
    settings = GenerationSettings(data_path="", output_path="", use_vllm=True, vllm_url=url)
    client = Client(settings, 60.0)

    async def ask() -> object:
        return orjson.loads(await client.post(f"{url}/completions", orjson.dumps(body(samples))))

    yield ask
    await client.close()


CLIENTS = {
    "aiohttp": bare,
    "openai, create": of_openai(over_aiohttp=False, raw=False),
    "openai[aiohttp], create": of_openai(over_aiohttp=True, raw=False),
    "openai[aiohttp], with_raw_response": of_openai(over_aiohttp=True, raw=True),
    "aiohttp, as used here": ours,
}


def ask_bare(name: str, url: str, samples: int, requests: int) -> tuple[float, float]:
    async def asked() -> tuple[float, float]:
        async with CLIENTS[name](url, samples) as ask:
            return await loop(url, requests, ask)

    return asyncio.run(asked())


def compare_clients(url: str, samples: int, requests: int) -> None:
    """Print a line for each client; the best of three runs of it."""
    gc.freeze()
    for name in CLIENTS:
        runs = [ask_bare(name, url, samples, requests) for _ in range(3)]
        rate, cpu = max(rate for rate, _ in runs), min(cpu for _, cpu in runs)
        print(f"{name:36} {rate:5.0f} requests/s, {cpu:.2f} ms of CPU per request", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--prompts", type=int, default=20_000)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--clients", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, server(given.samples) as url:
        if given.clients:
            compare_clients(url, given.samples, 3000)
        else:
            sizes = (10_000, 100_000) if given.memory else (given.prompts // 10, given.prompts)
            generate(Path(folder), url, sizes, given.samples)


def generate(folder: Path, url: str, sizes: tuple[int, int], samples: int) -> None:
    """Run the command with few and with many prompts, and print what it did."""
    before, _ = ask_bare("aiohttp", url, samples, 10_000)
    short, long = (run(folder, url, size, samples) for size in sizes)
    after, _ = ask_bare("aiohttp", url, samples, 10_000)
    for done in (short, long):
        print(
            f"{done.prompts:>8} prompts x {samples}: {done.seconds:6.1f} s, "
            f"{done.cpu_seconds:5.1f} s of CPU, peak {done.peak_mib:.0f} MiB"
        )
    more, ideal = long.prompts - short.prompts, CONCURRENT / DELAY
    print(f"sustained: {long.rate:.0f} requests/s, {long.rate / ideal:.0%} of the ideal {ideal:.0f}")
    print(f"a bare loop: {before:.0f} requests/s before, {after:.0f} after")
    print(f"CPU per request: {(long.cpu_seconds - short.cpu_seconds) / more * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
