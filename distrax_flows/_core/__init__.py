"""Shared by every level: types, checks, numerics, root finding, meshes, versions."""
