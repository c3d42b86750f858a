"""Configuration of the documentation site (Sphinx with MyST): ``make docs`` builds it, warnings are errors."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from pocketcxr.version import __version__

project = "pocketcxr"
author = "The pocketcxr founders"
copyright = "The pocketcxr founders, Apache-2.0"  # noqa: A001 (Sphinx's own name)
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "reference_pages"]
exclude_patterns = ["_build", "_ext", "_static"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
nitpicky = True

myst_enable_extensions = ["attrs_block", "colon_fence", "deflist", "html_image"]
myst_heading_anchors = 3

# Docstrings are plain: single backticks mark names, types stand in annotations only.
default_role = "code"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

# Types in signatures: nothing is fetched while the site is built, so most have no page to link to.
nitpick_ignore_regex = [("py:.*", ".*")]

html_theme = "furo"
html_title = "pocketcxr"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6e6e", "color-brand-content": "#0b6e6e"},
    "dark_css_variables": {"color-brand-primary": "#5fc9c4", "color-brand-content": "#5fc9c4"},
    "announcement": "Research use only. Not a medical device.",
}
pygments_style = "default"
pygments_dark_style = "github-dark"
