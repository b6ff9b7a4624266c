"""The laws of bijectors and distributions, as checks for your own."""

from distrax_flows.testing.checks import Check
from distrax_flows.testing.distribution_laws import DISTRIBUTION_LAWS
from distrax_flows.testing.laws import LAWS
from distrax_flows.testing.report import Report, check, check_bijector, check_distribution
from distrax_flows.testing.subject import Subject

__all__ = [
    "DISTRIBUTION_LAWS",
    "LAWS",
    "Check",
    "Report",
    "Subject",
    "check",
    "check_bijector",
    "check_distribution",
]
