"""Sizes: how much of the rollouts is worked on at a time."""

from __future__ import annotations

from typing import NamedTuple


class Sizes(NamedTuple):
    """They decide memory and speed and change no result, so no flag sets them; bytes unless said."""

    shard: int | None = None  # None: by the input and by what its rewards cost, see planning/sharding.py
    batch: int = 4 << 20  # that scoring and gathering decode at a time
    window: int = 8 << 20  # from which on rollouts that stand together are scored
    largest_window: int = 64 << 20  # ... and scattered ones; a problem larger than this is scored in parts
    spill_above: float = 2.0  # read amplification from which on gathering scattered rows pays
    ahead: int = 1 << 20  # bytes of rollouts from which workers load before the plan says how many are needed
    spill_files: int = 128  # open at once while rows are gathered; 256 open files are all that some systems allow
    spill_buffer: int = 128 << 20


USUAL = Sizes()
