"""Servers that misbehave: every rollout arrives once, and what is not available is reported, never made up."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.errors import ConfigError, Interrupted
from analyzer.generation import Generated, run, servers
from tests.generation.conftest import Settings
from tests.generation.stub import Plan, always, first, running, well

pytestmark = pytest.mark.usefixtures("impatient")
Training = Callable[[int], Path]
WHOLE = [(data_idx, sample_idx) for data_idx in range(6) for sample_idx in range(4)]


def keys(done: Generated) -> list[tuple[int, int]]:
    """(data_idx, sample_idx) of each row, after checking that each row answers its own prompt."""
    rows = pq.read_table(done.path).to_pylist()
    assert all(row["response"].startswith(f"What is {row['data_idx']}+1? -> ") for row in rows)
    assert len({row["response"] for row in rows}) == len(rows)
    return [(row["data_idx"], row["sample_idx"]) for row in rows]


def failures(done: Generated) -> list[dict[str, Any]]:
    assert done.failures is not None
    return [orjson.loads(line) for line in done.failures.read_bytes().splitlines()]


@pytest.mark.parametrize(
    "plan",
    [
        well,
        first(*["429"] * 20),
        first("503", "429", "503"),
        first("500", "500"),
        first("truncated", "html"),
        first("null", "aborted"),
        always("one"),
        always("two_many"),
        always("no_usage"),
        first("dies"),
    ],
    ids=["well", "429 storm", "503", "500", "truncated", "null", "ignores n", "too many", "no usage", "dies"],
)
def test_what_passes_is_waited_out(training: Training, settings: Settings, plan: Plan) -> None:
    with running(plan) as server:
        done = run(settings(training(6), server.url))
    assert (keys(done), done.failed) == (WHOLE, 0)


def test_a_server_that_answers_with_fewer_is_asked_for_the_rest_only(training: Training, settings: Settings) -> None:
    with running(always("one")) as server:
        done = run(settings(training(2), server.url, max_concurrent=1))
        asked = [body["n"] for body in server.stub.bodies]
    assert asked == [4, 3, 2, 1] * 2
    table = pq.read_table(done.path)
    assert table["response_tokens"].to_pylist() == [5] * 8
    assert table["prompt_tokens"].to_pylist() == [7] * 8


def test_a_server_that_refuses_many_at_once_is_asked_for_one(training: Training, settings: Settings) -> None:
    with running(lambda number, body: "400" if body["n"] > 1 else "ok") as server:
        done = run(settings(training(6), server.url, max_concurrent=2))
        refused = sum(body["n"] > 1 for body in server.stub.bodies)
    assert keys(done) == WHOLE
    assert refused <= 2


def test_a_first_prompt_that_is_refused_does_not_make_all_others_single(training: Training, settings: Settings) -> None:
    with running(lambda number, body: "400" if "0+1" in body["messages"][0]["content"] else "ok") as server:
        done = run(settings(training(6), server.url, max_concurrent=1))
        assert [body["n"] for body in server.stub.bodies] == [4, 1, 4, 4, 4, 4, 4]
    assert done.failed == 1


def test_a_server_with_a_limit_is_asked_for_as_many_as_it_gave(training: Training, settings: Settings) -> None:
    given = iter([2, 9, 9, 2, 9])

    def top_up(number: int, body: dict[str, Any]) -> str:
        return "400" if body["n"] > 2 else "ok"

    data = training(5)
    lists = data.parent / "topup.parquet"
    samples = list(given)
    pq.write_table(pa.table({"data_idx": range(5), "samples": samples, "first_sample_idx": [4] * 5}), lists)
    with running(top_up) as server:
        done = run(settings(data, server.url, max_concurrent=1, top_up=str(lists)))
        assert [body["n"] for body in server.stub.bodies] == [2, 9, 2, 2, 2, 2, 1, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 1]
    assert (done.rollouts, done.failed) == (31, 0)


@pytest.mark.parametrize(("delay", "prompts"), [(0.05, 60), (0.8, 8)], ids=["short", "longer than the patience"])
def test_more_in_flight_than_a_server_takes_costs_no_prompt(
    training: Training, settings: Settings, delay: float, prompts: int
) -> None:
    with running(delay=delay) as server:
        server.stub.slots = 3
        done = run(settings(training(prompts), server.url, max_concurrent=12, patience=0.5))
        sent = len(server.stub.bodies)
    assert (done.rollouts, done.failed) == (4 * prompts, 0)
    assert sent < 2 * prompts + 12  # it is not asked over and over


@pytest.mark.parametrize("prompts", [6, 60], ids=["outlasts the others", "beside the others"])
def test_a_request_that_is_refused_for_ever_fails_while_others_are_answered(
    training: Training, settings: Settings, prompts: int
) -> None:
    def plan(number: int, body: dict[str, Any]) -> str:
        return "429" if "What is 1+1?" in body["messages"][0]["content"] else "ok"

    with running(plan, delay=0.05) as server:
        server.stub.slots = 3
        done = run(settings(training(prompts), server.url, max_concurrent=6, patience=1.5))
    assert [line["data_idx"] for line in failures(done)] == [1]
    assert done.rollouts == 4 * (prompts - 1)


def test_a_choice_that_a_filter_emptied_is_asked_for_again_with_a_note(
    training: Training, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(first("filtered", "filtered")) as server:
        done = run(settings(training(6), server.url, max_concurrent=1))
        assert [body["n"] for body in server.stub.bodies[:3]] == [4, 1, 1]
    assert keys(done) == WHOLE
    assert "2 responses were cut or emptied by the provider's filter" in capsys.readouterr().err


def test_what_makes_rollouts_useless_or_has_no_room_is_said_after_a_few_answers(
    training: Training, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    gaps, room = "answers have more tokens than their text has bytes", "the rollouts to come take some"
    with running(always("stripped")) as server:
        run(settings(training(20), server.url))
    assert capsys.readouterr().err.count(gaps) == 1
    with running(lambda number, body: "one" if number < 20 else "401") as server:
        with pytest.raises(ConfigError, match="401"):
            run(settings(training(1), server.url, num_samples=10**12, output_path=f"{training(1)}.o", max_tokens=1))
        errors = capsys.readouterr().err
        assert (errors.count(room), errors.count(gaps)) == (1, 0)


def test_greedy_sampling_asks_for_one_at_a_time(training: Training, settings: Settings) -> None:
    with running() as server:
        run(settings(training(1), server.url, temperature=0.0))
        assert [body["n"] for body in server.stub.bodies] == [1, 1, 1, 1]


def test_a_prompt_that_fails_for_good_is_listed_and_the_others_are_whole(
    training: Training, settings: Settings
) -> None:
    def plan(number: int, body: dict[str, Any]) -> str:
        return {"What is 2+1?": "400", "What is 4+1?": "500"}.get(body["messages"][0]["content"], "ok")

    with running(plan) as server:
        done = run(settings(training(6), server.url, max_attempts=2))
        assert keys(done) == [key for key in WHOLE if key[0] not in (2, 4)]
        listed = {line["data_idx"]: line for line in failures(done)}
        assert listed.keys() == {2, 4}
        assert listed[2]["missing"] == 4
        assert "400 stub says 400" in listed[2]["reason"]
        assert "failed 2 times" in listed[4]["reason"]

        server.stub.plan = well  # the same command tries what failed, and only that
        before = len(server.stub.bodies)
        again = run(settings(training(6), server.url, max_attempts=2))
        assert (again.asked, again.failed, len(server.stub.bodies) - before) == (8, 0, 2)
    assert keys(again) == WHOLE
    assert done.failures is not None
    assert not done.failures.exists()


def test_a_slow_loris_is_cut_off_and_asked_again_with_a_note(
    training: Training, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with running(first("drips", "hangs")) as server:
        done = run(settings(training(2), server.url, request_timeout=0.3))
    assert done.rollouts == 8
    assert "2 requests were not answered within 0.3 s and sampled again: if the responses" in capsys.readouterr().err


def test_what_is_waited_for_is_said_once(
    training: Training, settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analyzer.generation.server._SILENT_SECONDS", 0.05)
    with running(delay=0.25) as server:
        run(settings(training(3), server.url))
    assert capsys.readouterr().err.count("3 requests are under way, each for up to 1800 s (--request_timeout)") == 1


def test_a_server_that_only_drips_fails_its_prompts(training: Training, settings: Settings) -> None:
    with running(always("drips")) as server:
        done = run(settings(training(1), server.url, request_timeout=0.15, max_attempts=2))
    assert (done.rollouts, done.failed) == (0, 1)
    assert "--request_timeout" in done.first_failure


def test_prompts_that_cannot_be_asked_are_listed_and_not_sent(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"prompt": "What is 0+1?"}\n{"prompt": null}\n')
    with running() as server:
        done = run(settings(path, server.url))
        assert [body["prompt"] for body in server.stub.bodies] == ["What is 0+1?"]
        assert server.stub.paths == ["/v1/completions"]
    assert [(line["data_idx"], line["reason"]) for line in failures(done)] == [(1, "the prompt is null")]


@pytest.mark.parametrize(
    ("fault", "said"),
    [("401", "refuses all requests"), ("402", "refuses all requests"), ("reasoning", "--reasoning-parser")],
)
def test_what_would_fail_for_all_stops_the_run(training: Training, settings: Settings, fault: str, said: str) -> None:
    with running(always(fault)) as server, pytest.raises(ConfigError, match=said):
        run(settings(training(6), server.url))
    assert not list(training(6).parent.glob("rollouts*"))


def test_a_run_in_which_nothing_works_stops_early(training: Training, settings: Settings) -> None:
    with running(always("400")) as server, pytest.raises(ConfigError, match="the first 100 prompts all failed"):
        run(settings(training(2000), server.url, max_concurrent=4))
    assert len(server.stub.bodies) < 400


def test_null_prompts_at_the_beginning_do_not_stop_a_run(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"prompt": [None] * 150 + ["What is 0+1?"] * 2}), path)
    with running() as server:
        done = run(settings(path, server.url, max_concurrent=2))
    assert (done.rollouts, done.failed, done.unusable) == (8, 150, 150)


def test_no_more_requests_are_in_flight_than_allowed(training: Training, settings: Settings) -> None:
    with running(delay=0.02) as server:
        run(settings(training(40), server.url, max_concurrent=7))
        assert server.stub.busiest == 7


def test_the_key_comes_from_the_named_variable_only(
    training: Training, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-for-you")
    monkeypatch.setenv("MY_KEY", "secret")
    with running() as server:
        run(settings(training(1), server.url))
        assert server.stub.keys == {""}
        run(settings(training(1), server.url, api_key_env="MY_KEY", overwrite=True))
        assert server.stub.keys == {"", "Bearer secret"}


# ---------------------------------------------------------------- several servers


def test_requests_go_to_the_server_with_the_fewest_in_flight(training: Training, settings: Settings) -> None:
    with running(delay=0.02) as quick, running(delay=0.2) as slow:
        done = run(settings(training(60), f"{quick.url},{slow.url}", max_concurrent=10))
        counts = (len(quick.stub.bodies), len(slow.stub.bodies))
    assert done.rollouts == 240
    assert sum(counts) == 60
    assert counts[0] > 2 * counts[1] > 0


def test_a_server_killed_in_mid_run_loses_nothing(training: Training, settings: Settings) -> None:
    with running(delay=0.05) as one, running(delay=0.05) as other:
        with other.after(5, other.die):
            done = run(settings(training(200), f"{one.url},{other.url}", max_concurrent=10))
        assert 5 <= len(other.stub.bodies) < 200
    assert keys(done) == [(row, sample) for row in range(200) for sample in range(4)]
    assert done.failed == 0


def test_a_server_that_comes_back_is_used_again(training: Training, settings: Settings) -> None:
    with running(delay=0.05) as one, running(delay=0.05) as other:
        other.die()
        with one.after(20, other.revive):
            done = run(settings(training(200), f"{one.url},{other.url}", max_concurrent=4))
        assert len(other.stub.bodies) > 0
    assert done.rollouts == 800


def test_one_notice_says_that_all_servers_are_gone(
    training: Training, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(servers, "_TELL_AFTER_SECONDS", 0.2)
    with running(delay=0.02) as server:
        asked = settings(training(300), server.url, max_concurrent=4, patience=1)
        with server.after(20, server.die), pytest.raises(Interrupted):
            run(asked)
    said = capsys.readouterr().err
    assert said.count("no server has answered for 0.2 s (last: ") == 1
    assert "waiting up to 1 s (--patience)" in said


def test_when_all_servers_are_gone_the_run_stops_and_goes_on_later(training: Training, settings: Settings) -> None:
    with running(delay=0.02) as server:
        asked = settings(training(300), server.url, max_concurrent=4, patience=0.5)
        died: list[float] = []

        def die() -> None:
            server.die()
            died.append(time.monotonic())

        with server.after(20, die), pytest.raises(Interrupted, match=r"no server has answered for 0\.5 s"):
            run(asked)
        assert time.monotonic() - died[0] < 10
        server.revive()
        before = len(server.stub.bodies)
        done = run(asked)
        assert len(server.stub.bodies) - before < 300
    assert done.rollouts == 1200
    assert done.asked < 1200


# ---------------------------------------------------------------- the model's name


def test_the_model_is_asked_from_the_server_unless_it_is_given(training: Training, settings: Settings) -> None:
    with running(models=("policy",)) as server:
        assert run(settings(training(1), server.url)).model == "policy"
        assert server.stub.bodies[-1]["model"] == "policy"
        assert run(settings(training(1), server.url, vllm_model_name="lora", overwrite=True)).model == "lora"


def test_it_must_be_clear_which_model_is_meant(training: Training, settings: Settings) -> None:
    with running(models=("a", "b")) as two, running(models=()) as none, running(models=("c",)) as other:
        with pytest.raises(ConfigError, match="offers 2 models: a, b; choose with --vllm_model_name"):
            run(settings(training(1), two.url))
        with pytest.raises(ConfigError, match="does not say which model"):
            run(settings(training(1), none.url))
        with pytest.raises(ConfigError, match="the servers serve different models: b, c"):
            run(settings(training(1), f"{two.url},{other.url}", model_path="b"))
        assert run(settings(training(1), none.url, model_path="/models/b")).model == "/models/b"


def test_a_wrong_address_is_refused_before_anything_is_written(
    training: Training, settings: Settings, tmp_path: Path
) -> None:
    with running() as server:
        url = server.url
        with pytest.raises(ConfigError, match="usually ends in /v1"):
            run(settings(training(1), url.removesuffix("/v1")))
    with pytest.raises(
        ConfigError, match=r"^Could not reach http://127\.0\.0\.1:\d+/v1 \(connection refused\); start a server"
    ):
        run(settings(training(1), url))
    assert not list(tmp_path.glob("rollouts*"))
