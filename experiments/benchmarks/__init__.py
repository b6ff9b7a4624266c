"""Timings, each a ratio to something measured in the same run.

Run nothing else meanwhile. Milliseconds differ from machine to machine; ratios differ less.
"""
