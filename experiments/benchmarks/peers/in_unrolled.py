"""distrax_flows with `unroll=True`."""

from experiments.benchmarks.peers import in_ours
from experiments.benchmarks.peers.contestants import Contestant
from experiments.benchmarks.peers.settings import Size


def make(name: str, size: Size) -> Contestant:
    """The builder of that name, each layer compiled by itself."""
    return in_ours.make(name, size, unroll=True)
