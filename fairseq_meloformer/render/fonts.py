"""Fonts for pictures: matplotlib's own for Latin, and one with Chinese characters if there is one."""

import functools
import importlib.util
from pathlib import Path
from typing import Final

LATIN: Final = "DejaVu Sans"
CHINESE: Final = (
    "WenQuanYi Micro Hei", "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN",
    "WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans GB", "Heiti SC", "STHeiti",
    "Microsoft YaHei", "SimHei", "Arial Unicode MS",
)  # fmt: skip
"""Families that are looked for, the first one found is taken."""

# A package that carries WenQuanYi Micro Hei (Apache-2.0, or GPL-3 with font exception): the file of Debian's package.
_CARRIER: Final = "paperang_p2_fonts_cjk"


def folders() -> list[Path]:
    """Where packages keep fonts: matplotlib's, and the one with Chinese characters if it is installed."""
    packages = (("matplotlib", "mpl-data/fonts/ttf"), (_CARRIER, "fonts"))
    found = [(importlib.util.find_spec(package), folder) for package, folder in packages]
    return [Path(spec.origin).parent / folder for spec, folder in found if spec and spec.origin]


@functools.cache
def typefaces() -> list[str]:
    """Families to set a text in; matplotlib takes each character from the first that has it."""
    from matplotlib import font_manager  # noqa: PLC0415  slow to import

    for folder in folders():
        for carried in folder.glob("wqy-microhei.ttc"):
            font_manager.fontManager.addfont(carried)
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [LATIN, *[family for family in CHINESE if family in installed][:1]]


def printable(text: str) -> str:
    """`text` on one line without the characters that none of `typefaces` has, which would be drawn as empty boxes."""
    from matplotlib import font_manager  # noqa: PLC0415

    fonts = [font_manager.get_font(font_manager.findfont(family)) for family in typefaces()]
    line = " ".join(text.split())
    kept = (character for character in line if any(font.get_char_index(ord(character)) for font in fonts))
    return " ".join("".join(kept).split())
