"""Bernstein-polynomial flows: on the line, per column, and as a regression.

    python -m experiments.bernstein
    python -m experiments.bernstein --degrees 4 64 --num-steps 2000
    python -m experiments.bernstein --quick --output /tmp/bernstein

Each flow is a chain of a scale and shift, a polynomial, and a scale and shift. Every density here
is known, so a fit is scored by its divergence KL(p || q) from the density p to the flow q: by
quadrature on the line, on held-out samples in the regression. In the output folder,

* `stages.png` shows a bimodal density after each stage of the chain, from data to base;
* `degrees.png` shows densities on the line, fitted with polynomials of several degrees;
* `columns.png` shows three independent columns, each on its own support;
* `regression.png` shows a conditional density that is skewed, changes its width and splits in two,
  its quantiles, and a Gaussian regression of it;
* `results.csv` gets a row per fit, and per column.
"""
