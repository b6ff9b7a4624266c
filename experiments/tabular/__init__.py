"""Flows fitted to tables of numbers: small sets that come with scikit-learn, files of yours, and
the five sets of "Masked Autoregressive Flow for Density Estimation" beside their published figures.

    python -m experiments.tabular
    python -m experiments.tabular --datasets wine measurements.csv --flows maf glow
    python -m experiments.tabular --datasets power gas --data-dir data --checkpoints checkpoints
    python -m experiments.tabular --quick --output /tmp/tabular

MAF, RealNVP, spline couplings, autoregressive splines and Glow, each with the data standardised
inside, are fitted to rows that train. Rows that validate end the fit, and choose its parameters;
they chose the sizes in `recipes` too. The score is the mean log-likelihood of rows that test, which
nothing else looks at, in nats: higher is better. It is of the columns as they are, so that it
shifts with their units. A Gaussian of any mean and covariance, of maximum likelihood, is scored
beside the flows: only what exceeds it is worth a flow.

A seed decides the fit, and which rows of a set do what; those of the five sets are always the same.
Fits beside each other in a row of seeds thus differ by both, and so do their standard errors, while
that of one fit, over the rows that test it, is its own.

In the output folder, `results.csv` gets a row per fit; `<data set>.png` shows its log-likelihoods,
and data beside samples of the flow that validates best; and `params` keeps what `--resume` needs.
`--checkpoints` names a folder for what a fit that was interrupted needs to go on.
"""
