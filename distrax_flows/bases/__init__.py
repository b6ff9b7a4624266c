"""Base distributions that are trained with the flow, and a uniform one.

    flow = dxf.transform(lambda: flows.realnvp(2, base=bases.gaussian_mixture(2, 8)))

Each function returns a distribution of event shape `(D,)` and batch shape `()`, for the `base` of a
builder of `distrax_flows.flows`; `gaussian`, `logistic` and `student_t` take any event shape. Call
it where the flow is built, inside the Haiku transform: all except `uniform` create parameters, in
their own scope. Parameters start as float32; in a float64 flow the samples are float64. Scales are
bounded, as in layers: with `max_log_scale` a, they stay between `exp(-a)` and `exp(a)`.
"""

from distrax_flows.bases._elementwise import gaussian, logistic, student_t
from distrax_flows.bases._gaussian_mixture import gaussian_mixture
from distrax_flows.bases._uniform import uniform

__all__ = ["gaussian", "gaussian_mixture", "logistic", "student_t", "uniform"]
