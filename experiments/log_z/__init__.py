"""Normalisers of densities without samples: a flow fitted to each, and importance sampling.

    python -m experiments.log_z
    python -m experiments.log_z --targets gaussians --divergence reverse_kl --output /tmp/log_z
    python -m experiments.log_z --quick --output /tmp/log_z

The targets are those of FAB (Midgley et al. 2023), and eight schools. Each has its own recipe: a
flow, and a divergence. Estimates use 2,000 samples, as in FAB's tables, and are repeated.

`results.csv` gets a row per target and seed:

* log_z_error: mean over repetitions of the absolute error of log Z, in nats;
* log_z_bias: mean of the signed error;
* annealed_error, annealed_bias: the same by annealed importance sampling with four temperatures;
* ess: effective sample size, as a share of the samples; pareto_k: k-hat of their weights;
* modes: how many of the 40 Gaussians, or of the 2^4 combinations of the first four wells, the
  samples reach;
* fit_seconds: includes compilation.

In the output folder, `samples.png` shows two dimensions of each target with samples of the flow.
"""
