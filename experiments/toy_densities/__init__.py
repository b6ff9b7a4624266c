"""MAF, RealNVP and neural spline flows fitted to toy densities in the plane.

    python -m experiments.toy_densities
    python -m experiments.toy_densities --flows maf nsf_coupling --densities moons 2spirals
    python -m experiments.toy_densities --quick --output /tmp/toy_densities

Each fit samples fresh batches from its density, and is scored by the divergence KL(p || q) from the
density p to the flow q, on fresh samples of p. In the output folder, `results.csv` gets a row per
fit, `<density>.png` shows the fits of the first seed, `overview.png` all of them, `training.gif`
one fit during training, and `params` keeps what `--resume` needs.
"""
