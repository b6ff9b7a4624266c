"""NICE and RealNVP on circles, moons and spirals: fits, warped grids, and completed points.

    python -m experiments.nice_realnvp
    python -m experiments.nice_realnvp --models nice --bases logistic --densities 2spirals
    python -m experiments.nice_realnvp --quick --output /tmp/nice_realnvp

Three models, NICE, RealNVP and RealNVP with batch normalisation, on two bases, the Gaussian and
NICE's logistic one. Each fit samples fresh batches from its density, and is scored by the
divergence KL(p || q) from the density p to the flow q, on fresh samples of p. In the output folder,

* `results.csv` gets a row per fit;
* `<density>.png` shows the flows before and after training, as densities and as samples;
* `<density>_grid.png` shows how they warp a regular grid of the latent space;
* `<density>_inpainting.png` shows points whose second, or first, coordinate was lost and is
  recovered by gradient ascent on the flow's log-density with decaying noise. `inpainting.csv` has
  the scores.

In the plane a coupling can split the event in one way only. So two more fits show the effect of the
split: RealNVP on two independent samples in one vector, split into halves, and into even and odd
dimensions.
"""
