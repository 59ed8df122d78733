"""fastembed with as many processes as cores."""

from __future__ import annotations

from bench.peers.common import Task, Work, run_peer
from bench.peers.with_fastembed import embedded


def program(task: Task) -> Work:
    """Each process loads the model; that is inside its time, since `embed` starts them."""
    return embedded(task, parallel=task.cores, note="starting its processes is inside")


if __name__ == "__main__":
    run_peer(program)
