"""Posteriors of two inverse problems by conditional flows: HINT against RealNVP.

    python -m experiments.hint
    python -m experiments.hint --problems chord --num-layers 4
    python -m experiments.hint --quick --output /tmp/hint

Both problems observe unknowns x through fewer numbers, y = A x + noise:

* gaussian: eight normal unknowns, seen through four combinations of them;
* chord: the two ends of a chord of two moons, of which only the midpoint is seen. Many chords
  share a midpoint, and so the posterior has several modes.

The prior of each is a mixture of Gaussians, and so is the exact posterior, in closed form. Flows
q(x | y), with `context=y`, are fitted to fresh pairs of x and y in the same number of steps, by the
same optimizer. HINT and RealNVP have the same number of layers and of parameters: HINT has more
networks, and narrower ones. Its layers are mixed by fixed random rotations, those of RealNVP by a
reversal. `RealNVP, rotated`, mixed like HINT, separates the effect of the rotations from that of
the hierarchy. Scores are on fresh pairs, the same for all:

* kl: the divergence KL(p(x | y) || q(x | y)), mean over observations, in nats;
* mean_error: of the posterior mean, in standard deviations of the exact posterior, in whitened
  coordinates. Root mean square over observations and dimensions;
* cov_error: of the posterior covariance, in the same coordinates, where the exact one is I: the
  Frobenius norm relative to that of I. Root mean square over observations;
* calibration_error: the absolute difference between the share of unknowns inside their central
  credible interval and its level; mean over levels and dimensions.

The exact posterior is scored beside the flows: its errors are those of the measurement. In the
output folder, `results.csv` gets a row per fit; `gaussian.png` and `chord.png` show posteriors of
the first seed, `calibration.png` the credible intervals of all.
"""
