"""The laws of bijectors, to try on anybody's."""

from distrax_flows.testing.checks import Check
from distrax_flows.testing.laws import LAWS
from distrax_flows.testing.report import Report, check, check_bijector
from distrax_flows.testing.subject import Subject

__all__ = ["LAWS", "Check", "Report", "Subject", "check", "check_bijector"]
