"""`fit_table` against scikit-learn's estimators of densities, on bundled and on messy tables.

    python -m experiments.tables
    python -m experiments.tables --datasets wine people --seeds 0 1
    python -m experiments.tables --quick --output /tmp/tables

`fit_table`, a kernel density estimate, a mixture of Gaussians and a Gaussian are fitted to four
fifths of the rows, and scored on the others: mean log-likelihood per row, in nats, higher is
better. The kernel estimate and the mixture get their best setting by five-fold cross-validation:
bandwidth and kernel; number, covariance and ridge of the Gaussians; each also with the logarithms
of columns of positive numbers. They see standardised columns. Integers and levels of categories get
uniform noise from them, too, and log-likelihoods of such rows are the logarithms of means over 16
samples of it. `fit_table` chooses everything itself.

The bundled tables are those of scikit-learn. The messy ones are made here: `people` has
categories, counts, incomes, shares and times of the day; `sensors` has heavy tails, an angle,
orders of magnitude, and a column with a lower end.

In the output folder, `results.csv` gets a row per table and seed, with the difference of
`fit_table` to each estimator and its standard error over the test rows; `gains.png` shows them, and
`<table>.png` data beside samples.
"""
