"""The wire: what an address, a header or a compressed body may hold, and the words for what went wrong."""

from __future__ import annotations

import base64
import datetime
import email.utils
import shutil
import socket
import ssl
import subprocess
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from analyzer.errors import ConfigError, Interrupted
from analyzer.generation import GenerationSettings, run
from analyzer.generation.client import Rejected
from tests import processes
from tests.generation.conftest import Settings
from tests.generation.stub import always, first, running

Training = Callable[[int], Path]


def a_closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://127.0.0.1:{port}/v1", "connection refused"),
        ("http://no-such-host.invalid/v1", "no address is known for 'no-such-host.invalid'"),
        ("http://localhost:{port}/v1", "connection refused"),
    ],
)
def test_a_server_that_cannot_be_reached_is_named_with_the_reason_and_no_arguments_of_a_library(
    training: Training, settings: Settings, url: str, why: str
) -> None:
    address = url.format(port=a_closed_port())
    with pytest.raises(ConfigError) as error:
        run(settings(training(1), address))
    assert str(error.value).startswith(f"Could not reach {address} ({why}); start a server there")


def test_a_certificate_that_is_not_trusted_is_named_with_what_to_do(
    training: Training, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]
    if shutil.which("openssl") is None or subprocess.run(made, capture_output=True, check=False).returncode:
        pytest.skip("openssl cannot make a certificate")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    with running(tls=context) as server:
        with pytest.raises(ConfigError, match=r"certificate is not trusted: self-signed certificate; .* SSL_CERT_FILE"):
            run(settings(training(1), server.url))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
        assert run(settings(training(1), server.url)).rollouts == 4


def test_https_to_a_server_without_tls_says_so(training: Training, settings: Settings) -> None:
    with running() as server, pytest.raises(ConfigError, match=r"Could not reach https://.* \(it does not speak TLS"):
        run(settings(training(1), server.url.replace("http:", "https:")))


def test_user_and_password_of_an_address_are_sent_and_never_shown(
    training: Training, settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running() as server:
        secret = server.url.replace("http://", "http://me:p%40ss%2Fword@")
        done = run(settings(training(2), secret))
        assert server.stub.keys == {"Basic " + base64.b64encode(b"me:p@ss/word").decode()}
        assert server.stub.headers[0]["Authorization"].startswith("Basic ")
    assert done.rollouts == 8
    with pytest.raises(ConfigError) as error:
        run(settings(training(2), secret, overwrite=True))
    shown = str(error.value) + capsys.readouterr().err
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()).decode(errors="replace")
    for text in ("p%40ss", "p@ss", "me:"):
        assert text not in shown
        assert text not in kept


def test_a_key_that_a_server_quotes_is_in_no_message_and_no_file(
    training: Training,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-0123456789")
    with running(always("quotes")) as server:
        done = run(settings(training(2), server.url, api_key_env="MY_KEY"))
        assert "no such key: Bearer ***" in done.first_failure
        password = server.url.replace("http://", "http://me:sk-0123456789@")
        basic = run(settings(training(2), password, output_path=str(tmp_path / "basic.parquet")))
        assert "no such key: Basic ***" in basic.first_failure
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()).decode(errors="replace")
    for secret in ("sk-0123456789", base64.b64encode(b"me:sk-0123456789").decode()):
        assert secret not in kept + capsys.readouterr().err


def test_a_redirect_that_loses_the_request_is_named_with_its_target(training: Training, settings: Settings) -> None:
    with running(always("moved")) as server, pytest.raises(ConfigError) as error:
        run(settings(training(2), server.url))
    target = server.url.replace("/v1", "/v2/chat/completions")
    assert str(error.value) == f"{server.url}: 301 redirects to {target}: give the address there with --vllm_url"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("me:secret@host:8000/v1", "must begin with http:// or https://"),
        ("http://me:secret@host:port/v1", "is not an address"),
        ("http://:8000/v1", "is not an address"),
        ("http://[::1/v1", "is not an address"),
        ("http://host:99999/v1", "is not an address"),
        ("http://host/v1?key=me:secret@x", "without ? and #"),
        (" , ", "no address given"),
    ],
)
def test_an_address_that_is_none_is_one_line_without_the_password(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        GenerationSettings(data_path="d", output_path="o", use_vllm=True, vllm_url=url).check()
    assert said in str(error.value)
    assert "secret" not in str(error.value)


def test_a_request_holds_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "k")
    asked = GenerationSettings(
        data_path="d", output_path="o", use_vllm=True, vllm_url="http://a:b@h/v1", api_key_env="KEY"
    )
    with pytest.raises(ConfigError, match="a request has only one"):
        asked.check()


@pytest.mark.parametrize("key", ["\u00e9", "a\nb", "a\rX-Other: 1"])
def test_a_key_that_no_header_can_hold_is_one_line(
    training: Training, settings: Settings, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("KEY", key)
    with running() as server, pytest.raises(ConfigError, match="--api_key_env KEY") as error:
        run(settings(training(1), server.url, api_key_env="KEY"))
    assert key not in str(error.value)


@pytest.mark.parametrize("fault", ["odd", "usage_list", "no_usage", "gzip"])
def test_what_a_server_says_beside_the_text_never_costs_the_text(
    training: Training, settings: Settings, fault: str
) -> None:
    with running(always(fault)) as server:
        done = run(settings(training(3), server.url))
    table = pq.read_table(done.path)
    assert len(set(table["response"].to_pylist())) == 12
    if fault == "odd":
        assert table["finish_reason"].null_count == table["prompt_tokens"].null_count == 12
        assert table["response_tokens"].null_count == 12


def test_a_journal_that_holds_what_no_column_can_is_finished_all_the_same(
    training: Training, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier versions took it into the journal, and then every rerun ended at the last step."""
    from analyzer.generation import journal, protocol

    with running(always("odd")) as server:
        with monkeypatch.context() as earlier:
            for module in (journal, protocol):
                earlier.setattr(module, "reason_of", lambda value: value if isinstance(value, int) else None)
                earlier.setattr(module, "tokens_of", lambda value: value if isinstance(value, int) else None)
            with pytest.raises(Exception, match="int"):
                run(settings(training(3), server.url))
        done = run(settings(training(3), server.url))
    assert (done.rollouts, done.asked) == (12, 0)


def test_a_small_body_that_unfolds_to_a_gigabyte_is_refused_within_little_memory(
    training: Training, tmp_path: Path
) -> None:
    command = f"""
        import re, sys
        from analyzer.generation import GenerationSettings, run
        settings = GenerationSettings(data_path=sys.argv[1], output_path={str(tmp_path / "o.parquet")!r}, use_vllm=True,
                                      vllm_url=sys.argv[2], num_samples=1, max_attempts=2, cache_dir={str(tmp_path)!r})
        done = run(settings)
        print(done.failed, done.first_failure)
        # Not getrusage: its peak begins with that of the process that started this one.
        print(int(re.search(r'VmHWM:\\s*([0-9]+)', open('/proc/self/status').read())[1]) // 1024)
    """
    with running(always("bomb")) as server:
        ended = processes.run(["-c", textwrap.dedent(command), str(training(4)), server.url], check=True)
    said, peak = ended.stdout.strip().splitlines()
    assert said.startswith("4 data_idx ")
    assert "the answer is longer than 16 MiB" in said
    assert int(peak) < 700  # MiB, libraries included; the four bodies would be 4096


@pytest.mark.parametrize("told", ["inf", "1e400", "86400"])
def test_no_server_makes_a_run_wait_longer_than_the_patience(training: Training, settings: Settings, told: str) -> None:
    with running(always("429_inf")) as server:
        server.stub.retry_after = told
        began = time.monotonic()
        with pytest.raises(Interrupted, match=r"no server has answered for 0\.3 s"):
            run(settings(training(2), server.url, patience=0.3))
        assert time.monotonic() - began < 20


def test_a_server_that_is_busy_for_ever_only_once_loses_nothing(training: Training, settings: Settings) -> None:
    with running(first("429_inf")) as server:
        assert run(settings(training(2), server.url, patience=0.5)).rollouts == 8


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("-3", 0.0), ("nan", None), ("soon", None), (None, None), ("", None)],
)
def test_retry_after_is_read_as_seconds(header: str | None, seconds: float | None) -> None:
    assert Rejected(429, b"", header).retry_after == seconds


def test_retry_after_may_be_a_date() -> None:
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=90)
    told = Rejected(429, b"", email.utils.format_datetime(later, usegmt=True)).retry_after
    assert told is not None
    assert 80 < told <= 90


@pytest.mark.parametrize("extra", [{"n": 3}, {"max_tokens": None}, {"seed": 1}, {"messages": []}])
def test_extra_body_does_not_replace_what_flags_decide(extra: dict[str, object]) -> None:
    asked = GenerationSettings(data_path="d", output_path="o", use_vllm=True, extra_body=extra)
    with pytest.raises(ConfigError, match=f"--extra_body: {next(iter(extra))} is set by flags"):
        asked.check()
