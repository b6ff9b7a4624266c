"""The checker of annotations: types by beartype, shapes by jaxtyping."""

import beartype
import numpy as np

# NumPy's numbers are as good as Python's, and an integer as good as a float.
check = beartype.beartype(
    conf=beartype.BeartypeConf(
        hint_overrides=beartype.FrozenDict(
            {int: int | np.integer, float: int | float | np.integer | np.floating}
        )
    )
)
