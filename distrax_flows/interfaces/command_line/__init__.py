"""Command line: fit, score, sample and plot densities of tables in files.

    distrax-flows fit people.csv --output people_model
    distrax-flows sample people_model 1000 --output samples.csv

Needs `pip install 'distrax_flows[cli]'`. `python -m distrax_flows` is the same command.
"""

from distrax_flows.interfaces.command_line._main import main

__all__ = ["main"]
