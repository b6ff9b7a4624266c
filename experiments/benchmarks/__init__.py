"""Timings, each a ratio against something measured in the same run.

Run nothing beside them. Milliseconds drift from machine to machine; ratios drift less.
"""
