"""Experiments with distrax_flows, run as modules: `python -m experiments.toy_densities --help`.

They use the public interface only, write into `figures/<experiment>`, and need
`pip install 'distrax_flows[experiments]'`. `--quick` runs each in seconds.
"""
