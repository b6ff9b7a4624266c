"""Multiplicative normalizing flows, and other ways to tell what a network does not know.

    python -m experiments.mnf
    python -m experiments.mnf --parts classifier --networks mean-field MNF --seeds 0 1 2 3
    python -m experiments.mnf --parts classifier --dataset fashion_mnist --num-steps 10000
    python -m experiments.mnf --quick --output /tmp/mnf

**regression**: y = sin(2 x) + x / 2 + N(0, 0.1^2), 40 rows with inputs uniform on 0.7 < |x| < 2.
The network has one hidden layer of 50 tanh units, all weights and biases have the prior N(0, 1),
and the noise is known. Mean-field layers, MNF layers and a deep ensemble of MAP fits are compared
with NUTS (blackjax) on the same network. `regression.csv` gets a row per fit:

* nll_data, nll_gap: of 300 new rows each, outside and inside the gap;
* width_data, width_gap: mean width of the central 90 % interval of the function, without the noise;
* mean_distance, scale_distance: root mean square difference from NUTS of the function's posterior
  mean and standard deviation, over |x| <= 2;
* r_hat: the largest of NUTS's function values.

**classifier**: two convolutions of stride 2 and two linear layers, all of the kind compared:
deterministic, deterministic with dropout also in predictions, an ensemble of deterministic ones,
mean-field, MNF. The digits are those of scikit-learn; `--dataset fashion_mnist` reads the four idx
files in `--data-dir`, gzipped or not, which Debian's package `dataset-fashion-mnist` puts into
/usr/share/datasets/fashion-mnist. `results.csv` gets a row per fit:

* error, nll, ece: of the test images; the expected calibration error has ten bins;
* entropy, entropy_rotated, entropy_patches: mean entropy of the predictions for test images, for
  test images rotated by 90 degrees, and for patches of scikit-learn's two photographs of the same
  size and number of grey levels;
* auroc_patches: probability that a patch has a higher entropy than a test image.

Mean-field and MNF layers of the classifier learn the scale of their prior. `loss` is the negative
ELBO, or minus the log-posterior of the weights, per row, at the end of training.

In the output folder, `regression.png` and `<dataset>.png` show the fits, and `params` keeps what
`--resume` needs.
"""
