"""From a table to its density in one line.

    density = distrax_flows.fit_table(frame)  # NumPy, pandas, polars
    density.log_prob(frame), density.sample(1000, key=0), density.plot(frame)

Needs scikit-learn, and narwhals for data frames: `pip install 'distrax_flows[tables]'`.
"""

from distrax_flows.tables._columns import Category, Column, category
from distrax_flows.tables._density import TableInterrupted
from distrax_flows.tables._model import TableSpec
from distrax_flows.tables._recipe import Recipe, recipe_for

__all__ = [
    "Category",
    "Column",
    "Recipe",
    "TableInterrupted",
    "TableSpec",
    "category",
    "recipe_for",
]
