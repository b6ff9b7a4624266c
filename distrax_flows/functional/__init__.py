"""Conversion of flow builders into pure functions of their parameters."""
