"""A dask cluster out of SLURM jobs, and the analysis on it: pip install 'rollout-analyzer[dask]'.

    python examples/slurm/dask_cluster.py --rollouts R --model_path M --output_dir O --cache_dir C

takes the flags of analyze-rollouts. Workers come and go as SLURM grants them; a lost one costs its shards in flight.
All nodes must see the rollouts, the tokenizer and the cache under the same paths, and reach the host this runs on.
"""

from __future__ import annotations

import sys

from dask_jobqueue import SLURMCluster

from analyzer.commands.analyze_rollouts import analyze_rollouts


def main(flags: list[str]) -> int:
    with SLURMCluster(cores=8, processes=8, memory="16GB", walltime="02:00:00") as cluster:
        cluster.adapt(minimum_jobs=1, maximum_jobs=16)
        return analyze_rollouts([*flags, "--backend", "dask", "--dask_scheduler", cluster.scheduler_address])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
