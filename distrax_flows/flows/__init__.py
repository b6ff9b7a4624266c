"""Whole flows: builders of `distrax.Transformed` whose parameters Haiku owns.

Call a builder inside a Haiku transform, normally through `distrax_flows.transform`:

    flow = distrax_flows.transform(lambda: distrax_flows.flows.maf(2, num_layers=8))

Most flows are structure (coupling, autoregressive, independent, hierarchical) x family (what
happens to one dimension) x network. `coupling`, `autoregressive`, `independent`, `glow` and `hint`
take any family of `distrax_flows.families`; the named flows fix it. Where nothing else is said, a
flow starts at the identity (after standardisation and support, if asked for).

Arguments that all builders share, where they apply:

* `event_size`: number of dimensions D. With one dimension there is nothing to condition on, and an
  elementwise layer takes the place of a coupling; affine ones then give a Gaussian, and a warning
  unless a base is given.
* `num_layers`: layers, each with networks of its own; they compile as one. 8 by default.
* `hidden_sizes`: units of each hidden layer of each network. `(64, 64)` by default.
* `activation`: of the networks, elementwise. `jax.nn.relu` by default.
* `between`: a layer that mixes the dimensions after each layer, seen from the base: any function or
  Haiku module from an input to a bijector of vectors. It reverses their order by default. Builders
  whose layers need none (`independent`, `planar`, `radial`, `sylvester`) refuse it.
  `modules.compose(modules.ActNormLayer(), modules.LULinearLayer())` makes a Glow of any flow.
* `context`: `[..., C]` or None. Conditions every network. The flow gets the context's batch shape.
* `base`: any distrax or TFP distribution of event shape `(D,)`; standard normal if None.
  `distrax_flows.bases` has some with parameters to learn, and the traps of each.
* `standardize`: whether the first layer, seen from the data, subtracts the mean and divides by the
  standard deviation of the data that the flow is initialised on (`modules.Standardize`). Its
  log-det is counted. The context is standardised, too. "robust" takes the median and the
  interquartile range, which outliers leave alone (`modules.RobustStandardize`). The statistics are
  fixed: `fit` never moves them. False by default.
* `support`: a support of `distrax_flows.supports`, or one for each dimension; real by default. The
  density is zero outside. Standardisation happens after the data are mapped to the real line.
  Dimensions on circles get layers of their own: they start uniform, and circular splines transform
  each of them in every layer, given all other dimensions and the context (in `independent`, given
  the context alone); `base`, `standardize` and the flow's own layers then concern the other
  dimensions alone.
* `remat`: whether gradients store the inputs of layers only, and compute all else again: memory of
  one layer's network rather than of all, at the price of about one more pass. False by default.
* `unroll`: whether each layer is compiled by itself: steps take up to a quarter less on a CPU, and
  compilation takes longer with each layer. False by default.
* `policy`: a `jmp.Policy`, the dtypes of the networks, or None for those of the data. The bijectors
  themselves stay in the policy's output dtype, float32 or wider:
  `jmp.get_policy("params=float32,compute=bfloat16,output=float32")`.

Each raises a ValueError at construction for sizes that are not positive integers, empty
`hidden_sizes`, a base of another event shape, or a number of supports other than D;
and a TypeError for a policy of another type.
"""

from distrax_flows._transformed import Transformed
from distrax_flows.flows._assemble import FlowOptions
from distrax_flows.flows.autoregressive import (
    autoregressive,
    bernstein_autoregressive,
    iaf,
    maf,
    nsf_autoregressive,
)
from distrax_flows.flows.coupling import (
    bernstein_coupling,
    coupling,
    glow,
    nice,
    nsf_coupling,
    realnvp,
)
from distrax_flows.flows.hierarchical import hint
from distrax_flows.flows.independent import bernstein, conditional_bernstein, independent
from distrax_flows.flows.residual import planar, radial, sylvester

__all__ = [
    "FlowOptions",
    "Transformed",
    "autoregressive",
    "bernstein",
    "bernstein_autoregressive",
    "bernstein_coupling",
    "conditional_bernstein",
    "coupling",
    "glow",
    "hint",
    "iaf",
    "independent",
    "maf",
    "nice",
    "nsf_autoregressive",
    "nsf_coupling",
    "planar",
    "radial",
    "realnvp",
    "sylvester",
]
