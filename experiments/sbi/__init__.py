"""Neural posterior estimation on the benchmark sbibm.

    pip download --no-deps sbibm==1.1.0
    python -m experiments.sbi --wheel sbibm-1.1.0-py2.py3-none-any.whl
    python -m experiments.sbi --quick --output /tmp/sbi

A flow of the parameters, given the data, is fitted to simulations from the prior: the posteriors of
all observations at once. The simulators are those of sbibm, rewritten in JAX; its wheel has ten
observations of each task, with 10,000 samples of each posterior. Without `--wheel` there are no
references, and only calibration is measured.

`results.csv` gets a row per task, seed and observation:

* c2st: accuracy of a classifier that tells 10,000 samples of the flow from those of the reference,
  by the classifier and the folds of sbibm; 0.5 is perfect.
* fit_seconds: of the fit, which all observations share; it includes compilation.

`calibration.csv` gets a row per task and seed: for new simulations, the least of the p-values of
ranks of the parameters, and the p-values of highest-density and TARP coverage.

In the output folder, `posteriors.png` shows two parameters of references and flows, and
`calibration.png` the coverage.
"""
