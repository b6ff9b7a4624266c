"""Locations and scales of the columns of a batch, at any scale that the dtype can hold."""

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
    """The rows of the first batch, `[N, D]`, or raise if there are none."""
    if x.size == 0:
        raise ValueError(
            "The first batch must have at least one row, from which layers take a mean and a "
            f"standard deviation; got an input of shape {x.shape}."
        )
    return x.reshape(-1, x.shape[-1])


def mean_and_log_deviation(rows):
    """Means and logarithms of standard deviations, `[D]`."""
    mean, scale, variance = _scaled_moments(rows)
    # Of a dimension that does not vary, the deviation counts as 1.
    log_deviation = jnp.log(scale) + 0.5 * jnp.log(positive(variance))
    return mean, jnp.where(variance > 0, log_deviation, 0)


def median_and_log_range(rows):
    """Medians and logarithms of normalised interquartile ranges, `[D]`."""
    low, median, high = jnp.quantile(rows, jnp.array([0.25, 0.5, 0.75], rows.dtype), axis=0)
    deviation = (high - low) / 1.349  # the interquartile range of a standard normal
    log_deviation = jnp.log(positive(deviation))
    return median, jnp.where(deviation > 0, log_deviation, mean_and_log_deviation(rows)[1])


def mean_and_variance(x):
    """Means and variances `[D]` over all batch axes."""
    mean, scale, variance = _scaled_moments(x.reshape(-1, x.shape[-1]))
    return mean, scale * scale * variance


def _scaled_moments(rows):
    """Means `[D]`, and variances in units of the square of a scale, which come second.

    Differences from some row are taken before sums are: sums of a million float32 are off in the
    third digit, and a dimension that does not vary has a variance of exactly zero. They are divided
    by the largest before they are squared: squares of 1e-20, or 1e20, are no float32 numbers.
    """
    some = jax.lax.stop_gradient(rows[0])
    differences = rows - some[None]
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(differences), axis=0))
    scale = positive(largest)
    scaled = differences / scale[None]
    return some + scale * jnp.mean(scaled, axis=0), scale, jnp.var(scaled, axis=0)


def positive(values):
    """Zeros, of dimensions that do not vary, become 1."""
    return jnp.where(values > 0, values, 1)
