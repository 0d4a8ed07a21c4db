"""Personal data in texts: whoever wrote a comment did not agree to be in a training set by name or number.

A text with any of these is dropped whole. Cutting out the match alone leaves the rest of a name ("@John Smith") or
what the number belonged to.
"""

import re
import unicodedata
from typing import Final

_DATE: Final = r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_HANDLE: Final = r"[a-z0-9][-_.a-z0-9]{3,}"

# In this order, since an address has an @ too. Patterns see folded text: NFKC, lower case.
_PATTERNS: Final = {
    "e-mail": r"[\w.+-]+\s?(?:@|\(at\))\s?[\w-]+(?:\.[\w-]+)+",
    "URL": r"https?:|www\.|[a-z0-9-]+\.(?:com|cn|net|org|cc|top|xyz|fm|tv|me|io|ly)(?![a-z0-9])",
    "@name": r"@\s?\w",
    "WeChat id": (
        rf"(?:微信|薇信|威信|徽信|微\s?x|v信|加\s?[v微薇威]|\+\s?v(?!\w)|weixin|wechat|(?<![a-z])(?:vx|wx|wechat))"
        rf"\s?(?:号|id|number)?[^\w]{{0,4}}(?:是|为|is)?[^\w]{{0,3}}{_HANDLE}"
    ),
    "QQ id": r"(?:(?<![a-z])qq|扣扣|企鹅|[q裙群]\s?[群号]|群|裙)\D{0,5}\d{5,12}(?!\d)",
    "account": (
        rf"(?:微博|抖音|快手|小红书|b站|(?<![a-z])(?:ins|instagram|twitter|tiktok|snapchat|telegram|discord|line))"
        rf"\s?(?:号|id|名|@)?\s?[:=]\s?[\w]{{2}}|(?:抖音|快手|小红书|b站)\s?(?:号|id)\s?{_HANDLE}"
    ),
    "phone number": (
        r"(?<!\d)(?:\+?86[- ]?)?1[3-9]\d(?:[- ]?\d{4}){2}(?!\d)"
        r"|(?<!\d)0\d{2,3}-\d{7,8}(?!\d)"
        r"|(?<![\w.])\+?\(?\d{1,4}\)?(?:[-. ]\(?\d{2,4}\)?){2,4}(?<=\d[-. ]\d{4})(?!\d)"
    ),
    # Seven digits or more that are neither a date nor a manner of speaking (1000000 times): some service's number.
    "number": rf"(?<!\d)(?!{_DATE}(?!\d))(?!\d{{1,3}}0{{5,}}(?!\d))\d{{7,18}}(?!\d)",
}
_COMPILED: Final = {kind: re.compile(pattern) for kind, pattern in _PATTERNS.items()}


def personal_data(text: str) -> str | None:
    """The kind of personal data that a text has ("@name", "phone number", ...), or None."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return next((kind for kind, pattern in _COMPILED.items() if pattern.search(folded)), None)
