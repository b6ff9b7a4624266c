"""Conversion of users' arrays of any kind to the floating-point arrays of a flow."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from distrax_flows._core.mesh import with_automatic_axes

__all__ = ["as_array", "as_floats", "check_no_mapping", "float_dtype"]

# The remedy for each kind of dtype, by NumPy's letter for it.
_REMEDIES = {
    "U": "Convert strings of numbers with `{name}.astype(float)`; encode labels as numbers.",
    "c": "Give real and imaginary parts as columns of their own.",
    "M": "Convert times to numbers, such as `({name} - {name}.min()) / np.timedelta64(1, 's')`.",
    "m": "Convert durations to numbers, such as `{name} / np.timedelta64(1, 's')`.",
    "V": "Join the fields: `np.lib.recfunctions.structured_to_unstructured({name})`.",
    "O": "Convert it with `np.asarray({name}, float)`, or give `iter({name})` if it has batches.",
}
_REMEDIES |= {"S": _REMEDIES["U"], "T": _REMEDIES["U"]}


def as_array(name: str, value: Any) -> np.ndarray | jax.Array:
    """Return `value` as an array of any dtype; memory maps stay on disk.

    Raises:
        TypeError: `value` is a mapping or a masked array.
        ValueError: its rows differ in length.
    """
    check_no_mapping(
        name,
        value,
        "Give one of them, or stack them if they are columns, "
        f"`np.stack(list({name}.values()), axis=-1)`.",
    )
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"`{name}` must not be a masked array; got one with {np.ma.count_masked(value)} masked "
            f"entries. Drop rows with masked entries, `np.ma.compress_rows({name})`, or impute "
            f"them, `{name}.filled(...)`."
        )
    if isinstance(value, jax.Array | np.memmap):
        return with_automatic_axes(value)
    try:
        return np.asarray(value)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        raise ValueError(
            f"`{name}` must have rows of one length; got a {type(value).__name__} of rows that "
            "differ."
        ) from None


def check_no_mapping(name: str, value: Any, remedy: str) -> None:
    """Raise for a dictionary, which does not say which of its arrays to use."""
    if isinstance(value, Mapping):
        raise TypeError(
            f"`{name}` must be made of arrays; got a {type(value).__name__} with the keys "
            f"{list(value)}. {remedy}"
        )


def float_dtype(name: str, dtype: Any, integers: Any = None) -> np.dtype:
    """Return the dtype in which a flow computes with an array of `dtype`.

    Half precision is widened to float32. Other byte orders, and float64 unless JAX has it enabled,
    become the dtype that JAX computes in.

    Args:
        name: name of the array, for errors.
        dtype: dtype of the array.
        integers: the dtype for integers and booleans; None refuses them.

    Raises:
        TypeError: `dtype` is neither floating-point nor an accepted integer.
    """
    if jnp.issubdtype(dtype, jnp.floating):
        wide = np.float64 if dtype.itemsize > 4 else np.float32
        return jax.dtypes.canonicalize_dtype(wide)
    kind = getattr(dtype, "kind", "")  # dtypes of random keys have none
    if kind not in ("b", "i", "u"):
        remedy = _REMEDIES.get(kind, "Convert it to float32.").format(name=name)
    elif integers is not None:
        return np.dtype(integers)
    else:
        remedy = (
            "Counts have no density: dequantise them by `flows.dequantized`, or by uniform noise, "
            f"`{name} + np.random.default_rng(0).uniform(size={name}.shape)`. Measurements only "
            f'need `{name}.astype("float32")`.'
        )
    raise TypeError(f"`{name}` must be a floating-point array; got dtype {dtype}. {remedy}")


def as_floats(name: str, value: Any, integers: Any = None) -> Any:
    """Return an array, possibly a traced one, in the dtype of `float_dtype`."""
    array = as_array(name, value)
    dtype = float_dtype(name, array.dtype, integers)
    with np.errstate(over="ignore"):
        return array if array.dtype == dtype else array.astype(dtype)
