"""The density of a table."""

import functools
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distrax_flows._core.checks import check_positive_int
from distrax_flows._core.keys import as_key
from distrax_flows.functional.flow import Flow, Params
from distrax_flows.saving import LoadError, load, save
from distrax_flows.tables._columns import Column
from distrax_flows.tables._frames import as_frame, from_columns
from distrax_flows.tables._model import TableSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TableDensity", "TableInterrupted", "log_prob_of_rows", "pad", "padded_size"]

_MIN_CHUNK, _CHUNK = 256, 4_096  # rows evaluated together
_NUM_NOISE = 16  # samples of the noise of integers, per row
_MAX_PANELS = 8  # maximum number of columns of a plot


class TableDensity:
    """Density of the rows of a table, as returned by `fit_table`.

    A mixture of the fitted flows, with equal weights. Its repr shows the columns and the chosen
    configuration.

    Attributes:
        spec: the columns, the categories and the recipe.
        params: parameters of the flows, with their axis `[E]` first.

    Example:
        >>> import distrax_flows as dxf, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> table = {"size": rng.lognormal(size=300), "colour": rng.choice(["red", "blue"], 300)}
        >>> density = dxf.fit_table(table, num_members=1, num_steps=100, progress=False)
        >>> density.log_prob(table).shape
        (300,)
        >>> sorted(density.sample(5, key=1))
        ['colour', 'size']
    """

    def __init__(self, spec: TableSpec, params: Params):
        self.spec = spec
        self.params = params

    @property
    def flow(self) -> Flow:
        """The flow of the columns of numbers, in its own units."""
        return self.spec.flow()

    @property
    def num_members(self) -> int:
        """Number of flows, E."""
        return len(jax.tree.leaves(self.params)[0])

    def log_prob(self, data: Any) -> Float[np.ndarray, " N"]:
        """Return the log-density of each row, in nats and float64.

        The density is per unit of each column of numbers, times the probability of categories and
        integers. Rows outside the support get -inf. With integers it is a lower bound, tight up to
        noise: the logarithm of a mean over 16 samples of the noise that makes them continuous.
        These depend on the position of the row in the table.

        Args:
            data: a table with the columns that were fitted, in any order; others are ignored.

        Raises:
            ValueError: a column is missing, has missing values, or an unknown level.
        """
        numbers, levels = self._encode(data)
        context = self.spec.categories.one_hot(levels) if self.spec.categories.order else None
        log_prob = log_prob_of_rows(self.spec, self.params, numbers, context)
        scales = sum(math.log(column.scale) for column in self.spec.numbers)
        return log_prob - scales + self.spec.categories.log_prob(levels)

    def score(self, data: Any) -> float:
        """Return the mean log-density of the rows, in nats: higher is better.

        Args:
            data: a table, as for `log_prob`.
        """
        return float(self.log_prob(data).mean())

    def sample(self, num: int = 1, *, key: jax.Array | int) -> Any:
        """Return a table of samples, with the library and columns of the fitted one.

        Columns keep their dtypes, or get NumPy's of that kind. Numbers are rounded in columns of
        integers, and enumerations keep their levels.

        Args:
            num: number of rows.
            key: random key, or an integer seed.
        """
        num = check_positive_int("num", num)
        flow_key, order_key = jax.random.split(as_key(key))
        rng = np.random.default_rng(np.asarray(jax.random.key_data(order_key)))
        # Each flow samples equally many rows; a random choice among all of them is kept.
        share = -(-num // self.num_members)
        total, size = share * self.num_members, padded_size(share)
        levels = self.spec.categories.sample(rng, total)
        context = None
        if self.spec.categories.order:
            context = self.spec.categories.one_hot(levels).reshape(self.num_members, share, -1)
            context = np.pad(context, ((0, 0), (0, size - share), (0, 0)), mode="edge")
        keys = jax.random.split(flow_key, self.num_members)
        samples = np.asarray(_sample(self.flow, self.params, keys, size, context))
        numbers = samples[:, :share].reshape(total, -1)
        values = dict(
            zip(
                [column.name for column in self.spec.numbers],
                [c.decode(u) for c, u in zip(self.spec.numbers, numbers.T, strict=True)],
                strict=True,
            )
        )
        categories = [column for column in self.spec.columns if column.is_category]
        for column, numbers_of in zip(categories, levels.T, strict=True):
            values[column.name] = column.decode(numbers_of)
        order = rng.permutation(total)[:num]
        table = {column.name: values[column.name][order] for column in self.spec.columns}
        return from_columns(table, self.spec.columns, self.spec.library)

    def plot(self, data: Any, *, num: int = 2_000, key: jax.Array | int = 0) -> "Figure":
        """Return a corner plot of a table and of samples.

        Categories are shown as the numbers of their levels. Only the first 8 columns are shown: to
        see others, plot a fit to fewer columns, or plot samples yourself.

        Args:
            data: the table, such as the one that was fitted.
            num: maximum number of rows of each to show.
            key: random key, or an integer seed.
        """
        from distrax_flows.diagnostics.plotting import corner

        samples = self.sample(num, key=key)
        return corner(
            *(_some(self._as_numbers(table), num) for table in (data, samples)),
            names=[column.name for column in self.spec.columns[:_MAX_PANELS]],
            labels=["data", "samples"],
        )

    def save(self, path: str | os.PathLike) -> None:
        """Save everything as one file, by `distrax_flows.save`.

        Args:
            path: path of the file; its folder must exist.
        """
        save(path, self.spec.for_files(), self.params)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "TableDensity":
        """Load what `save` wrote.

        Args:
            path: path of the file. Only load files you trust, as with `distrax_flows.load`.

        Raises:
            LoadError: the file is damaged, or not a saved table density.
        """
        loaded = load(path)
        arguments = getattr(loaded.flow.builder[1], "args", ())
        if not arguments or not isinstance(arguments[0], TableSpec):
            raise LoadError(
                f"{path} must be a file that `TableDensity.save` wrote; it is another flow. Use "
                "`distrax_flows.load`."
            )
        return cls(arguments[0], loaded.params)

    def __repr__(self) -> str:
        spec, recipe = self.spec, self.spec.recipe
        names = [column.name for column in spec.columns]
        width = max(map(len, names))
        lines = [f"TableDensity of {len(names)} columns"]
        for column in spec.columns:
            remarks = "".join(f"; {remark}" for remark in column.remarks)
            lines.append(f"  {column.name:{width}}  {column.describe()}{remarks}")
        splines = f", {recipe.num_bins} bins" if recipe.flow.startswith("nsf") else ""
        lines.append(
            f"  flow: {recipe.flow}, {recipe.num_layers} layers of {recipe.hidden_sizes} units"
            f"{splines}, on {spec.num_components} Gaussian(s); {recipe.num_members} member(s)"
        )
        lines += [f"  {name}: {value:.4g}" for name, value in spec.facts]
        return "\n".join(lines)

    def _encode(self, data: Any) -> tuple[Float[np.ndarray, "N D"], np.ndarray]:
        """Return numbers in float32, and levels, of a table."""
        columns = _columns_of(data, self.spec.columns)
        coded = {column.name: column.encode(columns[column.name]) for column in self.spec.columns}
        num = len(next(iter(coded.values())))
        numbers = [coded[column.name] for column in self.spec.numbers]
        levels = [coded[column.name] for column in self.spec.columns if column.is_category]
        return (
            np.stack(numbers, axis=1).astype(np.float32),
            np.stack(levels, axis=1).astype(int) if levels else np.zeros((num, 0), int),
        )

    def _as_numbers(self, data: Any) -> Float[np.ndarray, "N D"]:
        shown = self.spec.columns[:_MAX_PANELS]
        columns = _columns_of(data, shown)
        coded = [
            column.encode(columns[column.name]) if column.is_category else columns[column.name]
            for column in shown
        ]
        return np.stack(coded, axis=1).astype(np.float64)


class TableInterrupted(KeyboardInterrupt):
    """Ctrl-C ended `fit_table`; `density` has the members fitted so far, the last one in part.

    It is no worse than the mixture of Gaussians that training started from.

    Args:
        message: what happened, and how to continue.
        density: the density reached.
    """

    def __init__(self, message: str, density: TableDensity):
        super().__init__(message)
        self.density = density


def _columns_of(data: Any, columns: Sequence[Column]) -> Mapping[str, np.ndarray]:
    """Return the columns of a table, including at least those named."""
    names = [column.name for column in columns]
    found = as_frame(data, names).columns
    missing = [name for name in names if name not in found]
    if missing:
        raise ValueError(
            f"`data` must have the columns that were fitted; got a table without {missing}."
        )
    return found


def _some(rows: np.ndarray, num: int) -> np.ndarray:
    """Return at most `num` rows, chosen at random."""
    return rows[np.random.default_rng(0).permutation(len(rows))[:num]]


def log_prob_of_rows(
    spec: TableSpec, params: Params, x: np.ndarray, context: np.ndarray | None
) -> Float[np.ndarray, " N"]:
    """Return log-densities of encoded rows under the average of the flows."""
    has_integers = any(column.kind == "integer" for column in spec.numbers)
    keys = jax.random.split(jax.random.key(0), _NUM_NOISE if has_integers else 1)
    parts = []
    for start in range(0, len(x), _CHUNK):
        rows = x[start : start + _CHUNK]
        size = min(_CHUNK, padded_size(len(rows)))
        given = None if context is None else pad(context[start : start + _CHUNK], size)
        log_prob = _log_prob(spec.flow(), params, pad(rows, size), given, keys)
        parts.append(np.asarray(log_prob, np.float64)[: len(rows)])
    return np.concatenate(parts)


def padded_size(num: int) -> int:
    """Round up to one of few sizes, so that tables of similar sizes share compiled code."""
    return max(_MIN_CHUNK, 1 << (num - 1).bit_length())


def pad(rows: np.ndarray, size: int) -> np.ndarray:
    return np.pad(rows, ((0, size - len(rows)), (0, 0)), mode="edge")


@functools.partial(jax.jit, static_argnums=0)
def _log_prob(
    flow: Flow,
    params: Params,
    x: Float[Array, "N D"],
    context: Float[Array, "N C"] | None,
    keys: jax.Array,
) -> Float[Array, " N"]:
    def with_noise(key):
        return jax.vmap(lambda member: flow.log_prob(member, x, context, key=key))(params)

    log_probs = jax.lax.map(with_noise, keys)  # [S, E, N]
    mean = jax.nn.logsumexp(log_probs, axis=(0, 1)) - math.log(math.prod(log_probs.shape[:2]))
    return jnp.where(jnp.isnan(mean), -jnp.inf, mean)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _sample(
    flow: Flow,
    params: Params,
    keys: jax.Array,
    num: int,
    context: Float[Array, "E num C"] | None,
) -> Float[Array, "E num D"]:
    if context is None:
        return jax.vmap(lambda member, key: flow.sample(member, key, num))(params, keys)
    return jax.vmap(lambda member, key, given: flow.sample(member, key, (), given))(
        params, keys, context
    )
