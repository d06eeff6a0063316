"""ray: workers of a ray cluster, a running one by --ray_address or else one on this machine."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

from analyzer.errors import ConfigError
from analyzer.workers.backends import CODE, Backend, Cluster, check_same_code, register, usable_cores


@register
class Ray(Cluster):
    """Workers of a ray cluster: --ray_address, or a cluster on this machine (actors, through ray.util.joblib)."""

    name = "ray"
    needs = ("ray",)
    # ray's pool hands each task to an actor at random, so a short queue leaves some without work.
    ahead = 8

    @classmethod
    @contextlib.contextmanager
    def launched(cls, backend: Backend, tasks: int, end: Callable[[], None]) -> Iterator[Cluster]:
        import ray
        from ray.util.joblib import register_ray

        address = backend.ray_address
        if address is not None:
            _check_address(address, backend.answer_seconds)
        # ray.init refuses num_cpus for a cluster that is running already.
        own = {} if address else {"num_cpus": backend.n_jobs or usable_cores(), "include_dashboard": False}
        try:
            # "local", not None: without an address ray joins any cluster that RAY_ADDRESS or a file in /tmp names.
            ray.init(address=address or "local", log_to_driver=False, logging_level="error", **own)
        except (ConnectionError, ValueError, RuntimeError) as error:
            if address is None:
                raise
            hint = ""
            if isinstance(error, ConnectionError) and "RAY_AUTH_MODE" not in os.environ:
                # Since ray 2.60 `ray start` asks for the token that lies in ~/.ray, and ray.init does not send it.
                hint = "; if the cluster asks for a token, set RAY_AUTH_MODE=token"
            raise ConfigError(f"--ray_address {address}: cannot join the cluster ({_line(error)}){hint}") from None
        register_ray()
        try:
            if backend.code and address is not None:
                check_same_code(_code_of_nodes(), backend.code)
            n_jobs = backend.n_jobs or int(ray.cluster_resources().get("CPU", 1))
            yield cls(min(n_jobs, tasks))
        finally:
            ray.shutdown()


_ADDRESS = re.compile(r"(?:ray://)?(?P<host>[^\s/:]+|\[[0-9a-fA-F:]+\]):(?P<port>\d+)")
_ANSWER_SECONDS = 60.0  # for the nodes to say what they have; a worker must be started for it


def _check_address(address: str, seconds: float) -> None:
    """Raise ConfigError where nothing listens: ray itself tries for minutes, and says nothing but lines of its log."""
    if address == "auto":
        return
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise ConfigError(f"--ray_address must be HOST:PORT, ray://HOST:PORT or auto, not {address!r}")
    try:
        socket.create_connection((match["host"].strip("[]"), int(match["port"])), timeout=seconds).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--ray_address {address}: no cluster answers there ({error})") from None


def _code_of_nodes() -> dict[str, Any]:
    """What CODE gives on each node with cores, or the error that it raises there."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def evaluated(code: str) -> Any:  # sent as it is, not by the name of this module
        try:
            return eval(code)  # CODE, a constant: no input comes here
        except Exception as error:  # noqa: BLE001  # an error that is its own answer
            return error

    remote = ray.remote(num_cpus=0, max_retries=0)(evaluated)
    nodes = {
        f"the node {node['NodeManagerAddress']} ({node['NodeID'][:8]})": node for node in ray.nodes() if node["Alive"]
    }
    asked = {}
    for name, node in nodes.items():
        if node["Resources"].get("CPU"):
            on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked[remote.options(scheduling_strategy=on_node).remote(CODE)] = name
    ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=_ANSWER_SECONDS) if asked else ([], [])
    answers = {}
    for answered in ready:
        try:
            answers[asked[answered]] = ray.get(answered)
        except ray.exceptions.RayError:  # a node that has just gone
            continue
    return answers


def _line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
