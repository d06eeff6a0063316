"""A generation as a whole: killed anywhere it goes on, finished it asks for nothing, and settings never mix."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer import tokens
from analyzer.commands.generate_rollouts import generate_rollouts
from analyzer.errors import ConfigError, OutputError, StorageError, UserError
from analyzer.generation import GenerationSettings, generate, run, writer
from analyzer.generation.state import State
from analyzer.workers.interrupts import SIGNALS
from tests import processes
from tests.generation.conftest import Settings
from tests.generation.stub import Running, always, running, well
from tests.processes import PIPE, Process

Training = Callable[[int], Path]
ROOT = Path(__file__).resolve().parents[2]


def keys(path: Path) -> list[tuple[int, int]]:
    table = pq.read_table(path, columns=["data_idx", "sample_idx"])
    return list(zip(table["data_idx"].to_pylist(), table["sample_idx"].to_pylist(), strict=True))


def whole(prompts: int, samples: int = 4) -> list[tuple[int, int]]:
    return [(data_idx, sample_idx) for data_idx in range(prompts) for sample_idx in range(samples)]


def test_a_finished_generation_asks_for_nothing_even_without_a_server(training: Training, settings: Settings) -> None:
    with running() as server:
        asked = settings(training(5), server.url)
        path = generate(asked)
        before = path.read_bytes()
    again = run(asked)
    assert (again.rollouts, again.asked, again.model) == (20, 0, "stub")
    assert path.read_bytes() == before
    assert sorted(file.name for file in path.parent.glob("rollouts*")) == [
        "rollouts.parquet",
        "rollouts.parquet.generation.json",
    ]


# Of the signals Python itself handles SIGINT, in asyncio as well; the others are alike.
LONG = [pytest.param(number, marks=pytest.mark.faults) for number in SIGNALS if number != signal.SIGINT]


@pytest.mark.parametrize("killing", [signal.SIGKILL, signal.SIGINT, *LONG])
def test_killed_in_the_middle_it_goes_on_and_asks_only_for_what_is_missing(
    training: Training, tmp_path: Path, killing: signal.Signals
) -> None:
    output = tmp_path / "rollouts.parquet"
    journal = tmp_path / "rollouts.parquet.unfinished" / "journal"
    with running(delay=0.02) as server:
        command = [str(ROOT / "scripts" / "generate_rollouts.py"), "--use_vllm"]
        command += ["--vllm_url", server.url, "--data_path", str(training(100)), "--output_path", str(output)]
        command += ["--num_samples", "4", "--max_concurrent", "5"]
        with Process(command, stdout=PIPE, stderr=PIPE) as process:
            while not journal.exists() or journal.stat().st_size < 4000:
                time.sleep(0.01)
                assert process.poll() is None
            process.send_signal(killing)
            _, errors = process.communicate(timeout=5)
        assert process.returncode == (-signal.SIGKILL if killing == signal.SIGKILL else 75)
        if killing != signal.SIGKILL:
            assert f"error: stopped by {killing.name}; the same command resumes" in errors
            assert "Traceback" not in errors
        assert not output.exists()
        kept = journal.read_bytes().count(b"\n")
        before = len(server.stub.bodies)
        done = processes.run(command, check=True)
        assert len(server.stub.bodies) - before == 100 - kept
    assert 0 < kept < 100
    assert f"Rollouts: 400 ({4 * (100 - kept)} new)" in done.stdout
    assert keys(output) == whole(100)
    responses = pq.read_table(output)["response"].to_pylist()
    assert len(set(responses)) == 400


@pytest.mark.parametrize("moment", ["write_rollouts", "finish"])
def test_killed_at_the_end_it_is_written_without_asking_again(
    training: Training, settings: Settings, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with running() as server:
        asked = settings(training(5), server.url)
        monkeypatch.setattr(writer if moment == "write_rollouts" else State, moment, die)
        with pytest.raises(KeyboardInterrupt):
            run(asked)
        monkeypatch.undo()
    done = run(asked)
    assert (done.asked, done.model) == (0, "stub")
    assert keys(done.path) == whole(5)


def test_killed_before_its_folder_is_removed_it_leaves_none_after_the_next_run(
    training: Training, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with running() as server:
        asked = settings(training(5), server.url)
        with monkeypatch.context() as killed:
            killed.setattr(State, "forget", die)
            with pytest.raises(KeyboardInterrupt):
                run(asked)
    assert Path(f"{asked.output_path}.unfinished").exists()
    assert run(asked).asked == 0
    assert not Path(f"{asked.output_path}.unfinished").exists()


def test_overwriting_does_not_take_the_folder_from_a_process_that_writes_to_it(
    training: Training, settings: Settings
) -> None:
    said = list[str]()
    with running() as other, running() as server:
        asked = settings(training(40), server.url, max_concurrent=1)

        def overwrites(number: int, body: dict[str, Any]) -> str:
            if number == 5:
                with pytest.raises(OutputError) as error:
                    run(settings(training(40), other.url, temperature=0.1, overwrite=True))
                said.append(str(error.value))
            return "ok"

        server.stub.plan = overwrites
        done = run(asked)
    assert "another process is writing to it" in said[0]
    assert (keys(done.path), other.stub.bodies) == (whole(40), [])


def test_other_settings_are_refused_and_nothing_is_mixed(training: Training, settings: Settings) -> None:
    with running() as server:
        data = training(5)
        path = generate(settings(data, server.url))
        before = path.read_bytes()
        with pytest.raises(OutputError, match=r"temperature \(0\.7 then, 1\.0 now\)"):
            run(settings(data, server.url, temperature=1.0))
        with pytest.raises(OutputError, match="training data"):
            run(settings(training(6), server.url))
        assert path.read_bytes() == before
        run(settings(data, server.url, temperature=1.0, overwrite=True))
    assert set(pq.read_table(path)["temperature"].to_pylist()) == {1.0}


def test_an_input_is_never_replaced_and_an_unwritable_output_is_refused_first(
    training: Training, settings: Settings, tmp_path: Path
) -> None:
    data = training(2)
    before = data.read_bytes()
    (tmp_path / "link.parquet").symlink_to(data)
    with running() as server:
        for path, said in (
            (data, "is read, and would be replaced; give another name"),
            (tmp_path / "link.parquet", "is read, and would be replaced"),
            (Path("/proc/x.parquet"), "--output_path /proc/x.parquet: /proc cannot be written to"),
            (data / "x.parquet", "is a file; it must be a folder"),
        ):
            with pytest.raises(UserError, match=said):
                run(settings(data, server.url, output_path=str(path), overwrite=True))
        assert not server.stub.bodies
    assert data.read_bytes() == before


def test_other_settings_on_an_unfinished_generation_are_refused(
    training: Training, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise StorageError("no room")

    with running() as server, running(models=("other",)) as other:
        data = training(5)
        monkeypatch.setattr(writer, "write_rollouts", full)
        with pytest.raises(StorageError):
            run(settings(data, server.url))
        monkeypatch.undo()
        with pytest.raises(OutputError, match=r"unfinished generation with other settings: num_samples \(4 then, 3"):
            run(settings(data, server.url, num_samples=3))
        with pytest.raises(OutputError, match=r"model \(stub then, x now\)"):
            run(settings(data, server.url, vllm_model_name="x"))
        journal = Path(f"{settings(data, '').output_path}.unfinished/journal")
        journal.write_bytes(journal.read_bytes()[:-30])  # so that there is something to ask
        with pytest.raises(OutputError, match="started with the model 'stub', the server has 'other'; serve"):
            run(settings(data, other.url))
        assert run(settings(data, server.url)).rollouts == 20


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_a_larger_limit_keeps_the_rollouts_of_the_smaller_one(
    training: Training, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    path = str(tmp_path / f"rollouts.{ending}")

    def asked(server: Running, limit: int | None, **more: Any) -> GenerationSettings:
        return settings(training(9), server.url, limit=limit, output_path=path, **more)

    def rows() -> list[dict[str, Any]]:
        lines = Path(path).read_bytes().splitlines() if ending == "jsonl" else []
        return list(map(json.loads, lines)) or pq.read_table(path).to_pylist()

    with running() as server:
        run(asked(server, 2))
        first = rows()
        with pytest.raises(OutputError, match=r"limit \(2 then, 1 now\)"):
            run(asked(server, 1))
        with monkeypatch.context() as killed:  # before all of them are in the journal
            killed.setattr(State, "take_up", Mock(side_effect=KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                run(asked(server, 4))
        server.stub.plan = lambda number, body: "401" if number == 3 else "ok"
        with pytest.raises(ConfigError, match="401"):
            run(asked(server, 4, max_concurrent=1))
        assert (run(asked(server, 2)).asked, rows()) == (0, first), "the file of the smaller limit stands until then"
        server.stub.plan = well
        with pytest.raises(OutputError, match=r"unfinished generation with other settings: limit \(4 then, 3 now\)"):
            run(asked(server, 3))
        assert run(asked(server, 5)).asked == 8, "of an unfinished one, too"
        assert run(asked(server, None)).asked == 16
        assert run(asked(server, None)).asked == 0
    assert rows()[:8] == first
    assert [(row["data_idx"], row["sample_idx"]) for row in rows()] == whole(9)
    assert len({row["response"] for row in rows()}) == 36
    with running() as server:
        assert run(asked(server, 4, overwrite=True)).asked == 16, "overwriting asks anew"
        Path(path).write_bytes(bytes(Path(path).stat().st_size))
        with pytest.raises(
            OutputError, match=r"rollouts\.\w+: is damaged .*; choose another --output_path, or --overwrite"
        ):
            run(asked(server, 5))


def test_more_samples_keep_those_that_are_there(training: Training, settings: Settings) -> None:
    with running() as server:

        def asked(num_samples: int, limit: int | None = None) -> GenerationSettings:
            more: dict[str, Any] = {"num_samples": num_samples, "limit": limit, "seed": 1, "max_concurrent": 1}
            return settings(training(4), server.url, **more)

        path = Path(asked(2).output_path)

        def rows() -> dict[tuple[int, int], str]:
            return dict(zip(keys(path), pq.read_table(path)["response"].to_pylist(), strict=True))

        server.stub.plan = lambda number, body: "400" if "1+1" in body["messages"][0]["content"] else "ok"
        assert (run(asked(2, limit=3)).failed, len(rows())) == (1, 4)
        first = rows()
        server.stub.plan = lambda number, body: "401" if number == 5 else "ok"
        with pytest.raises(ConfigError, match="401"):
            run(asked(3))  # of a file that lacks a prompt, with more of both
        assert rows() == first, "the file stands until a larger one is complete"
        for smaller, changed in (
            ((2, None), r"num_samples \(3 then, 2 now\)"),
            ((4, 3), r"limit \(None then, 3 now\)"),
        ):
            with pytest.raises(OutputError, match=changed):
                run(asked(*smaller))
        server.stub.plan = well
        assert run(asked(4)).asked == 16 - 4 - 4, "of an unfinished one, too"
        assert run(asked(5)).asked == 4, "and of one that is complete"
        assert run(asked(5)).asked == 0
        assert first.items() <= rows().items()
        assert sorted(rows()) == whole(4, 5)
        assert len(set(rows().values())) == 20
        seeds = [body["seed"] for body in server.stub.bodies if "0+1" in body["messages"][0]["content"]]
        assert len(set(seeds)) == len(seeds), "none draws what another one drew"
        with pytest.raises(OutputError, match=r"num_samples \(5 then, 4 now\)"):
            run(asked(4))


def test_nothing_is_dropped_before_what_generates_is_there(
    training: Training, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    data, nowhere = training(5), "http://127.0.0.1:9/v1"
    with running(lambda number, body: "401" if number == 2 else "ok") as server:
        asked = settings(data, server.url, max_concurrent=1)
        with pytest.raises(ConfigError, match="401"):
            run(asked)
        with pytest.raises(ConfigError, match=r"Could not reach .*; the proxy of HTTPS_PROXY is not used$"):
            run(settings(data, nowhere, temperature=1.0, overwrite=True))
        assert run(asked).asked == 12
        with pytest.raises(ConfigError, match="Could not reach"):
            run(settings(data, nowhere, overwrite=True))
        assert run(asked).asked == 0


@pytest.mark.parametrize("record", [b"", b'{"num_samples', b"[]", b"{}", b'{"identity": 5, "size": "x"}'])
def test_a_damaged_record_drops_no_rollouts(training: Training, settings: Settings, record: bytes) -> None:
    with running(lambda number, body: "401" if number == 2 else "ok") as server:
        asked = settings(training(5), server.url, max_concurrent=1)
        with pytest.raises(ConfigError, match="401"):
            run(asked)
        folder = Path(f"{asked.output_path}.unfinished")
        before = (folder / "journal").read_bytes()
        (folder / "settings.json").write_bytes(record)
        with pytest.raises(OutputError, match=r"settings\.json: missing or damaged|with other settings"):
            run(asked)
        assert (folder / "journal").read_bytes() == before
        done = run(settings(training(5), server.url, overwrite=True))
        manifest = Path(f"{asked.output_path}.generation.json")
        manifest.write_bytes(record)
        with pytest.raises(OutputError, match="exists and was not generated by this program"):
            run(asked)
    assert keys(done.path) == whole(5)


def test_a_file_that_is_not_ours_is_not_replaced(training: Training, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "rollouts.parquet").write_bytes(b"precious")
    with running() as server:
        with pytest.raises(OutputError, match="not generated by this program"):
            run(settings(training(1), server.url))
        assert (tmp_path / "rollouts.parquet").read_bytes() == b"precious"
        assert run(settings(training(1), server.url, overwrite=True)).rollouts == 4


def test_overwriting_goes_on_too_when_it_was_killed(training: Training, settings: Settings) -> None:
    with running() as server:
        asked = settings(training(5), server.url, overwrite=True)
        run(asked)
        with (
            running(lambda number, body: "401" if number > 2 else "ok") as failing,
            pytest.raises(Exception, match="401"),
        ):
            run(settings(training(5), failing.url, overwrite=True, max_concurrent=1))
        before = len(server.stub.bodies)
        run(asked)
        assert len(server.stub.bodies) - before == 2


@pytest.mark.parametrize(("fault", "said"), [("same", True), ("ok", False)])
def test_a_server_that_does_not_sample_is_noticed(
    training: Training, settings: Settings, capsys: pytest.CaptureFixture[str], fault: str, said: bool
) -> None:
    with running(always(fault)) as server:
        run(settings(training(12), server.url))
        run(settings(training(12), server.url, temperature=0.0, overwrite=True))
    assert capsys.readouterr().err.count("seems not to sample") == said


def test_rollouts_are_written_as_jsonl_too(training: Training, settings: Settings, tmp_path: Path) -> None:
    with running() as server:
        path = generate(settings(training(3), server.url, output_path=str(tmp_path / "r.jsonl"), limit=2))
    assert path.read_bytes().count(b"\n") == 8


def test_dry_run_shows_prompt_and_counts_and_writes_nothing(
    training: Training, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--data_path", str(training(5)), "--output_path", str(tmp_path / "o.parquet"), "--use_vllm", "--dry_run"]
    with running() as server:
        assert generate_rollouts([*argv, "--vllm_url", server.url, "--limit", "3"]) == 0
        assert not server.stub.bodies
        shown = capsys.readouterr().out
        assert "5 rows, 3 prompts to sample" in shown
        assert "3 x 8 = 24; none exists yet" in shown
        assert f"Model: stub at {server.url}" in shown
        assert "What is 0+1?" in shown
        assert "give --model_path to see" in shown
        url = server.url
    assert generate_rollouts([*argv, "--vllm_url", url]) == 0
    assert "not known, Could not reach" in capsys.readouterr().out
    assert not list(tmp_path.glob("o.parquet*"))


def test_dry_run_says_what_cannot_be_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        tokens, "load", lambda *_: SimpleNamespace(chat_template="x", apply_chat_template=None)
    )  # which takes seconds
    image = json.dumps([{"role": "user", "content": [{"type": "image"}]}])
    for content, said in ((None, "the prompt is null"), (image, "a part of a message is not text but image")):
        pq.write_table(pa.table({"prompt": pa.array([content], pa.string())}), tmp_path / "t.parquet")
        argv = ["--data_path", str(tmp_path / "t.parquet"), "--output_path", str(tmp_path / "o"), "--dry_run"]
        assert generate_rollouts([*argv, "--model_path", "policy"]) == 0
        assert f"First prompt (data_idx 0) cannot be sent: {said}" in capsys.readouterr().out


def test_dry_run_shows_text_as_it_is_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(pa.table({"q": ["Once upon"]}), tmp_path / "t.parquet")
    argv = ["--data_path", str(tmp_path / "t.parquet"), "--output_path", str(tmp_path / "o"), "--prompt_key", "q"]
    with running() as server:
        assert generate_rollouts([*argv, "--use_vllm", "--vllm_url", server.url, "--dry_run"]) == 0
    assert "through /completions, as it is:\nOnce upon\n" in capsys.readouterr().out


def test_failed_prompts_end_with_exit_3_and_a_line_that_names_the_list(
    training: Training, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--data_path", str(training(3)), "--output_path", str(tmp_path / "o.parquet"), "--use_vllm"]
    with running(lambda number, body: "400" if "1+1" in body["messages"][0]["content"] else "ok") as server:
        assert generate_rollouts([*argv, "--vllm_url", server.url]) == 3
    assert "1 prompt lacks rollouts, " in (errors := capsys.readouterr().err)
    assert f"{tmp_path}/o.parquet.failed.ndjson (data_idx 1: " in errors


def test_prompts_that_no_model_can_be_asked_are_not_promised_another_try(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "t.jsonl"
    data.write_text('{"prompt": "one"}\n{"prompt": null}\n{"prompt": "three"}\n')
    argv = ["--data_path", str(data), "--use_vllm", "--cache_dir", str(tmp_path / "c")]
    with running(lambda number, body: "400" if body["prompt"] == "three" else "ok") as server:
        argv += ["--vllm_url", server.url]
        assert generate_rollouts([*argv, "--output_path", str(tmp_path / "o.parquet")]) == 3
        assert (
            "the same command tries 1 of them again; the others can be sent to no model: correct them in the training"
            in (capsys.readouterr().err)
        )
        assert generate_rollouts([*argv, "--limit", "2", "--output_path", str(tmp_path / "p.parquet")]) == 3
    errors = capsys.readouterr().err
    assert (
        "(data_idx 1: the prompt is null); these prompts can be sent to no model: correct them in the training"
        in errors
    )
    assert "same command" not in errors


def test_rollouts_are_not_taken_for_training_data(
    training: Training, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running() as server:
        done = run(settings(training(2), server.url))
        argv = ["--data_path", str(done.path), "--output_path", str(tmp_path / "more.parquet"), "--use_vllm"]
        assert generate_rollouts([*argv, "--vllm_url", server.url]) == 2
    assert "these are rollouts (with columns 'response' and 'sample_idx')" in capsys.readouterr().err


MEASURED = """
import re, runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:  # not getrusage, whose peak begins with that of the process that forked this one
    print(int(re.search("VmHWM:\\s*([0-9]+)", open("/proc/self/status").read())[1]) / 1024)
"""


def test_memory_stays_flat_over_many_prompts(tmp_path: Path) -> None:
    peaks = []
    with running() as server:
        server.stub.forget_bodies()
        for prompts in (100, 1000):
            data = tmp_path / f"{prompts}.parquet"
            pq.write_table(pa.table({"prompt": [f"{row} " + "x" * 2000 for row in range(prompts)]}), data)
            command = ["-c", MEASURED, str(ROOT / "scripts" / "generate_rollouts.py"), "--use_vllm", "--num_samples=2"]
            command += ["--vllm_url", server.url, "--data_path", str(data), "--output_path", f"{data}.out"]
            done = processes.run(command, check=True)
            peaks.append(float(done.stdout.splitlines()[-1]))
    assert peaks[1] < peaks[0] + 60  # MiB: the row groups of reading and writing; 4 MB of text are asked and answered
