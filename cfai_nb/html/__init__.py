"""HTML that is safe to show: ``markup`` of untrusted text and its style, and here a page that works by itself.

``save`` takes HTML made by this room, and data for the script, for ``preview.save(...)`` and ``m.save(...)``.  The page
loads nothing and runs one script, which is named by its digest in the page's own policy: whatever a cell holds, the
browser runs nothing else and asks no address.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from . import markup

_HERE = Path(__file__).parent
#: The script that draws sounds, also of live widgets.
WAVES = (_HERE / "waves.js").read_text("utf-8")
#: What JupyterLab's theme gives in a notebook, for light and dark systems.
_THEME = """
:root { color-scheme: light dark; --jp-layout-color1: #fff; --jp-content-font-color1: #1f2328; --cf-halo: #fff }
@media (prefers-color-scheme: dark) {
  :root {
    --jp-layout-color1: #171b20; --jp-content-font-color1: #e6e9ec; --jp-brand-color1: #6cb1ff; --cf-halo: #171b20;
    --jp-success-color1: #5bd294; --jp-warn-color1: #f0b455; --jp-error-color1: #ff8a80
  }
}
body { margin: 0; padding: 20px 24px; background: var(--jp-layout-color1) }
.cfai h1 { font-size: 18px; font-weight: 600; margin: 0 0 4px }
.cfai .cfai-input, .cfai button {
  font: inherit; height: 28px; padding: 2px 8px; border: 1px solid var(--cf-line); border-radius: 6px;
  background: var(--cf-ground); color: var(--cf-ink)
}
.cfai ::placeholder { color: var(--cf-soft); opacity: 1 }
.cfai button { cursor: pointer }
.cfai .cfai-row { margin: 8px 0 }
.cfai .cfai-frame { max-height: 80vh }
.cfai .cfai-wide-map {
  display: grid; grid-template-columns: 1fr minmax(180px, 26%); border: 1px solid var(--cf-line); border-radius: 8px
}
.cfai canvas { width: 100%; height: 76vh; display: block; touch-action: none }
.cfai .cfai-list {
  border-left: 1px solid var(--cf-line); padding: 8px 12px; overflow: auto; max-height: 76vh; font-size: 12px
}
.cfai .cfai-line-button {
  display: block; width: 100%; height: auto; text-align: left; border: 0; border-bottom: 1px solid var(--cf-line);
  border-radius: 0; padding: 5px 0; overflow-wrap: anywhere; background: transparent
}
.cfai .cfai-key i { display: inline-block; width: 9px; height: 9px; border-radius: 5px; margin-right: 6px }
.cfai .cfai-key[aria-pressed="false"] { text-decoration: line-through; color: var(--cf-soft) }
.cfai .cfai-tip {
  position: absolute; max-width: 30em; padding: 6px 10px; border: 1px solid var(--cf-line); border-radius: 6px;
  background: var(--cf-ground); font-size: 12px; pointer-events: none; overflow-wrap: anywhere
}
"""


def save(path: str | Path, title: str, body: str, data: dict[str, Any] | None = None) -> Path:
    """Write a page and return its path.

    Parameters
    ----------
    path : path
    title : str
        Any text.
    body : str
        HTML of this room, in which texts are escaped.
    data : dict, optional
        For the map of the script, as JSON.
    """
    script = (_HERE / "saved_page.js").read_text("utf-8") + WAVES
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    # No text of a cell can end the element that holds it.
    held = "" if data is None else json.dumps(data).replace("<", "\\u003c")
    element = f'<script type="application/json" id="cfai-map-data">{held}</script>' if held else ""
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width"><meta name="referrer" content="no-referrer">'
        f"<title>{markup.inline(title, 200)}</title>{markup.sheet('table', 'cards')}<style>{_THEME}</style></head>"
        f'<body class="cfai {markup.NO_MATH}"><h1>{markup.inline(title, 200)}</h1>{body}{element}'
        f"<script>{script}</script></body></html>"
    )
    target = Path(path).expanduser()
    target.write_text(page, "utf-8")
    return target
