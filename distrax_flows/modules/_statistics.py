"""Locations and scales of the columns of a batch, at any scale the dtype can represent."""

import jax
import jax.numpy as jnp

__all__ = [
    "mean_and_log_deviation",
    "mean_and_variance",
    "median_and_log_range",
    "positive",
    "rows_of",
]


def rows_of(x):
    """Return the rows of the first batch, `[N, D]`; raise if there are none."""
    if x.size == 0:
        raise ValueError(
            "The first batch must have at least one row, from which layers take a mean and a "
            f"standard deviation; got an input of shape {x.shape}."
        )
    return x.reshape(-1, x.shape[-1])


def mean_and_log_deviation(rows):
    """Return means and logarithms of standard deviations, `[D]`."""
    mean, scale, variance = _scaled_moments(rows)
    # The standard deviation of a constant dimension counts as 1.
    log_deviation = jnp.log(scale) + 0.5 * jnp.log(positive(variance))
    return mean, jnp.where(variance > 0, log_deviation, 0)


def median_and_log_range(rows):
    """Return medians and logarithms of normalised interquartile ranges, `[D]`."""
    low, median, high = jnp.quantile(rows, jnp.array([0.25, 0.5, 0.75], rows.dtype), axis=0)
    deviation = (high - low) / 1.349  # the interquartile range of a standard normal
    log_deviation = jnp.log(positive(deviation))
    return median, jnp.where(deviation > 0, log_deviation, mean_and_log_deviation(rows)[1])


def mean_and_variance(x):
    """Return means and variances `[D]` over all batch axes."""
    mean, scale, variance = _scaled_moments(x.reshape(-1, x.shape[-1]))
    return mean, scale * scale * variance


def _scaled_moments(rows):
    """Return means `[D]`, a scale `[D]`, and variances in units of the square of that scale.

    Differences from one row are taken first: sums of a million float32 values are off in the third
    digit, and a constant dimension then has a variance of exactly zero. The differences are divided
    by the largest before squaring, because squares of 1e-20 or 1e20 leave the range of float32.
    """
    some = jax.lax.stop_gradient(rows[0])
    differences = rows - some[None]
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(differences), axis=0))
    scale = positive(largest)
    scaled = differences / scale[None]
    return some + scale * jnp.mean(scaled, axis=0), scale, jnp.var(scaled, axis=0)


def positive(values):
    """Replace zeros, which belong to constant dimensions, by 1."""
    return jnp.where(values > 0, values, 1)
