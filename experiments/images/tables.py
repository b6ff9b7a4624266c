"""Table of bits per dimension, beside published figures."""

from collections.abc import Sequence

import numpy as np

from experiments._summary import format_table, select
from experiments._table import Row

# As printed, on the test images, uniformly dequantised unless noted. Other splits, sizes and
# preprocessing: these place a figure, they do not rank it.
PUBLISHED = {
    "mnist": [
        ("RealNVP", 1.06, "Grathwohl et al., FFJORD, 2019, table 2"),
        ("Glow", 1.05, "Kingma & Dhariwal, 2018, as in FFJORD, table 2"),
        ("FFJORD", 0.99, "Grathwohl et al., 2019, table 2"),
    ],
    "cifar10": [
        ("RealNVP", 3.49, "Dinh et al., 2017, table 1"),
        ("Glow", 3.35, "Kingma & Dhariwal, 2018, table 2"),
        ("Flow++, variational", 3.08, "Ho et al., 2019, table 1"),
    ],
}


def scores(rows: Sequence[Row], dataset: str) -> str:
    """Mean bits per dimension over seeds with standard errors, best first; published ones below."""
    table = []
    for flow in dict.fromkeys(row["flow"] for row in rows):
        found = select(rows, flow=flow)
        bits, tighter = (
            np.array([float(row[name]) for row in found])
            for name in ("bits_per_dim", "importance_weighted")
        )
        seconds = np.mean([float(row["train_seconds"]) for row in found])
        cells = [flow, _text(bits), _text(tighter), found[0]["num_params"], f"{seconds:.0f}"]
        table.append((bits.mean(), cells))
    table.sort(key=lambda entry: entry[0])
    header = [f"{dataset}: bits per dimension", "bound", "importance-weighted", "params", "seconds"]
    text = format_table(header, [cells for _, cells in table])
    if dataset not in PUBLISHED:
        return text
    published = [[model, f"{bits:.2f}", source] for model, bits, source in PUBLISHED[dataset]]
    return text + "\n\n" + format_table(["published", "", ""], published)


def _text(values: np.ndarray) -> str:
    mean = f"{values.mean():.3f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {values.std(ddof=1) / len(values) ** 0.5:.3f}"
