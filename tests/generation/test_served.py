"""Two checkpoints under one served name: their rollouts are never mixed, nor taken for each other's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from analyzer.commands.generate_rollouts import generate_rollouts
from analyzer.errors import ConfigError, OutputError, UserError
from analyzer.generation import run
from analyzer.generation.state import Served
from tests.generation.conftest import Settings
from tests.generation.stub import Stub, always, first, running, well

Training = Callable[[int], Path]


def stops_after(answers: int) -> Callable[[int, dict[str, Any]], str]:
    """A server that refuses everything after so many answers, and so ends the run."""
    return lambda number, body: "ok" if number < answers else "401"


def asked_of(stub: Stub) -> int:
    return len(stub.bodies)


def test_a_generation_is_not_resumed_with_another_checkpoint_of_that_name(
    training: Training, settings: Settings
) -> None:
    data = training(20)
    with running(stops_after(5), root="/ckpt/100") as old, running(root="/ckpt/200") as new:
        with pytest.raises(ConfigError, match="401"):
            run(settings(data, old.url, max_concurrent=1))
        with pytest.raises(OutputError, match=r"started with the model 'stub' from /ckpt/100.* 'stub' from /ckpt/200"):
            run(settings(data, new.url))
        assert asked_of(new.stub) == 0
        kept = run(settings(data, new.url, same_model=True))
        assert (kept.rollouts, kept.asked) == (80, 60)


def test_overwriting_with_another_checkpoint_drops_what_the_first_one_generated(
    training: Training, settings: Settings
) -> None:
    data = training(20)
    with running(stops_after(5), root="/ckpt/100") as old, running(root="/ckpt/200") as new:
        with pytest.raises(ConfigError):
            run(settings(data, old.url, max_concurrent=1))
        assert run(settings(data, new.url, overwrite=True)).asked == 80


def test_the_same_checkpoint_at_another_address_goes_on_and_says_so(
    training: Training, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    data = training(20)
    with running(stops_after(5), root="/ckpt/100") as old, running(root="/ckpt/100") as new:
        with pytest.raises(ConfigError):
            run(settings(data, old.url, max_concurrent=1))
        assert run(settings(data, new.url)).asked == 60
    assert f"20 rollouts already from {old.url}; now using {new.url}" in capsys.readouterr().err


def test_a_complete_generation_is_not_taken_for_another_checkpoints(
    training: Training, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    data = training(2)
    with running(root="/ckpt/100") as old, running(root="/ckpt/200") as new:
        first = settings(data, old.url)
        run(first)
        before = Path(first.output_path).read_bytes()
        with pytest.raises(
            OutputError, match=r"complete since 20.*'stub' from /ckpt/100.*serves 'stub' from /ckpt/200"
        ):
            run(settings(data, new.url))
        assert run(settings(data, new.url, same_model=True)).asked == 0
        command = ["--data_path", str(data), "--output_path", first.output_path, "--use_vllm", "--num_samples=4"]
        capsys.readouterr()
        assert generate_rollouts([*command, "--vllm_url", old.url]) == 0
        said = capsys.readouterr().out
        assert f"from {old.url} ('stub' from /ckpt/100); nothing was requested" in said
        assert "Written" not in said
        assert asked_of(new.stub) == 0
    assert Path(first.output_path).read_bytes() == before
    assert generate_rollouts([*command, "--vllm_url", old.url]) == 0, "no server is needed"
    assert f"complete since 20{said.split('complete since 20')[1].split(',')[0]}, from {old.url}" in said


def test_servers_that_load_it_from_different_places_are_named_unless_the_user_vouches(
    training: Training, settings: Settings
) -> None:
    with running(root="/ckpt/100") as one, running(root="/ckpt/200") as other, running() as mute:
        both = f"{one.url},{other.url}"
        with pytest.raises(ConfigError) as error:
            run(settings(training(2), f"{mute.url},{both}"))
        for part in (one.url, "/ckpt/100", other.url, "/ckpt/200", "--same_model"):
            assert part in str(error.value)
        assert asked_of(one.stub) == asked_of(other.stub) == 0
        assert run(settings(training(2), both, same_model=True)).rollouts == 8


@pytest.mark.usefixtures("impatient")
def test_a_server_that_comes_back_with_another_checkpoint_is_not_asked(training: Training, settings: Settings) -> None:
    data = training(300)
    with running(delay=0.02, root="/ckpt/100") as one, running(root="/ckpt/200") as other:
        other.die()

        def plan(number: int, body: dict[str, Any]) -> str:
            if number == 10:
                revive.start()
            return "ok"

        import threading

        revive = threading.Thread(target=other.revive)
        one.stub.plan = plan
        with pytest.raises(ConfigError, match=r"of 'stub' from /ckpt/100, and .* now serves 'stub' from /ckpt/200"):
            run(settings(data, f"{one.url},{other.url}", max_concurrent=4))
        revive.join()
        assert asked_of(other.stub) == 0
        done = run(settings(data, one.url))
        assert 0 < done.asked < 1200


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", [None, "policy"], ids=["listed", "another name"])
def test_a_server_that_lists_another_name_when_it_comes_back_is_not_asked(
    training: Training, settings: Settings, name: str | None
) -> None:
    # llama.cpp answers any name with the model that it has, and says of its place nothing but that name.
    data = training(40)
    with running(delay=0.02, models=("a.gguf",)) as server:

        def started_anew(number: int, body: dict[str, Any]) -> str:
            if number == 10:
                server.stub.models = ("b.gguf",)
            return "dies" if number == 10 else "ok"

        server.stub.plan = started_anew
        with pytest.raises(ConfigError, match=r"a\.gguf.*now serves .*b\.gguf"):
            run(settings(data, server.url, max_concurrent=2, vllm_model_name=name))
        assert asked_of(server.stub) < 20
        with pytest.raises(OutputError, match=r"a\.gguf.*b\.gguf"):
            run(settings(data, server.url, vllm_model_name=name))
        server.stub.models = ("a.gguf",)
        assert 0 < run(settings(data, server.url, vllm_model_name=name)).asked < 160


@pytest.mark.usefixtures("impatient")
def test_a_server_that_gave_no_model_path_need_not_list_its_models_again(
    training: Training, settings: Settings
) -> None:
    with running(first("503", "dies")) as server:
        server.stub.listings = 1
        done = run(settings(training(6), server.url, max_concurrent=2))
    assert (done.rollouts, done.failed) == (24, 0)


@pytest.mark.usefixtures("impatient")
def test_a_server_without_a_list_of_models_is_used_where_its_model_is_named(
    training: Training, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    with running() as server, running(root="/ckpt/100") as lists:
        answers: tuple[int | str, ...] = (401, 403, 404, 405, 501, "<html>gateway</html>", '{"models": 1}')
        for number, answer in enumerate(answers):
            server.stub.list_is = answer
            for urls in (server.url, f"{lists.url},{server.url}"):
                with pytest.raises(ConfigError, match=rf"^{server.url} .*(_env|/v1), or name .* --vllm_model_name"):
                    run(settings(training(2), urls, output_path=f"{training(2)}.out"))
            assert asked_of(server.stub) + asked_of(lists.stub) == 0
            # One connection breaks: a server that has come back is asked for its list again.
            server.stub.plan = first("ok", "dies") if answer == 404 else well
            asked = settings(training(2), server.url, vllm_model_name="m", overwrite=number > 0)
            assert run(asked).rollouts == 8
            said = capsys.readouterr().err
            assert f"generate_rollouts: {server.url} " in said
            assert "'m' is requested unseen" in said
            assert run(settings(training(2), server.url, vllm_model_name="m")).asked == 0
            both = settings(training(2), f"{lists.url},{server.url}", vllm_model_name="stub", overwrite=True)
            server.stub.plan = well
            assert run(both).rollouts == 8
            assert min(asked_of(server.stub), asked_of(lists.stub)) > 0
            for stub in (server.stub, lists.stub):
                stub.bodies.clear()
                stub.paths.clear()
        server.stub.list_is = '[{"id": "bare"}]'
        assert run(settings(training(1), server.url, overwrite=True)).model == "bare"
        server.stub.list_is = '{"object": "list", "data": null}'
        with pytest.raises(ConfigError, match="does not say which model it has; choose with --vllm_model_name"):
            run(settings(training(1), server.url, overwrite=True))


def test_the_first_request_reports_a_wrong_address_that_no_model_list_revealed(
    training: Training, settings: Settings, tmp_path: Path
) -> None:
    said = r"refuses all requests: .*404.*; the address usually ends in /v1"
    with running() as server, pytest.raises(ConfigError, match=said):
        run(settings(training(1), server.url.removesuffix("/v1"), vllm_model_name="stub"))
    assert not list(tmp_path.glob("rollouts*"))


def test_servers_of_which_one_lists_another_model_are_refused(training: Training, settings: Settings) -> None:
    with running(models=("a",)) as one, running(models=("b",)) as other:
        both = f"{one.url},{other.url}"
        with pytest.raises(ConfigError, match=r"lists the model 'a', and .* only b"):
            run(settings(training(2), both, vllm_model_name="a"))
        assert run(settings(training(2), both, vllm_model_name="a", same_model=True)).rollouts == 8


def test_answers_that_name_another_model_end_the_run_unless_the_user_vouches(
    training: Training, settings: Settings
) -> None:
    data = training(40)
    with running() as server:

        def falls_back(number: int, body: dict[str, Any]) -> str:
            server.stub.says = "stub-2024" if number < 10 else "other"
            return "ok"

        server.stub.plan = falls_back
        with pytest.raises(ConfigError, match=r"so far were of 'stub-2024', and .* now answers with 'other'"):
            run(settings(data, server.url, max_concurrent=1))
        assert asked_of(server.stub) == 11
        done = run(settings(data, server.url, same_model=True))
        assert (done.rollouts, done.asked) == (160, 120)


def test_sglang_says_where_its_weights_are_in_another_place(training: Training, settings: Settings) -> None:
    with running(root="/ckpt/100") as one, running(root="/ckpt/200") as other:
        one.stub.like_sglang = other.stub.like_sglang = True
        with pytest.raises(ConfigError, match=r"'stub' from /ckpt/100, .* serves 'stub' from /ckpt/200"):
            run(settings(training(2), f"{one.url},{other.url}"))
        assert run(settings(training(2), one.url)).rollouts == 8
        with pytest.raises(OutputError, match="nothing was requested"):
            run(settings(training(2), other.url))


def test_what_changes_with_each_listing_is_no_other_model(training: Training, settings: Settings) -> None:
    with running(root="/ckpt/100") as server:
        asked = settings(training(2), server.url)
        run(asked)
        assert run(asked).asked == 0  # `created` and `permission` differ at every request


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        (Served("a"), Served("a"), False),
        (Served("a", "/x"), Served("a"), False),  # one does not say: unknown, not different
        (Served("a", "/x"), Served("a", "/x"), False),
        (Served("a", "/x"), Served("a", "/y"), True),
        (Served("a", "/x", "base"), Served("a", "/x", "base2"), True),  # one adapter on two models
        (Served("a", "/x", "base"), Served("a", "/x", None), False),
    ],
)
def test_models_differ_where_a_place_is_known_to(one: Served, other: Served, differ: bool) -> None:
    assert one.differs(other) is other.differs(one) is differ


def test_a_local_folder_whose_weights_were_replaced_is_another_model(
    training: Training, settings: Settings, tmp_path: Path
) -> None:
    from analyzer.generation.pipeline import identity_of, open_data, wanted_of

    def identity(folder: Path) -> Any:
        asked = settings(training(2), "", use_vllm=False, model_path=str(folder))
        data = open_data(asked)
        return identity_of(asked, data, wanted_of(asked, data))

    folder = tmp_path / "latest"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"step 100")
    before = identity(folder)
    copied = shutil.copytree(folder, tmp_path / "copy")
    assert identity(copied)["weights"] == before["weights"]
    (folder / "model.safetensors").write_bytes(b"step 200")
    assert identity(folder)["weights"] != before["weights"]


def test_a_rollouts_file_holds_the_rollouts_of_the_first_model_only(training: Training, settings: Settings) -> None:
    with running(always("ok"), root="/ckpt/100") as old, running(root="/ckpt/200") as new:
        done = run(settings(training(3), old.url))
        before = pq.read_table(done.path)
        with pytest.raises(UserError):
            run(settings(training(3), new.url))
    assert pq.read_table(done.path).equals(before)
