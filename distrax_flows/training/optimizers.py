"""The default optimizer of fits."""

import functools

import optax

from distrax_flows._core.checks import check_non_negative_int, check_positive, check_positive_int

__all__ = ["cosine_adam"]


def cosine_adam(
    num_steps: int,
    learning_rate: float = 1e-3,
    *,
    warmup_steps: int = 0,
    weight_decay: float = 0.0,
    clip_norm: float = 0.5,
) -> optax.GradientTransformation:
    """Return Adam with clipped gradients and a cosine schedule that decays to zero.

    Equal arguments return the same object, so fits share compiled code.

    Args:
        num_steps: number of steps of the whole fit.
        learning_rate: the peak learning rate.
        warmup_steps: steps over which the learning rate rises from zero to its peak.
        weight_decay: each step shrinks the matrices of networks by this times the learning rate
            (AdamW). Everything else, such as biases and splines' own parameters, does not decay.
        clip_norm: largest global norm of a gradient; `float("inf")` disables clipping.

    Raises:
        ValueError: a count or a size is out of range.

    Example:
        >>> import distrax_flows as dxf, jax
        >>> data = jax.random.normal(jax.random.key(0), (1000, 2))
        >>> flow = dxf.transform(lambda: dxf.flows.realnvp(2, num_layers=2, hidden_sizes=(8,)))
        >>> optimizer = dxf.training.cosine_adam(200, 5e-3, warmup_steps=20, weight_decay=1e-4)
        >>> fitted = dxf.fit(flow, data, key=jax.random.key(1), num_steps=200, optimizer=optimizer)
    """
    check_positive_int("num_steps", num_steps)
    check_positive("learning_rate", learning_rate)
    check_non_negative_int("warmup_steps", warmup_steps)
    if warmup_steps >= num_steps:
        raise ValueError(f"`warmup_steps` must be less than `num_steps`; got {warmup_steps=}.")
    if not (weight_decay >= 0 and clip_norm > 0):
        raise ValueError(
            "`weight_decay` must be at least 0 and `clip_norm` above 0; got "
            f"{weight_decay=}, {clip_norm=}."
        )
    return _cosine_adam(num_steps, learning_rate, warmup_steps, weight_decay, clip_norm)


# Cached, because the optimizer is compiled in: a new one, even if equal, would compile again.
@functools.lru_cache(maxsize=64)
def _cosine_adam(num_steps, learning_rate, warmup_steps, weight_decay, clip_norm):
    schedule = optax.cosine_decay_schedule(learning_rate, num_steps - warmup_steps)
    if warmup_steps:
        warmup = optax.linear_schedule(0.0, learning_rate, warmup_steps)
        schedule = optax.join_schedules([warmup, schedule], [warmup_steps])
    if weight_decay:
        adam = optax.adamw(schedule, weight_decay=weight_decay, mask=_is_matrix)
    else:
        adam = optax.adam(schedule)
    return optax.chain(optax.clip_by_global_norm(clip_norm), adam)


def _is_matrix(params):
    """Mark the matrices of networks: each "w" in a module with only "w"s and "b"s."""

    def kind(name):
        return name.partition("_")[0]

    return {
        module: {
            name: kind(name) == "w" and {kind(other) for other in arrays} == {"w", "b"}
            for name in arrays
        }
        for module, arrays in params.items()
    }
