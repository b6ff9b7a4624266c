"""What the experiments share: the device they ran on, and tables."""

from collections.abc import Sequence

import jax


def device_name() -> str:
    """What JAX computes on, such as `cpu` or `NVIDIA H100 80GB HBM3`."""
    return jax.devices()[0].device_kind


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])])
        for cells in (header, *rows)
    ]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines)
