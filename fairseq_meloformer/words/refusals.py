"""Words before and after a name that say that it is not wanted: "no", "without", 不要, "Drums: none"."""

import re
from typing import Final

_BEFORE: Final = re.compile(
    r"\b(?:no|not|without|never|less|fewer|avoid|drop|mute|remove|omit|skip|minus|cut|silence|lose|delete|hush|forget"
    r"|leave out|turn off|take (?:out|away)|keep out|free of|instead of|rather than|except(?: for)?|hold|don'?t use"
    r"|get rid of)\b\s*(?:(?:the|any|a|an|more|of|use|using|from|for|need|want|all|in|at)\s+)*$"
    r"|(?:不要|没有|不用|别用|无|去掉|除去|除了|避免|不加|不带|少用|删掉|删除|拿掉|撤掉|关掉|不需要|不想要|别|免)"
    r"(?:有|任何|用|加|让|是)*$"
)
_TWICE: Final = re.compile(r"\b(?:not|never|nothing)\s+$|(?:不能|不可|不可以|不该|少不|不)$")
"""What takes a refusal back that follows it: "not without", 不能没有."""

_AFTER: Final = re.compile(
    r"(?:[- ](?:free|less)\b|\s+(?:left |be |is |are |stays? |should be |must be )*(?:out|silent|muted|off|absent)\b"
    r"|(?:声|声部|手)?(?:都|全部|也|先)?(?:不要|别|去掉|缺席|静音|拿掉|不响|停)"
    r"|\s*[:=]\s*(?:none|no|off|0|nil|n/a|without|false|absent|silent|muted?|无|没有|不要|不用|关|静音|否)(?![a-z\d]))"
)


def refused_before(text: str, place: int) -> bool:
    """Whether what begins at a place of a lower-case text is refused by the words before it."""
    before = text[max(0, place - _REACH) : place]
    match = _BEFORE.search(before)
    return match is not None and _TWICE.search(before[: match.start()]) is None


def refused_after(text: str, place: int) -> int:
    """Where words end that refuse what ends at a place of a lower-case text ("drums off"); there, if none do."""
    match = _AFTER.match(text, place)
    return place if match is None else match.end()


_REACH: Final = 60
"""Characters that are looked back: refusals are short, and long texts are read in linear time."""
