"""Classifier two-sample test."""

import math
from typing import NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Shaped

from distrax_flows._core.checks import check_positive_int
from distrax_flows._core.types import ArrayLike

__all__ = ["TwoSampleTest", "c2st"]


class TwoSampleTest(NamedTuple):
    """Result of a classifier two-sample test.

    Attributes:
        accuracy: accuracy on events held out from training; 1/2 if the sets have the same
            distribution, 1 if they are separate.
        stderr: its standard error, approximately.
        p_value: approximate probability of such an accuracy if both sets have the same
            distribution. Like the standard error, it is that of a binomial distribution, which
            ignores that the folds share training events.
    """

    accuracy: float
    stderr: float
    p_value: float


def c2st(
    x: Shaped[ArrayLike, "N ..."],
    y: Shaped[ArrayLike, "N ..."],
    *,
    seed: int = 1,
    num_folds: int = 5,
) -> TwoSampleTest:
    """Run the classifier two-sample test: can a neural network tell two sets of samples apart?

    Both sets are standardised by the first. A perceptron with two hidden layers of `10 D` ReLU
    units is trained by cross-validation; the accuracy is that on the folds left out. These are the
    choices of the benchmark sbibm, so that results are comparable. Requires scikit-learn; takes
    seconds to minutes.

    Args:
        x: `[N, *event_shape]`, samples of the reference.
        y: `[N, *event_shape]`, as many samples of the flow.
        seed: seed of the folds and of the networks.
        num_folds: number of folds, at least 2.

    Raises:
        ValueError: the shapes differ, there are too few events or folds, a value is not finite, or
            a dimension of `x` is constant.
        ImportError: scikit-learn is missing.

    Reference:
        Lopez-Paz & Oquab, "Revisiting Classifier Two-Sample Tests", 2017, section 3; Lueckmann et
        al., "Benchmarking Simulation-Based Inference", 2021.

    Example:
        >>> import distrax_flows as dxf, numpy as np
        >>> x, y = np.random.default_rng(0).normal(size=(2, 500, 2))
        >>> dxf.diagnostics.c2st(x, y).p_value > 0.05
        True
        >>> dxf.diagnostics.c2st(x, 1 + y).p_value < 0.05
        True
    """
    try:
        from sklearn.model_selection import KFold, cross_val_score
        from sklearn.neural_network import MLPClassifier
    except ImportError:
        raise ImportError(
            "`c2st` needs scikit-learn: `pip install 'distrax_flows[sklearn]'`."
        ) from None
    if check_positive_int("num_folds", num_folds) < 2:
        raise ValueError(f"`num_folds` must be at least 2; got {num_folds=}.")
    num = 0 if np.ndim(x) == 0 else np.shape(x)[0]
    if np.shape(x) != np.shape(y) or num < num_folds:
        raise ValueError(
            f"`x` and `y` must have one shape, and at least {num_folds} events; got "
            f"{np.shape(x)=}, {np.shape(y)=}."
        )
    pair = [np.asarray(a, np.float64).reshape(num, -1) for a in (x, y)]
    for name, values in zip("xy", pair, strict=True):
        if not np.isfinite(values).all():
            raise ValueError(
                f"`{name}` must be finite; got {(~np.isfinite(values).all(axis=1)).sum()} events "
                "with NaN or infinite entries."
            )
    scale = pair[0].std(axis=0, ddof=1)
    if not scale.all():
        raise ValueError(f"`x` must vary; its dimension {int(np.argmin(scale))} is constant.")
    standardized = [(values - pair[0].mean(axis=0)) / scale for values in pair]
    events = np.concatenate(standardized).astype(np.float32)
    size = 10 * events.shape[1]
    classifier = MLPClassifier((size, size), max_iter=10_000, random_state=seed)
    folds = KFold(num_folds, shuffle=True, random_state=seed)
    labels = np.repeat([0, 1], num)
    accuracy = float(cross_val_score(classifier, events, labels, cv=folds).mean())
    num_right = round(accuracy * 2 * num)  # up to a fold's rounding, if folds differ in size
    return TwoSampleTest(
        accuracy,
        math.sqrt(accuracy * (1 - accuracy) / (2 * num)),
        float(scipy.special.bdtrc(num_right - 1, 2 * num, 0.5)),
    )
