"""Flows of images with integer levels: bits per dimension, samples and interpolations.

    python -m experiments.images
    python -m experiments.images --dataset fashion_mnist --data-dir data --flows glow patches
    python -m experiments.images --dataset npz --data-dir images.npz
    python -m experiments.images --quick --output /tmp/images

Flows of flat vectors (`maf_flat`, `nsf_coupling_flat`, `glow_flat`) and of images (`realnvp`,
`nsf`, `glow`, `patches`) are fitted to the training images, dequantised by uniform noise;
`realnvp_variational` is dequantised by a flow of the noise. Validation images end the fit and
choose its parameters.

The score is in bits per dimension: the mean over test images of `-log2 P(image) / D`, where D
counts pixels and channels. Lower is better; a uniform guess needs log2 of the number of levels.
`bits_per_dim` averages the bound over noise, and `importance_weighted` is the tighter one
(`diagnostics.likelihood_bounds`). The split of `digits` is always the same, and so are those of the
others; a seed determines the fit.

In the folder of the data set, `results.csv` gets a row per fit, `scores.png` and `samples.png` show
the flows, `<flow>.png` each of them: samples at several temperatures, interpolations, and samples
beside their nearest training images. `params` keeps what `--resume` needs.
"""
