"""Neural inference on the benchmark sbibm.

    pip download --no-deps sbibm==1.1.0
    python -m experiments.sbi --wheel sbibm-1.1.0-py2.py3-none-any.whl
    python -m experiments.sbi --methods nle tsnpe --tasks two_moons --observations 1 ...
    python -m experiments.sbi --quick --output /tmp/sbi

Three methods fit mixtures of flows to simulations:

* npe: flows of the parameters, given the data, which serve all observations.
* nle: flows of the data, given the parameters, and NUTS for each observation.
* tsnpe: as npe, for one observation, in rounds that simulate near its posterior.

The simulators are those of sbibm, rewritten in JAX; its wheel has ten observations of each task,
with 10,000 samples of each posterior. Without `--wheel` there are no references, and only
calibration is measured. `recipes.py` has the sizes of the flows.

`results.csv` gets a row per task, method, seed and observation:

* c2st: accuracy of a classifier that tells 10,000 samples of the posterior from those of the
  reference, by the classifier and the folds of sbibm; 0.5 is perfect.
* fit_seconds: of the fit of all members, or all rounds with their simulations; it includes
  compilation. Observations share the fits of npe and nle.
* sample_seconds: of the 10,000 samples, compilation included.

`calibration.csv` gets a row per task and seed of npe: for new simulations, the least of the
p-values of ranks of the parameters, and the p-values of highest-density and TARP coverage.

In the output folder, `posteriors_<method>.png` shows two parameters of references and flows, and
`calibration.png` the coverage.
"""
