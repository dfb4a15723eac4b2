"""The site of the documentation: pages of the repository, a reference from docstrings, a gallery that it draws.

``python -m pyrogrn.experiments.site build/site`` (`make docs`) needs the extra ``docs``; what it is made from
(`sources`) does not. Sphinx reads the docstrings, which are reStructuredText; equations become MathML, which browsers
draw by themselves, so that no page asks for anything from outside.
"""

from .sources import sources

__all__ = ["sources"]
