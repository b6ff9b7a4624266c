"""Finished flows on disk, each one file that says what it holds."""

import importlib.metadata
import io
import json
import os
import pickle
import platform
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import cloudpickle
import jax
import numpy as np

from distrax_flows.flow import Flow, Params, StatefulFlow

__all__ = ["LoadError", "Loaded", "load", "save"]
