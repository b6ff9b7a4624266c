"""Links to the reference from every name of the library that stands as code."""

import re

from docutils import nodes
from docutils.nodes import Element
from reference_pages import BIJECTORS, PACKAGE, public_names
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform

# `dxf.fit`, `distrax_flows.fit`, `flows.maf` and `fit(flow, x)`; modules only by their full names.
_NAME = re.compile(r"(?:(?:dxf|distrax_flows)\.)?([A-Za-z_][\w.]*)(?:\([^()]*\))?", re.DOTALL)


class LinkNames(SphinxTransform):
    """Turns literals that name something public into cross-references."""

    default_priority = 400

    def apply(self) -> None:
        """Wrap each such literal."""
        names = public_names()
        modules = {full.rpartition(".")[0] for full in names} | {f"{PACKAGE}.{BIJECTORS}"}
        own_module = f"{PACKAGE}.{self.env.docname.removeprefix('api/')}."
        for literal in list(self.document.findall(nodes.literal)):
            if isinstance(literal.parent, nodes.reference | addnodes.pending_xref | nodes.title):
                continue
            found = _NAME.fullmatch(literal.astext())
            if found is None:
                continue
            candidates = [f"{PACKAGE}.{found[1]}", own_module + found[1]]
            full = next((name for name in candidates if name in names), None)
            if full is None and literal.astext() in modules:
                full = literal.astext()
            if full is None:
                continue
            link = addnodes.pending_xref(
                "",
                refdomain="py",
                reftype="obj",
                reftarget=full,
                refdoc=self.env.docname,
                refexplicit=True,
                refwarn=True,
            )
            literal.replace_self(link)
            link += literal


def find_short(app: Sphinx, env: BuildEnvironment, node: Element, child: Element) -> Element | None:
    """Resolve a type in a signature, which is written without its module."""
    short = node.get("reftarget", "")
    homes = [name for name in public_names() if name.rpartition(".")[2] == short]
    if node.get("refdomain") != "py" or len(homes) != 1:
        return None
    python = env.domains.python_domain
    return python.resolve_xref(env, node["refdoc"], app.builder, "obj", homes[0], node, child)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the extension."""
    app.add_transform(LinkNames)
    app.connect("missing-reference", find_short)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
