"""What two fits must have in common for one to go on with the checkpoints of the other."""

from collections.abc import Mapping
from typing import Any

from distrax_flows._versions import differences, shapes_of, versions, warn_of_versions

__all__ = ["compare_settings", "settings_of"]


def settings_of(params: Any, fixed: Mapping[str, Any], free: Mapping[str, Any]) -> dict[str, Any]:
    """All of it, as JSON.

    Args:
        params: parameters and all else whose shapes must agree.
        fixed: settings that must agree, or the fit would become another one.
        free: settings that may differ.
    """
    return {
        "fixed": dict(fixed),
        "free": dict(free),
        "shapes": shapes_of(params),
        "versions": versions(),
    }


def compare_settings(saved: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Why a fit with settings `own` cannot go on from one with settings `saved`; empty if it can.

    Other versions of libraries give a warning: then bits may differ.
    """
    for kind, remedy in (
        ("shapes", "Build the flow, and the optimizer, as they were"),
        ("fixed", "Give the arguments of the first call"),
    ):
        found = differences(saved.get(kind, {}), own[kind])
        if found:
            more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
            return f"{'; '.join(found[:3])}{more}. {remedy}, or choose another `checkpoint_dir`."
    warn_of_versions("The checkpoint", saved.get("versions", {}))
    return ""
