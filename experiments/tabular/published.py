"""Published test log-likelihoods of the five sets, in nats: higher is better.

Errors are as printed. For most models they are two standard errors over the test set, for one fit;
for those with `across_runs` they are over repeated fits. A log-likelihood refers to the data as
prepared, and shifts with the scale of a column: compare only data prepared by `maf_sets`.

All rows of the MAF paper except "Gaussian", and "NAF", "SOS" and the means of "FFJORD", agree with
the compilation in the README of https://github.com/lupalab/tan. The other rows have no second
source here: look them up in their papers before you rely on a digit.
"""

from typing import NamedTuple

MAF_PAPER = (
    'Papamakarios et al., "Masked Autoregressive Flow for Density Estimation", 2017, table 1'
)
FFJORD_PAPER = 'Grathwohl et al., "FFJORD", 2019, table 2'
NSF_PAPER = 'Durkan et al., "Neural Spline Flows", 2019, table 1'


class Published(NamedTuple):
    """The published figures of a model on a set."""

    model: str  # its name in the source
    source: str  # paper and table
    mean: float  # of the log-likelihood over the test set
    error: float | None  # as printed; None if there is none
    across_runs: bool  # whether the error is over repeated fits


def of(name: str) -> list[Published]:
    """The published figures of a set, worst first; none for sets other than the five."""
    if name not in _COLUMNS:
        return []
    column = 1 + _COLUMNS.index(name)
    found = []
    for source, table in _TABLES.items():
        for line in table.strip().splitlines():
            cells = [cell.strip() for cell in line.split("|")]
            mean, _, error = cells[column].partition("±")
            across_runs = cells[0] in _ACROSS_RUNS
            value = float(error) if error else None
            found.append(Published(cells[0], source, float(mean), value, across_runs))
    return sorted(found, key=lambda published: published.mean)


_ACROSS_RUNS = ("FFJORD", "NAF", "Block-NAF", "SOS")
_COLUMNS = ("power", "gas", "hepmass", "miniboone", "bsds300")
_TABLES = {
    MAF_PAPER: """
        Gaussian      | -7.74 ± 0.02 | -3.58 ± 0.75 | -27.93 ± 0.02 | -37.24 ± 1.07 |  96.67 ± 0.25
        MADE          | -3.08 ± 0.03 |  3.56 ± 0.04 | -20.98 ± 0.02 | -15.59 ± 0.50 | 148.85 ± 0.28
        MADE MoG      |  0.40 ± 0.01 |  8.47 ± 0.02 | -15.15 ± 0.02 | -12.27 ± 0.47 | 153.71 ± 0.28
        Real NVP (5)  | -0.02 ± 0.01 |  4.78 ± 1.80 | -19.62 ± 0.02 | -13.55 ± 0.49 | 152.97 ± 0.28
        Real NVP (10) |  0.17 ± 0.01 |  8.33 ± 0.14 | -18.71 ± 0.02 | -13.84 ± 0.52 | 153.28 ± 1.78
        MAF (5)       |  0.14 ± 0.01 |  9.07 ± 0.02 | -17.70 ± 0.02 | -11.75 ± 0.44 | 155.69 ± 0.28
        MAF (10)      |  0.24 ± 0.01 | 10.08 ± 0.02 | -17.73 ± 0.02 | -12.24 ± 0.45 | 154.93 ± 0.28
        MAF MoG (5)   |  0.30 ± 0.01 |  9.59 ± 0.02 | -17.39 ± 0.02 | -11.68 ± 0.44 | 156.36 ± 0.28
    """,
    FFJORD_PAPER: """
        Glow          |  0.17        |  8.15        | -18.92        | -11.35        | 155.07
    """,
    NSF_PAPER: """
        Glow          |  0.42 ± 0.01 | 12.24 ± 0.03 | -16.99 ± 0.02 | -10.55 ± 0.45 | 156.95 ± 0.28
        FFJORD        |  0.46 ± 0.01 |  8.59 ± 0.12 | -14.92 ± 0.08 | -10.43 ± 0.04 | 157.40 ± 0.19
        NAF           |  0.62 ± 0.01 | 11.96 ± 0.33 | -15.09 ± 0.40 |  -8.86 ± 0.15 | 157.73 ± 0.04
        Block-NAF     |  0.61 ± 0.01 | 12.06 ± 0.09 | -14.71 ± 0.38 |  -8.95 ± 0.07 | 157.36 ± 0.03
        SOS           |  0.60 ± 0.01 | 11.99 ± 0.41 | -15.15 ± 0.10 |  -8.90 ± 0.11 | 157.48 ± 0.41
        RQ-NSF (C)    |  0.64 ± 0.01 | 13.09 ± 0.02 | -14.75 ± 0.03 |  -9.67 ± 0.47 | 157.54 ± 0.28
        RQ-NSF (AR)   |  0.66 ± 0.01 | 13.09 ± 0.02 | -14.01 ± 0.03 |  -9.22 ± 0.48 | 157.31 ± 0.28
    """,
}
