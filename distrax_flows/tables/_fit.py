"""Fitting the density of a table in one line."""

import dataclasses
import difflib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from distrax_flows._core.keys import as_key
from distrax_flows._core.threads import one_blas_thread
from distrax_flows.functional.flow import Params
from distrax_flows.supports import Support
from distrax_flows.tables._categories import fit_categories
from distrax_flows.tables._columns import Category, read_columns
from distrax_flows.tables._density import (
    TableDensity,
    TableInterrupted,
    log_prob_of_rows,
    pad,
    padded_size,
)
from distrax_flows.tables._frames import as_frame
from distrax_flows.tables._mixture import MixtureSize, choose_mixture, fit_mixture
from distrax_flows.tables._model import TableSpec, with_location, with_mixture
from distrax_flows.tables._recipe import Recipe, recipe_for
from distrax_flows.training._fit import fit
from distrax_flows.training.optimizers import cosine_adam
from distrax_flows.training.results import FitInterrupted

__all__ = ["fit_table"]

_MIN_ROWS = 20
_INIT_ROWS = 2**12  # rows from which statistics are taken
_MAX_START_ROWS = 2**14  # rows that a mixture is fitted to


def fit_table(
    data: Any,
    *,
    columns: Mapping[str, Support | Category] | None = None,
    key: jax.Array | int = 0,
    progress: bool = True,
    **changes: Any,
) -> TableDensity:
    """Fit the density of a table: a matrix, or a data frame of pandas, polars or pyarrow.

        density = distrax_flows.fit_table(frame)

    The kind of a column follows from its values, unless `columns` gives it:

    | values | kind |
    |-|-|
    | strings, booleans, enumerations | category |
    | whole numbers, over a range up to 100,000 | integer; from 0 if none is negative |
    | the same, with a twentieth of the rows at each end | integer between these ends |
    | an angle or hour by name, over its range in degrees, radians or hours | circle |
    | positive | positive, log_scale or interval (0, 1): whichever makes a Gaussian most likely |
    | others, and positive numbers far from 0 | real |

    Columns with heavy tails, and counts over orders of magnitude, are seen through
    `supports.asinh_scale`, even if their kind is given. Categories have a joint distribution of
    their own, a tree of pairwise dependences, and the flow is conditioned on them. Behind the
    supports, the flow starts at a mixture of Gaussians chosen by cross-validation; training then
    bends it, as long as the likelihood of held-out rows increases. So few rows get a density no
    worse than that mixture. Several members each hold out another part of the rows, and their
    densities are averaged.

    Equal data and keys give equal densities.

    Args:
        data: `[N, D]`, or a data frame with N rows, without missing values; at least 20 rows.
        columns: kinds of some columns by name, such as `supports.positive()` and
            `tables.category()`. Columns of a matrix are named x0, x1, ...
        key: random key, or an integer seed.
        progress: whether to show a progress bar, and print the density at the end.
        **changes: changes to the recipe that `recipe_for` chooses by the number of rows and
            columns: fields of `tables.Recipe`, such as `flow="maf"` or `num_members=1`.

    Returns:
        The density; printing it shows what was chosen.

    Raises:
        ImportError: scikit-learn is missing, or narwhals for data frames.
        TypeError: `data` is not a table; a column holds dates or objects; a change is not a field.
        ValueError: values are missing; a column is constant, is outside the support given for it,
            or names its rows; there are fewer than 20 rows, or only categories.
        TableInterrupted: Ctrl-C during training; the error's `density` is what was fitted so far.

    Example:
        >>> import distrax_flows as dxf, numpy as np
        >>> x = np.random.default_rng(0).normal(size=(500, 2)) @ [[1.0, 0.8], [0.0, 0.6]]
        >>> density = dxf.fit_table(x, num_members=1, num_steps=100, progress=False)
        >>> bool(abs(density.score(x) + 2.33) < 0.15)  # the entropy is 2.33 nats
        True
    """
    started = time.perf_counter()
    try:
        import sklearn.mixture  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "`fit_table` needs scikit-learn: `pip install 'distrax_flows[tables]'`."
        ) from error
    frame = as_frame(data)
    if frame.num_rows < _MIN_ROWS:
        raise ValueError(
            f"`data` must have at least {_MIN_ROWS} rows to learn a density from; got "
            f"{frame.num_rows}."
        )
    found = read_columns(frame.columns, frame.dtypes, {} if columns is None else columns)
    if all(column.is_category for column in found):
        raise ValueError(
            "`data` must have a column of numbers; got categories only, "
            f"{[column.name for column in found]}. Their joint frequencies are a density already."
        )
    recipe = _changed(recipe_for(frame.num_rows, len(found)), changes)
    if recipe.num_members > frame.num_rows // 2:
        raise ValueError(
            f"`num_members` must be at most half the number of rows, {frame.num_rows // 2}; got "
            f"num_members={recipe.num_members}."
        )
    coded = {column.name: column.encode(frame.columns[column.name]) for column in found}
    categories = [column for column in found if column.is_category]
    levels = np.stack(
        [np.zeros(frame.num_rows), *(coded[column.name] for column in categories)], axis=1
    ).astype(int)[:, 1:]
    x = np.stack([coded[c.name] for c in found if not c.is_category], axis=1).astype(np.float32)
    tree = fit_categories(levels, tuple(len(column.levels) for column in categories))
    context = tree.one_hot(levels) if categories else None
    spec = TableSpec(found, tree, recipe, 1, frame.library)
    init_key, fold_key, *keys = jax.random.split(as_key(key), 2 + recipe.num_members)
    folds = _folds(frame.num_rows, recipe.num_members, fold_key)
    _check_folds(spec, x, folds)
    with one_blas_thread():
        start = _start(spec, x, context, init_key)
        size = MixtureSize(1, 0.0)
        if spec.num_lines:
            size = choose_mixture(start.z, np.array_split(_order(len(start.z), fold_key), 5))
            spec = dataclasses.replace(spec, num_components=size.num_components)
        fits: list[_Member] = []
        for number, (fold, member_key) in enumerate(zip(folds, keys, strict=True), 1):
            if progress:
                print(f"member {number} of {len(folds)}", file=sys.stderr)
            fits.append(_fit_member(spec, x, context, fold, start, size, member_key, progress))
            if fits[-1].interrupted:
                break
    # The flows' scores lack the units and the categories.
    held_out = [
        fit_categories(np.delete(levels, fold, axis=0), tree.num_levels).log_prob(levels[fold])
        for fold in folds[: len(fits)]
    ]
    rest = np.concatenate(held_out).mean() - sum(np.log(c.scale) for c in spec.numbers)
    facts = {
        "validation log-likelihood, nats per row": np.mean([fit.after for fit in fits]) + rest,
        "that of the start": np.mean([fit.before for fit in fits]) + rest,
        "rows": frame.num_rows,
        "seconds": time.perf_counter() - started,
    }
    spec = dataclasses.replace(
        spec,
        recipe=dataclasses.replace(recipe, num_members=len(fits)),
        facts=tuple((k, float(v)) for k, v in facts.items()),
    )
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(fit.params for fit in fits))
    density = TableDensity(spec, params)
    if fits[-1].interrupted:
        message = f"{fits[-1].interrupted} Member {len(fits)} of {recipe.num_members}."
        raise TableInterrupted(message, density)
    if progress:
        print(density)
    return density


def _changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    names = [field.name for field in dataclasses.fields(Recipe)]
    for name, value in changes.items():
        if name not in names:
            close = difflib.get_close_matches(name, [*names, "columns", "key", "progress"], 1)
            hint = f"Perhaps `{close[0]}` is meant." if close else f"A recipe has {names}."
            raise TypeError(f"`fit_table` has no argument `{name}`; got {name}={value!r}. {hint}")
    return dataclasses.replace(recipe, **changes)


def _folds(num_rows: int, num_members: int, key: jax.Array) -> Sequence[np.ndarray]:
    """Return the rows that each member holds out: equally many for each, so they compile once."""
    order = _order(num_rows, key)
    size = num_rows // max(num_members, 10 if num_members == 1 else 1)
    return [order[size * member : size * (member + 1)] for member in range(num_members)]


def _order(num_rows: int, key: jax.Array) -> np.ndarray:
    return np.random.default_rng(np.asarray(jax.random.key_data(key))).permutation(num_rows)


def _check_folds(spec: TableSpec, x: np.ndarray, folds: Sequence[np.ndarray]) -> None:
    """Raise if a column varies in held-out rows only, before any member is trained."""
    for column, values in zip(spec.numbers, x.T, strict=True):
        if any(np.ptp(np.delete(values, fold)) == 0 for fold in folds):
            raise ValueError(
                f"Column {column.name!r} must vary in more rows: all that differ were held out "
                f"together. Make it a category, `columns={{{column.name!r}: tables.category()}}`, "
                "or drop it."
            )


class _Start(NamedTuple):
    """Initial parameters, and some rows mapped to the base by them."""

    params: Params
    rows: np.ndarray  # `[S]`, their numbers
    # Values of the columns that are not on circles; without what is linear in the categories.
    z: Float[np.ndarray, "S L"]


def _start(spec: TableSpec, x: np.ndarray, context: np.ndarray | None, key: jax.Array) -> _Start:
    flow, rows = spec.flow(), np.arange(0, len(x), -(-len(x) // _MAX_START_ROWS))
    # The same number of rows for every table: few rows are repeated about equally often.
    some = np.linspace(0, len(x) - 1, _INIT_ROWS).round().astype(int)
    params = flow.init(key, x[some], None if context is None else context[some])
    context = None if context is None else context[rows]
    size = padded_size(len(rows))
    z, _ = flow.inverse(
        params, pad(x[rows], size), None if context is None else pad(context, size), key=key
    )
    z = np.asarray(z, np.float64)[: len(rows), : spec.num_lines]
    if context is not None and spec.num_lines:
        ones = context.astype(float)
        location = np.linalg.solve(ones.T @ ones + np.eye(ones.shape[1]), ones.T @ z)
        params, z = with_location(params, location), z - ones @ location
    return _Start(params, rows, z)


class _Member(NamedTuple):
    """A fit, and the log-likelihood of its held-out rows after and before training."""

    params: Params
    after: float
    before: float
    interrupted: str = ""  # message of the interrupted training


def _fit_member(
    spec: TableSpec,
    x: np.ndarray,
    context: np.ndarray | None,
    fold: np.ndarray,
    start: _Start,
    size: MixtureSize,
    key: jax.Array,
    progress: bool,
) -> _Member:
    """Fit a member; after Ctrl-C, return what it has reached."""
    recipe, params = spec.recipe, start.params
    if spec.num_lines:
        mixture = fit_mixture(start.z[~np.isin(start.rows, fold)], size)
        params = with_mixture(params, mixture.weights_, mixture.means_, mixture.covariances_)
    train = np.delete(x, fold, axis=0)
    validation = x[fold], None if context is None else context[fold]
    interrupted = ""
    try:
        fitted = fit(
            spec.flow(),
            train,
            key=key,
            params=params,
            context=None if context is None else np.delete(context, fold, axis=0),
            num_steps=recipe.num_steps,
            batch_size=min(recipe.batch_size, 1 << (len(train).bit_length() - 1)),
            validation=validation if context is not None else x[fold],
            patience=recipe.patience,
            eval_every=recipe.eval_every,
            ema_decay=recipe.ema_decay,
            optimizer=cosine_adam(
                recipe.num_steps, recipe.learning_rate, weight_decay=recipe.weight_decay
            ),
            progress=progress,
        )
    except FitInterrupted as interrupt:
        fitted, interrupted = interrupt.fit, str(interrupt)
    # Both use the same rows and the same noise of integers.
    before, after = (
        float(log_prob_of_rows(spec, jax.tree.map(lambda leaf: leaf[None], p), *validation).mean())
        for p in (params, fitted.params)
    )
    if after > before:
        return _Member(fitted.params, after, before, interrupted)
    return _Member(params, before, before, interrupted)
