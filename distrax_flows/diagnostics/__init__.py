"""Quality of a fitted flow; and plots of it, in `distrax_flows.diagnostics.plotting`."""

from distrax_flows.diagnostics import plotting
from distrax_flows.diagnostics._evidence import Evidence, evidence

__all__ = ["Evidence", "evidence", "plotting"]
