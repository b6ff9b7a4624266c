"""How accurate each bijector is at worst, over many drawn parameters: writes docs/accuracy.md.

    python tests/accuracy.py
    python tests/accuracy.py --num 1000 planar radial

Rows are those of the laws. Hypothesis draws the raw parameters of a row and one event each, all
numbers in [-6, 6]: it prefers zeros, ends and repetitions to typical values. The round trip is
`inverse(forward(x)) - x`, and the log-det is compared with that of the Jacobian by autodiff in
double precision; both are relative where they exceed one.
"""

import argparse
import pathlib
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import distrax  # noqa: F401

import cases
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from tqdm import tqdm

_PAGE = pathlib.Path(__file__).parents[1] / "docs" / "accuracy.md"
_NUMBERS_PER_EXAMPLE = 200  # Hypothesis limits how much one example may draw

_HEAD = """# Accuracy

The worst errors of each bijector over {num:,} parameter vectors drawn by Hypothesis, every raw
parameter and every coordinate of the event between -6 and 6; ends, zeros and repetitions are
preferred. Written by `python tests/accuracy.py`; rows are those of the laws (`tests/cases.py`).

*Round trip* is `inverse(forward(x)) - x`; *log-det* is the difference of the log-det of `forward`
to that of the Jacobian by autodiff in double precision. Both are relative where the value exceeds
one. Where a slope is 1e-4, a rounding error of 1e-7 becomes 1e-3: round trips show how steep a map
can become within these parameters, not how its inverse was found.

| bijector | round trip, 32 bits | log-det, 32 bits | round trip, 64 bits | log-det, 64 bits |
|-|-|-|-|-|
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", help="only these, printed and not written")
    parser.add_argument("--num", type=int, default=10_000, help="parameter vectors of each row")
    arguments = parser.parse_args()
    chosen = [case for case in cases.CASES if case.name in (arguments.rows or [case.name])]
    table = []
    for case in (bar := tqdm(chosen, unit="bijector", disable=None)):
        bar.set_description(case.name)
        single, double = errors(case, *draws(case, arguments.num))
        shown = map(np.max, (*single, *double))
        table.append(f"| {case.name} | " + " | ".join(f"{error:.1e}" for error in shown) + " |")
    text = _HEAD.format(num=arguments.num) + "\n".join(table) + "\n"
    if arguments.rows:
        print(text)
    else:
        _PAGE.write_text(text)


def draws(case, num: int) -> tuple[np.ndarray, np.ndarray]:
    """Raw parameters `[num, num_raw]` and events `[num, *event_shape]`, in single precision."""
    size = case.num_raw + int(np.prod(case.event_shape))
    rows = max(1, _NUMBERS_PER_EXAMPLE // size)
    numbers = st.floats(-6.0, 6.0, width=32)
    found: list[np.ndarray] = []

    @hypothesis.settings(
        max_examples=-(-num // rows),
        database=None,
        deadline=None,
        derandomize=True,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(
        st_numpy.arrays(np.float32, (rows, size), elements=numbers, fill=st.nothing())
    )
    def collect(array):
        found.append(array)

    collect()
    # Few raw parameters have few drawings: then they repeat.
    values = np.resize(np.concatenate(found), (num, size))
    raw, x = np.split(values, [case.num_raw], axis=1)
    return raw, case.place(x.reshape(num, *case.event_shape) / 6)


def errors(case, raw: np.ndarray, x: np.ndarray):
    """Errors of round trip and log-det, `[num]` each, in single and double precision."""
    size = int(np.prod(case.event_shape))

    @jax.jit
    @jax.vmap
    def trip(raw, x):
        y, log_det = case.build(raw).forward_and_log_det(x)
        return jnp.abs(case.build(raw).inverse(y) - x).reshape(-1), log_det

    @jax.jit
    @jax.vmap
    def exact(raw, x):
        jacobian = jax.jacfwd(lambda x: case.build(raw).forward(x))(x)
        return jnp.linalg.slogdet(jacobian.reshape(size, size))[1]

    results = []
    with jax.enable_x64(True):
        truth = np.asarray(exact(*(jnp.asarray(array, np.float64) for array in (raw, x))))
        for dtype in (np.float32, np.float64):
            off, log_det = trip(*(jnp.asarray(array, dtype) for array in (raw, x)))
            scale = np.maximum(1, np.abs(x.reshape(len(x), size)))
            log_det_off = np.abs(log_det - truth) / np.maximum(1, np.abs(truth))
            results.append((np.max(np.asarray(off) / scale, axis=1), log_det_off))
    return results


if __name__ == "__main__":
    main()
