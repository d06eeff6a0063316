"""ray: workers of a ray cluster, a running one by --ray_address or else one on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from analyzer.errors import ConfigError, to_install
from analyzer.workers.backends import Backend, Cluster, register, usable_cores


@register
class Ray(Cluster):
    """Workers of a ray cluster: --ray_address, or a cluster on this machine (actors, through ray.util.joblib)."""

    name = "ray"
    # ray's pool hands each task to an actor at random, so a short queue leaves some without work.
    ahead = 8

    @classmethod
    @contextlib.contextmanager
    def launched(cls, backend: Backend, tasks: int, end: Callable[[], None]) -> Iterator[Cluster]:
        try:
            import ray
            from ray.util.joblib import register_ray
        except ImportError:
            raise ConfigError(f"--backend ray needs ray: {to_install('ray')}") from None
        # ray.init refuses num_cpus for a cluster that is running already.
        own = {} if backend.ray_address else {"num_cpus": backend.n_jobs or usable_cores(), "include_dashboard": False}
        try:
            # "local", not None: without an address ray joins any cluster that RAY_ADDRESS or a file in /tmp names.
            ray.init(address=backend.ray_address or "local", log_to_driver=False, logging_level="error", **own)
        except ConnectionError as error:
            raise ConfigError(f"--ray_address {backend.ray_address}: no cluster answers there ({error})") from None
        register_ray()
        try:
            n_jobs = backend.n_jobs or int(ray.cluster_resources().get("CPU", 1))
            yield cls(min(n_jobs, tasks))
        finally:
            ray.shutdown()
