"""Sphinx's settings of the documentation site.

``python -m sphinx -W docs docs/_build/html`` builds it without a network. Before Sphinx reads the pages, the notebooks
are copied as they were run, the reference is made from the docstrings (``reference_pages.py``), and the plots of the
gallery are drawn (``gallery_plots.py``).
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import gallery_plots  # noqa: E402
import reference_pages  # noqa: E402

import cfai_nb  # noqa: E402

project = "cfai_nb"
author = "the authors of cfai_nb"
release = version = cfai_nb.__version__
extensions = ["myst_nb", "sphinx_design", "sphinx_copybutton"]
exclude_patterns = ["_build"]
nb_execution_mode = "off"
nb_ipywidgets_js: dict[
    str, dict[str, str]
] = {}  # what a widget shows without a kernel is in the notebook: no script is fetched
myst_enable_extensions = ["colon_fence", "deflist", "attrs_block"]
myst_heading_anchors = 3
default_role = "code"

html_theme = "pydata_sphinx_theme"
html_title = f"cfai_nb {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {name: [] for name in ("index", "start", "gallery", "glossary", "changelog")}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "logo": {"text": "cfai_nb"},
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button"],
    "header_links_before_dropdown": 6,
    "show_nav_level": 1,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_context = {"default_mode": "auto"}
copyright = "the authors of cfai_nb, MIT license"
suppress_warnings = ["mystnb.unknown_mime_type"]

for notebook in sorted((HERE.parent / "notebooks").glob("*.ipynb")):
    shutil.copyfile(notebook, HERE / "tutorial" / notebook.name)
reference_pages.write(HERE / "reference")
gallery_plots.draw(HERE / "_static" / "plots")
