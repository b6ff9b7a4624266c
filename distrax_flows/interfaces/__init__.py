"""Flows in other libraries; each module needs its library, and is imported by name.

from distrax_flows.interfaces import blackjax, numpyro
"""
