"""Experiments with distrax_flows, run as modules: `python -m experiments.toy_densities --help`.

They use the public interface only, write into `figures/<experiment>`, and need
`pip install 'distrax_flows[experiments]'`. `--quick` runs each in seconds: it supplies smaller
defaults, and settings given beside it win. Ctrl-C keeps the rows that are finished.
"""

import sys

from experiments import _interrupt

# `python -m` imports this package before it knows the module's file. Imports of JAX and TFP take
# seconds, in which Ctrl-C may come, too.
if sys.argv[0] == "-m":
    sys.excepthook = _interrupt.hook
