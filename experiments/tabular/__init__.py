"""Flows fitted to tables of numbers: small data sets of scikit-learn, your own files, and the five
sets of "Masked Autoregressive Flow for Density Estimation" beside their published results.

    python -m experiments.tabular
    python -m experiments.tabular --datasets wine measurements.csv --flows maf glow
    python -m experiments.tabular --datasets power gas --data-dir data --checkpoints checkpoints
    python -m experiments.tabular --quick --output /tmp/tabular

MAF, RealNVP, spline couplings, autoregressive splines and Glow, each with the data standardised
inside the flow, are fitted to the training rows. Validation rows end the fit and choose its
parameters; they also chose the sizes in `recipes`. The score is the mean log-likelihood of the test
rows, which are used for nothing else, in nats: higher is better. It refers to the columns as given,
and so shifts with their units. A maximum-likelihood Gaussian with any mean and covariance is scored
beside the flows: only a flow that exceeds it is worthwhile.

A seed determines the fit and the split of the rows; the split of the five sets is always the same.
So the fits of several seeds differ in both, and their standard errors include both. The standard
error of a single fit is over its test rows.

In the output folder, `results.csv` gets a row per fit; `<data set>.png` shows its log-likelihoods,
and data beside samples of the flow with the best validation score; and `params` keeps what
`--resume` needs. `--checkpoints` names a folder for checkpoints, from which interrupted fits
continue.
"""
