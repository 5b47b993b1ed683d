"""Colours and shapes that colour-blind readers can tell apart."""

from __future__ import annotations

from matplotlib.colors import to_hex, to_rgb

# Okabe and Ito (2008), "Color Universal Design"; yellow last, for it is faint on white, and black left to text.
_OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#8C6BB1", "#F0E442")
# Beyond eight, colour alone cannot be told apart: the same hues darker and lighter, and another shape with each.
_SHADES = ((0.0, "o"), (-0.42, "s"), (0.45, "^"))

GREY = "#B4B4B4"
INK = "#222222"
FAINT = "#666666"
DISTINCT = len(_OKABE_ITO) * len(_SHADES)


def colour(position: int) -> tuple[str, str]:
    """Return the colour and the marker of the label at `position`; they repeat after `DISTINCT`."""
    shade, marker = _SHADES[position // len(_OKABE_ITO) % len(_SHADES)]
    return to_hex(_toned(to_rgb(_OKABE_ITO[position % len(_OKABE_ITO)]), shade)), marker


def readable(shown: str) -> str:
    """Return `shown` dark enough for small text on white (contrast of at least 4.5, as WCAG 2 asks)."""
    rgb = to_rgb(shown)
    while 1.05 / (_luminance(rgb) + 0.05) < 4.5:
        rgb = _toned(rgb, -0.06)
    return to_hex(rgb)


def _toned(rgb: tuple[float, float, float], shade: float) -> tuple[float, float, float]:
    """Mix with black (shade below 0) or white (above)."""
    end = 1.0 if shade > 0 else 0.0
    red, green, blue = (part + (end - part) * abs(shade) for part in rgb)
    return red, green, blue


def _luminance(rgb: tuple[float, float, float]) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
