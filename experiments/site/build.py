"""Pages into HTML, by Sphinx."""

import tempfile
from pathlib import Path
from typing import Any

from .gallery import PICTURES, draw_gallery, gallery_page
from .reference import reference_pages
from .sources import sources

SETTINGS: dict[str, Any] = {
    "project": "PyroGRN",
    "author": "The PyroGRN developers",
    "copyright": "The PyroGRN developers",
    "extensions": ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", f"{__package__}.mathml"],
    "html_math_renderer": "mathml",
    "html_theme": "furo",
    "html_title": "PyroGRN",
    "smartquotes": False,  # options begin with two hyphens
    "html_static_path": ["own"],
    "html_css_files": ["own.css"],
    "html_copy_source": False,
    "html_show_sourcelink": False,
    "templates_path": [],
    "myst_heading_anchors": 6,
    "default_role": "py:obj",
    "napoleon_google_docstring": False,
    "napoleon_use_ivar": True,
    "napoleon_use_rtype": False,
    "napoleon_preprocess_types": False,
    "autodoc_typehints": "signature",
    "autodoc_typehints_format": "short",
    "python_use_unqualified_type_names": True,
    "python_maximum_signature_line_length": 100,
    "suppress_warnings": ["ref.python"],  # a method that two classes have: the link is to the first
}
# a word of code breaks where it is wider than the screen, in a table nowhere; not after the hyphens of an option
STYLE = """code.literal .pre { display: inline-block; max-width: 100%; white-space: normal; overflow-wrap: anywhere; }
td code.literal .pre { display: inline; white-space: nowrap; }
"""
BLANK = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>'


def stage(folder: Path, *, pictures: bool = True) -> None:
    """Write all that Sphinx reads."""
    pages = {**sources(), "gallery.md": gallery_page(), **reference_pages()}
    for name, text in pages.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    (folder / "own").mkdir()
    (folder / "own" / "own.css").write_text(STYLE)
    if pictures:
        draw_gallery(folder)
        return
    (folder / "pictures").mkdir()
    for name in PICTURES:
        (folder / "pictures" / f"{name}.svg").write_text(BLANK)


def build(folder: Path, *, pictures: bool = True) -> int:
    """Write the site to ``folder``; 0, or 1 where something is wrong with a page, which is said.

    Parameters
    ----------
    folder
        Pages and what they need.
    pictures
        Draw the gallery. Default True.

    Raises
    ------
    ValueError
        The extra ``docs`` is not installed.
    """
    try:
        from sphinx.application import Sphinx
        from sphinx.util.docutils import docutils_namespace, patch_docutils
    except ImportError as error:
        raise ValueError(f"the site needs the extra docs ({error}): pip install '.[docs]'") from error
    with tempfile.TemporaryDirectory() as made, docutils_namespace(), patch_docutils():
        stage(Path(made), pictures=pictures)
        app = Sphinx(made, None, folder, Path(made) / ".doctrees", "html", SETTINGS, warningiserror=True, status=None)
        app.build()
        return int(app.statuscode)
