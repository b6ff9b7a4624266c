"""Flows fitted to Rezende & Mohamed's potentials U1 - U4 by reverse KL: no data, no normaliser.

    python -m experiments.energies
    python -m experiments.energies --flows planar --densities u1 u4 --seeds 0 1 2
    python -m experiments.energies --no-path-gradient --output figures/energies_full
    python -m experiments.energies --quick --output /tmp/energies

Each fit sees only -U(z) (2015, table 1) and minimises KL(q || p) on samples of the flow q,
annealed as in the paper: the inverse temperature rises from 0.01 to 1. U2 - U4 are improper unless
z1 is bounded: for these, p lives on |z1| <= 4, and each flow has that support. Planar and radial
flows, whose layers have a few parameters each, get four times as many layers and steps. They sample
by the closed-form direction, as in the paper.

The normalisers are in fact known, and the densities can be sampled. So a fit is scored by what it
cannot see itself:

* reverse_kl: KL(q || p), which is minimised, on fresh samples of q. Blind to modes that q lacks;
* forward_kl: KL(p || q), on samples of p. Not blind to them;
* log_z: the logarithm of the normaliser by importance sampling with q, beside the true one;
* ess: effective sample size of the same samples, as a share of their number.

In the output folder, `results.csv` gets a row per fit, `overview.png` shows the fits of the first
seed, and `params` keeps what `--resume` needs.
"""
