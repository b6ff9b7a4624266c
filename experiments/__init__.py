"""Experiments with distrax_flows, run as modules: `python -m experiments.toy_densities --help`.

They use the public interface only, write into `figures/<experiment>`, and need
`pip install -e '.[experiments]'`. `--quick` runs each in seconds: it supplies smaller
defaults, which explicit settings override. Ctrl-C keeps finished rows.
"""

import sys

from experiments import _interrupt

if sys.argv[0] == "-m":  # `python -m` imports this package before the module's own file
    _interrupt.end_while_starting()
