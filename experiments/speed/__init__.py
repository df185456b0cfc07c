"""How fast sfjax is, beside the plain way to do the same, both sides in one process.

    python -m experiments.speed SUBJECT [options]

Prints medians with their spread as Markdown tables. Other work on the machine makes the spread wide: look at it before
you believe a ratio. PyTorch's threads wait for each other, and suffer most from it. On a busy machine give both sides
one processor: `taskset -c 0 python -m experiments.speed ...`.
"""

from experiments.speed.timing import interleaved, table

__all__ = ["interleaved", "table"]
