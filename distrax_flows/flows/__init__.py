"""Whole flows: builders of distributions whose parameters Haiku owns.

Call a builder inside a Haiku transform, normally through `distrax_flows.transform`:

    flow = distrax_flows.transform(lambda: distrax_flows.flows.maf(2, num_layers=8))

Most flows are structure (coupling, autoregressive, independent, hierarchical) x family (how one
dimension is transformed) x network. `coupling`, `autoregressive`, `independent`, `glow` and `hint`
take any family of `distrax_flows.families`; the named flows fix it; `custom` takes any layer.
Unless its docstring says otherwise, a flow starts at the identity (after standardisation and
support, if any).

`help(flows.maf)` shows all options of a builder; `FlowOptions` defines them. Common to all:

* With one dimension there is nothing to condition on, and an elementwise layer replaces the
  coupling. Affine layers then give a Gaussian, and a warning unless a base is given.
* Standardisation happens after the support has mapped the data to the real line.
* Dimensions on circles get their own layers. Their base is uniform, and circular splines transform
  each of them in every layer, given all other dimensions and the context (in `independent`, given
  only the context). `base`, `standardize` and the flow's own layers then apply only to the other
  dimensions.

Each builder raises a ValueError at construction for sizes that are not positive integers, empty
`hidden_sizes`, a base of the wrong event shape, or a number of supports other than D; and a
TypeError for an unknown argument or a policy of the wrong type.
"""

from distrax_flows.flows._assemble import FlowOptions
from distrax_flows.flows._autoregressive import (
    autoregressive,
    bernstein_autoregressive,
    iaf,
    maf,
    nsf_autoregressive,
)
from distrax_flows.flows._coupling import (
    bernstein_coupling,
    coupling,
    glow,
    nice,
    nsf_coupling,
    realnvp,
)
from distrax_flows.flows._custom import custom
from distrax_flows.flows._dequantized import dequantized
from distrax_flows.flows._hierarchical import hint
from distrax_flows.flows._images import ImageOptions, image_glow, image_nsf, image_realnvp
from distrax_flows.flows._independent import bernstein, independent
from distrax_flows.flows._patches import image_autoregressive
from distrax_flows.flows._planar import planar, radial, sylvester
from distrax_flows.flows._transformed import Transformed

__all__ = [
    "FlowOptions",
    "ImageOptions",
    "Transformed",
    "autoregressive",
    "bernstein",
    "bernstein_autoregressive",
    "bernstein_coupling",
    "coupling",
    "custom",
    "dequantized",
    "glow",
    "hint",
    "iaf",
    "image_autoregressive",
    "image_glow",
    "image_nsf",
    "image_realnvp",
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
