"""Tables: those of scikit-learn, and messy ones."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import sklearn.datasets

NUM_PEOPLE = 2_000
NUM_SENSORS = 1_000


def split(name: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training rows and test rows, a fifth."""
    table = DATASETS[name]()
    order = np.random.default_rng(seed).permutation(len(table))
    num_test = len(table) // 5
    return table.iloc[order[num_test:]], table.iloc[order[:num_test]]


def _bundled(load: Callable) -> Callable[[], pd.DataFrame]:
    return lambda: load(as_frame=True).data


def _people() -> pd.DataFrame:
    """Categories that shift counts, incomes and shares; times of day with two peaks."""
    rng = np.random.default_rng(0)
    num = NUM_PEOPLE
    city = rng.choice(["Bern", "Oslo", "Rome"], num, p=[0.5, 0.3, 0.2])
    is_student = rng.random(num) < np.where(city == "Oslo", 0.5, 0.15)
    age = np.where(is_student, rng.gamma(20, 1.2, num), rng.gamma(9, 5, num))
    log_income = 10 + 0.02 * age - 1.0 * is_student + 0.4 * rng.normal(size=num)
    share = rng.beta(2 + 3 * is_student, 5 - 2 * (city == "Rome"), num)
    is_early = rng.random(num) < 0.6 - 0.4 * is_student
    return pd.DataFrame(
        {
            "city": city,
            "student": is_student,
            "visits": rng.poisson(np.where(city == "Rome", 6.0, 1.5)),
            "age": age,
            "income": np.exp(log_income),
            "share_of_rent": share,
            "hour": rng.normal(np.where(is_early, 8.0, 20.0), 1.5) % 24,
        }
    )


def _sensors() -> pd.DataFrame:
    """Heavy tails, an angle, orders of magnitude, and a column above a threshold."""
    rng = np.random.default_rng(1)
    num = NUM_SENSORS
    angle = rng.vonmises(2.5, 1.5, num)  # across the cut
    decay = np.exp(rng.normal(0, 2, num) + np.cos(angle))
    return pd.DataFrame(
        {
            "heading": np.degrees(angle) % 360,
            "decay": decay,
            "residual": rng.standard_t(2, num) * (1 + decay**0.2),
            "excess": 3 + rng.exponential(1 + np.sin(angle) ** 2, num),
            "channel": rng.integers(4, size=num),
        }
    )


DATASETS: dict[str, Callable[[], pd.DataFrame]] = {
    "iris": _bundled(sklearn.datasets.load_iris),
    "wine": _bundled(sklearn.datasets.load_wine),
    "breast_cancer": _bundled(sklearn.datasets.load_breast_cancer),
    # Without sex, which has two values.
    "diabetes": lambda: _bundled(sklearn.datasets.load_diabetes)().drop(columns="sex"),
    "people": _people,
    "sensors": _sensors,
}
