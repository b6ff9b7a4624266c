"""NUTS with and without a flow.

    python -m experiments.mcmc
    python -m experiments.mcmc --targets funnel --methods neutra --seeds 0
    python -m experiments.mcmc --quick --output /tmp/mcmc

A flow is fitted to a target density by reverse KL, and NUTS samples the base of the flow ("neutra",
Hoffman et al. 2019); the flow is then fitted to samples of NUTS in its coordinates, in rounds
("adapted"); plain NUTS samples the target itself. All adapt their step size and a diagonal metric.
The targets are a banana, Neal's funnel, eight schools in the centred parametrisation, and a
logistic regression with 31 coefficients.

`results.csv` gets a row per target, method and seed:

* ess, ess_squares: effective sample sizes of the scored coordinates x, and of the squared distances
  from their medians; the least over the coordinates. They are rank-normalised, of split chains.
  Chains that alternate around the mean have more effective samples than samples.
* min_ess: the least of both.
* ess_per_1000: min_ess for 1,000 gradients of the log-density while sampling;
  ess_per_1000_all also counts those of the warm-up and of the fit.
* mean_error, sd_error: (mean - truth) / sd and sd / truth - 1 of the coordinate where they are
  farthest from zero. The truth is exact, or that of a long run in better coordinates, which has a
  row of its own, "reference".
* fit_seconds, sample_seconds: without compilation; sampling includes the warm-up.

In the output folder, `samples.png` shows two coordinates of the samples, `ess.png` the efficiency,
and `params` keeps what `--resume` needs.
"""
