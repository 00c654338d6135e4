"""How many steps are computed at a time: segments, between which Ctrl-C is handled, and chunks."""

from lyapflow.cells.interface import Sizes

ROWS_PER_CHUNK = 512  # cotangents that are gathered for one matrix product stay in the L2 cache


def steps_per_segment(size: Sizes, vectors: int) -> int:
    """Steps that take about 0.1 s, so that Ctrl-C is heard."""
    # a step has a cost of its own
    flops = 8.0 * size.state * (size.state + vectors) * vectors + 5e3
    return max(1, int(5e8 / flops))


def jacobians_per_segment(size: Sizes) -> int:
    """Steps that take about 0.1 s where each is taken with its Jacobian."""
    return -(-steps_per_segment(size, size.state) // 16)


def steps_per_chunk(size: Sizes, batch: int, k: int) -> int:
    """Steps whose cotangents are gathered for one matrix product."""
    return max(1, min(steps_per_segment(size, k + batch), ROWS_PER_CHUNK // max(batch, k)))
