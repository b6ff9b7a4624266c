"""ArviZ: samples of flows as `InferenceData`, and posteriors as tables to fit flows to."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from distrax_flows._core.types import ArrayLike, Shape

if TYPE_CHECKING:
    from arviz import InferenceData

__all__ = ["from_arviz", "to_arviz"]

_SAMPLE_DIMS = ("chain", "draw", "sample")  # `arviz.extract` stacks the first two into the third
_INDEXED = re.compile(r"(.+)\[(\d+(?:, ?\d+)*)\]")


def to_arviz(
    samples: Shaped[ArrayLike, "..."] | Mapping[str, ArrayLike],
    *,
    log_prob: Shaped[ArrayLike, "..."] | None = None,
    names: Sequence[str] | None = None,
    chains: bool = False,
) -> "InferenceData":
    """Convert samples for ArviZ.

    Names such as `theta[0]`, `theta[1]` become one vector variable `theta`, and `A[0, 1]` an entry
    of a matrix, if all entries are there. So the names from `from_arviz` restore the variables they
    came from.

    Samples of a flow are independent: `arviz.summary(..., kind="stats")` leaves out the diagnostics
    of Markov chains.

    Args:
        samples: `[S, D]`, samples of a flow; or arrays `[S, ...]` by the names of their variables.
        log_prob: `[S]`, the log-density of each sample, which becomes `lp` of `sample_stats`.
        names: D names of the columns of `samples`; if None, they are one variable `x`.
        chains: whether the samples are those of several chains; then `samples` is `[chains, S, D]`,
            or arrays `[chains, S, ...]`, and `log_prob` is `[chains, S]`.

    Returns:
        `arviz.InferenceData` with the groups `posterior` and, given `log_prob`, `sample_stats`; an
        `xarray.DataTree` from ArviZ 1.0 on.

    Raises:
        ImportError: ArviZ is missing.
        ValueError: a shape does not match; or `names` has another length, repeats a name, or is
            given for samples that have names already.

    Example:
        >>> import distrax_flows as dxf
        >>> from distrax_flows.interfaces.arviz import to_arviz
        >>> flow = dxf.transform(lambda: dxf.flows.realnvp(3, num_layers=2))
        >>> params = flow.init_without_data(0)
        >>> x, log_prob = flow.sample_and_log_prob(params, 1, (1000,))
        >>> idata = to_arviz(x, log_prob=log_prob, names=["mu", "theta[0]", "theta[1]"])
        >>> idata.posterior["theta"].shape
        (1, 1000, 2)
    """
    sample_dims = ("chain", "draw") if chains else ("draw",)
    if isinstance(samples, Mapping):
        if names is not None:
            raise ValueError(
                f"`names` must be None for samples that have names already; got {names=}."
            )
        variables = {name: np.asarray(values) for name, values in samples.items()}
    else:
        variables = _variables(np.asarray(samples), names, sample_dims)
    sample_shape = _check_variables(variables, sample_dims)
    groups = {"posterior": variables}
    if log_prob is not None:
        if np.shape(log_prob) != sample_shape:
            raise ValueError(
                f"`log_prob` must have shape {sample_shape}, a value for each sample; got "
                f"{np.shape(log_prob)=}."
            )
        groups["sample_stats"] = {"lp": np.asarray(log_prob)}
    return _inference_data(groups, sample_shape)


def from_arviz(
    idata: Any, group: str = "posterior", var_names: str | Sequence[str] | None = None
) -> tuple[Shaped[np.ndarray, "N D"], tuple[str, ...]]:
    """Convert a posterior of ArviZ to a table, such as data for `fit` or `corner`.

    Args:
        idata: `arviz.InferenceData`; or an `xarray.DataTree`, as of ArviZ 1.0; or an
            `xarray.Dataset`, such as one of their groups or the result of `arviz.extract`.
        group: the group to convert; a dataset is converted as it is.
        var_names: variables to convert, in this order; all if None.

    Returns:
        `[N, D]`, the samples, one chain after the other; and D names: `mu` of a scalar variable,
        `theta[0]` and `A[0, 1]` of entries of others.

    Raises:
        TypeError: `idata` is something else, or a variable does not hold numbers.
        ValueError: there is no such group or variable, or a variable has no samples.

    Example:
        >>> import numpy as np
        >>> from distrax_flows.interfaces.arviz import from_arviz, to_arviz
        >>> chains = {"mu": np.zeros((4, 500)), "theta": np.ones((4, 500, 2))}
        >>> x, names = from_arviz(to_arviz(chains, chains=True))
        >>> x.shape, names
        ((2000, 3), ('mu', 'theta[0]', 'theta[1]'))
    """
    dataset = _group(idata, group)
    known = list(dataset.data_vars)
    chosen = known if var_names is None else var_names
    chosen = [chosen] if isinstance(chosen, str) else list(chosen)
    unknown = [name for name in chosen if name not in known]
    if unknown or not chosen:
        raise ValueError(f"`var_names` must be among {known}; got {unknown or chosen}.")
    sample_dims = [dim for dim in _SAMPLE_DIMS if dim in dataset.dims]
    columns, names = [], []
    for name in chosen:
        values, event_shape = _samples_of(dataset[name], sample_dims)
        columns.append(values)
        names += [_entry(name, index) for index in np.ndindex(*event_shape)]
    return np.concatenate(columns, axis=1), tuple(names)


def _variables(
    values: np.ndarray, names: Sequence[str] | None, sample_dims: Sequence[str]
) -> dict[str, np.ndarray]:
    """Split columns `[..., D]` into variables; a scalar event `[...]` counts as one column."""
    if values.ndim not in (len(sample_dims), len(sample_dims) + 1):
        raise ValueError(
            "`samples` must be [S, D], or [chains, S, D] with `chains=True`; got samples.shape="
            f"{values.shape} and chains={len(sample_dims) == 2}. Give events of other shapes a "
            "name: `{'image': samples}`."
        )
    if names is None:
        return {"x": values}
    columns = values.reshape(*values.shape[: len(sample_dims)], -1)
    if isinstance(names, str) or len(names) != columns.shape[-1]:
        raise ValueError(f"`names` must have {columns.shape[-1]} entries; got {names=}.")
    variables = {}
    for name, entries in _entries_by_variable(names).items():
        ranks = {len(index) for index in entries}
        shape = tuple(np.max(list(entries), axis=0) + 1) if len(ranks) == 1 else (0,)
        if math.prod(shape) == len(entries):  # all of them, as they differ
            order = [entries[index] for index in np.ndindex(*shape)]
            variables[name] = columns[..., order].reshape(*columns.shape[:-1], *shape)
        else:
            variables |= {names[column]: columns[..., column] for column in entries.values()}
    return variables


def _entries_by_variable(names: Sequence[str]) -> dict[str, dict[Shape, int]]:
    """Return the column of each entry of each variable."""
    variables: dict[str, dict[Shape, int]] = {}
    for column, name in enumerate(names):
        match = _INDEXED.fullmatch(name)
        variable, index = match.groups() if match else (name, "")
        entries = variables.setdefault(variable, {})
        position = tuple(int(i) for i in index.split(",")) if index else ()
        if position in entries:
            raise ValueError(f"`names` must differ; got {name!r} twice.")
        entries[position] = column
    return variables


def _entry(name: str, index: Shape) -> str:
    """Return the name of an entry, as `arviz.summary` writes it."""
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def _check_variables(variables: dict[str, np.ndarray], sample_dims: Sequence[str]) -> Shape:
    """Return the shape of the samples, which is that of all variables."""
    shapes = {name: values.shape for name, values in variables.items()}
    leading = {shape[: len(sample_dims)] for shape in shapes.values()}
    expected = "[chains, S, ...]" if len(sample_dims) == 2 else "[S, ...]"
    if len(leading) != 1 or len(sample_shape := leading.pop()) != len(sample_dims):
        raise ValueError(
            f"`samples` must be arrays {expected} with the same number of samples; got {shapes}."
        )
    if 0 in sample_shape:
        raise ValueError(f"`samples` must hold at least one sample; got {shapes}.")
    reserved = [name for name in shapes if name in _SAMPLE_DIMS]
    if reserved:
        raise ValueError(
            f"`samples` must not have variables named {_SAMPLE_DIMS}, which ArviZ uses itself; got "
            f"{reserved[0]!r}."
        )
    return sample_shape


def _inference_data(groups: dict[str, dict[str, np.ndarray]], sample_shape: Shape) -> Any:
    try:
        import arviz
        import xarray
    except ImportError as error:
        raise ImportError(
            "`to_arviz` needs ArviZ: `pip install 'distrax_flows[arviz]'`."
        ) from error
    attrs = {"inference_library": "distrax_flows"}
    datasets: dict[str, Any] = {
        group: xarray.Dataset(*_dataset(variables, sample_shape), attrs)
        for group, variables in groups.items()
    }
    if hasattr(arviz, "InferenceData"):
        return arviz.InferenceData(**datasets)
    return xarray.DataTree.from_dict(datasets)  # ArviZ 1.0 and later


def _dataset(variables: dict[str, np.ndarray], sample_shape: Shape) -> tuple[dict, dict]:
    """Return variables and coordinates of a dataset; all variables have a chain and a draw axis."""
    chain_shape = sample_shape if len(sample_shape) == 2 else (1, *sample_shape)
    data: dict[str, Any] = {}
    coords = {"chain": np.arange(chain_shape[0]), "draw": np.arange(chain_shape[1])}
    for name, values in variables.items():
        event_shape = values.shape[len(sample_shape) :]
        dims = [f"{name}_dim_{axis}" for axis in range(len(event_shape))]
        coords |= {dim: np.arange(size) for dim, size in zip(dims, event_shape, strict=True)}
        data[name] = (["chain", "draw", *dims], values.reshape(*chain_shape, *event_shape))
    return data, coords


def _group(idata: Any, group: str) -> Any:
    """Return the dataset of a group; objects are told apart by their attributes, not imports."""
    if hasattr(idata, "children"):  # a DataTree, or a leaf of one
        groups = list(idata.children)
        if not groups and len(idata.data_vars):
            return idata
    elif callable(getattr(idata, "groups", None)):  # InferenceData
        groups = list(idata.groups())
    elif hasattr(idata, "data_vars"):
        return idata
    else:
        raise TypeError(
            "`idata` must be an `arviz.InferenceData`, `xarray.DataTree` or `xarray.Dataset`; got "
            f"{type(idata).__name__}. `to_arviz` converts arrays."
        )
    if group not in groups:
        raise ValueError(f"`group` must be one of {groups}; got {group=}.")
    return idata[group]


def _samples_of(variable: Any, sample_dims: Sequence[str]) -> tuple[np.ndarray, Shape]:
    """Return the samples of a variable, `[N, D]`, and the shape of its events."""
    if not sample_dims or not set(sample_dims) <= set(variable.dims):
        raise ValueError(
            f"`idata` must hold samples of {variable.name!r}, along 'chain' and 'draw', or "
            f"'sample'; got dims={variable.dims}. Choose others with `var_names`."
        )
    if variable.dtype.kind not in "iuf":
        raise TypeError(
            f"`idata` must hold numbers; got {variable.name!r} with dtype {variable.dtype}. Choose "
            "others with `var_names`."
        )
    values = variable.transpose(*sample_dims, ...).values
    sample_shape, event_shape = values.shape[: len(sample_dims)], values.shape[len(sample_dims) :]
    return values.reshape(math.prod(sample_shape), math.prod(event_shape)), event_shape
