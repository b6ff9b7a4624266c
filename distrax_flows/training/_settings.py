"""Settings that a fit shares with the checkpoints that it continues."""

from collections.abc import Mapping
from typing import Any

from distrax_flows._core.versions import differences, shapes_of, versions, warn_of_versions

__all__ = ["compare_settings", "settings_of"]


def settings_of(params: Any, fixed: Mapping[str, Any], free: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a fit, as JSON.

    Args:
        params: parameters and everything else whose shapes must agree.
        fixed: settings that must agree; otherwise it would be a different fit.
        free: settings that may differ.
    """
    return {
        "fixed": dict(fixed),
        "free": dict(free),
        "shapes": shapes_of(params),
        "versions": versions(),
    }


def compare_settings(saved: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Say why a fit with settings `own` cannot continue one with `saved`; empty if it can.

    Warns if versions of libraries differ: then bits may differ.
    """
    for kind, remedy in (
        ("fixed", "Give the arguments of the first call"),
        ("shapes", "Build the flow, and the optimizer, as they were"),
    ):
        found = differences(saved.get(kind, {}), own[kind])
        if found:
            more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
            return f"{'; '.join(found[:3])}{more}. {remedy}, or choose another `checkpoint_dir`."
    warn_of_versions("The checkpoint", saved.get("versions", {}))
    return ""
