"""Variational autoencoders of handwritten digits, with flows as posteriors.

    python -m experiments.vae
    python -m experiments.vae --posteriors gaussian iaf --num-layers 8
    python -m experiments.vae --quick --output /tmp/vae

The images are scikit-learn's digits: 8 by 8 pixels, integers from 0 to 16. A latent z ~ N(0, I) is
decoded to beta-binomial pixels (`models.decode` says why), and an encoder with one of five families
of posteriors q(z | x) approximates the inverse:

* gaussian: N(loc(x), scale(x)^2), with independent dimensions;
* planar, sylvester, iaf, nsf_coupling: that Gaussian, transformed by a flow. The last layer of the
  encoder is the flow's context.

The networks of encoder and decoder are the same for all. A flow adds networks of its own, so the
numbers of parameters differ; `results.csv` has them. Each autoencoder is a
`flows.Transformed(prior, LatentVariable(...))`: `fit` maximises its `log_prob`, a sample of the
evidence lower bound. Validation rows end the fit and choose its parameters. Scores are on the test
rows, in nats per image; higher is better:

* elbo: the evidence lower bound, E_q[log w] with w = p(x, z) / q(z | x);
* importance_weighted: log mean w over `--num-samples` samples of each image, a tighter bound of
  log p(x). Its distance from the ELBO tells how far q is from the posterior of the same decoder;
* train_elbo, train_importance_weighted: the same on as many training rows.

All fits share one split of the rows, so the seeds differ only in the fit. In the output folder,
`results.csv` gets a row per fit; `overview.png` shows bounds, reconstructions and samples; and
`params` keeps what `--resume` needs. `--checkpoints` names a folder for checkpoints, from which
interrupted fits continue.

Reference:
    Rezende & Mohamed, "Variational Inference with Normalizing Flows", 2015; Kingma et al.,
    "Improving Variational Inference with Inverse Autoregressive Flow", 2016; van den Berg et al.,
    "Sylvester Normalizing Flows for Variational Inference", 2018.
"""
