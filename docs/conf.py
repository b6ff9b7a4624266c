"""Sphinx configuration: `make docs` builds the site into docs/_build/html."""

import os
import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]
# Pages that run code do so in processes of their own, which import what lies here too.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# They compile many equal functions, and a second build compiles next to nothing.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(HERE / "_build" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
if "DXF_DOCS_QUICK" in os.environ:  # what is compiled runs for a few steps
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
    if version_of("jaxlib") < "0.12":  # which does not know the flag, and aborts
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

import distrax_flows  # noqa: E402

project = "distrax_flows"
author = "The distrax_flows authors"
project_copyright = author
version = release = distrax_flows.__version__

extensions = [
    "sphinx.ext.autodoc",
    "myst_nb",
    "sphinx_design",
    "sphinx_copybutton",
    "reference_pages",
    "markdown_docstrings",
    "api_links",
    "image_descriptions",
    "mathml",
]
# Sphinx loads MathJax from another host otherwise; formulas here are MathML, made by `mathml`.
html_math_renderer = "mathml"

exclude_patterns = ["_build", "_ext", "_static", "**/_*", "**/.ipynb_checkpoints"]
nitpicky = True
# No inventories of other projects: the build needs no network. Their names stay plain text.
nitpick_ignore_regex = [(r"py:.*", r"(?!distrax_flows\b).*")]
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
add_module_names = False

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_inherit_docstrings = False
autodoc_class_signature = "mixed"

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4

nb_execution_mode = "force"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"distrax_flows {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_search_summary = False  # summaries are fetched, which browsers refuse for files
html_copy_source = False
html_show_sourcelink = False
pygments_style = "a11y-light"
pygments_dark_style = "a11y-dark"
html_theme_options = {"navigation_with_keys": True}
