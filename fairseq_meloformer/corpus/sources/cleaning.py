"""Comments that say something about a song, and why the others do not.

A comment is kept word for word or dropped whole: what a listener wrote is worth more than what we would make of it.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from fairseq_meloformer.corpus.sources.personal import personal_data
from fairseq_meloformer.corpus.sources.rows import HAN, language

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST: Final = 500
"""Characters; what is longer is a story or a copied text, and more than a text encoder reads."""

_ADVERTISEMENT: Final = re.compile(
    r"互粉|互关|互赞|求关注|关注我|关注一下|求赞|求点赞|点个赞|加群|粉丝群|私信我|私我|代理|兼职|优惠|淘宝|天猫|拼多多"
    r"|店铺|网店|包邮|下单|推广|免费领|领取|红包|扫码|二维码|公众号|直播间|带货|招聘|充值|贷款|我的(?:主页|新歌|歌单|翻唱)"
    r"|(?:来|去|看|进|点)我?(?:的)?主页|打榜|投票给|应援|求回访|翻唱.{0,6}(?:支持|听听)"
    r"|\b(?:subscribe|follow me|follow back|check out my|promo code|discount|% off|free download"
    r"|click (?:here|the link)|link in (?:my )?bio|my (?:channel|playlist|cover)|buy now|dm me|giveaway)\b"
)
_CHECK_IN: Final = re.compile(
    r"^(?:打卡|签到|前排|占座|占楼|留名|报到|考古)|^(?:沙发|板凳|路过|顶|第[一二三四五六七八九十百\d]+|来了|mark|first)\W*$"
    r"|(?:还在听|在听)的?.{0,6}(?:举手|举个手|扣1|点赞|吱一声|有吗|请)|(?:举手|扣1|有人吗|有没有人)[!?~。]*$"
    r"|\b(?:who(?:'s| is|’s) (?:still )?(?:listening|here)|anyone (?:else )?(?:listening|here)|like if you)\b"
)
_PRAISE: Final = re.compile(
    r"^(?:(?:这首|这|歌|曲子|真的|真是|真|太|很|好|超级|超|非常|最|巨|都|也|我|就是|还是|一直|永远|特别|"
    r"好听|喜欢|爱|赞|棒|经典|神曲|绝|牛|美|无敌|循环|单曲|了|啊|呀|吧|哦|呢|的|哈|到|爆|哭|炸|极|死|一首|得|不|腻)+)$"
    r"|^(?:(?:so|very|really|i|just|this|the|a|an|is|my|it|what|best|nice|good|great|amazing|awesome|beautiful|love|song"
    r"|music|lol|wow|omg|cool|yes|perfect|masterpiece|ever|favou?rite|fire|goat)\b[\s,.!]*)+$"
)
_QUOTED: Final = re.compile(r"^[“\"「『'‘♪♫🎵][^“”\"「」『』]+[”\"」』'’♪♫🎵][\s~.。!！…—-]*$")
_LYRICS_SAID: Final = re.compile(r"^\W*(?:歌词|lyrics?)\s*[::]|作词\s*[::/]|作曲\s*[::/]|^\[?\d\d:\d\d[.:]\d\d")
_EMOJI_NAME: Final = re.compile(r"\[[^\[\]]{1,6}\]")
_WORD: Final = re.compile(r"[a-z]+(?:['’][a-z]+)?")
_CLAUSE: Final = re.compile(r"[\n/,，、。.;；!！?？…~\s]+")


def fault(text: str, lyrics: str = "") -> str | None:
    """Why a comment is of no use, in a few words, or None if it is.

    Args:
        text: the comment.
        lyrics: the song's words, where the export has them.
    """
    if found := personal_data(text):
        return f"personal data: {found}"
    folded = unicodedata.normalize("NFKC", text).casefold().strip()
    return next((reason for reason in _faults(text, folded, lyrics) if reason), None)


def _faults(text: str, folded: str, lyrics: str) -> Iterator[str | None]:
    if not _says_words(folded):
        yield "one word"
    yield "other language" if language(folded) is None else None
    yield "advertisement" if _ADVERTISEMENT.search(folded) else None
    yield "check-in" if _CHECK_IN.search(folded) else None
    yield "lyrics" if _is_lyrics(text, folded, lyrics) else None
    yield "praise and nothing else" if _PRAISE.match(re.sub(r"[^\w\s'’]", "", _EMOJI_NAME.sub("", folded))) else None
    yield "too long" if len(text) > LONGEST else None


def _says_words(folded: str) -> bool:
    """Four Chinese characters, three of them different, or two different words; emoji and their names do not count."""
    bare = _EMOJI_NAME.sub(" ", folded)
    han = HAN.findall(bare)
    # Letters of other scripts are left to the question of language.
    others = {char for char in bare if char.isalpha() and not char.isascii()} - set(han)
    return (len(han) >= 4 and len(set(han)) >= 3) or len(set(_WORD.findall(bare))) >= 2 or len(others) >= 4


def _is_lyrics(text: str, folded: str, lyrics: str) -> bool:
    if _LYRICS_SAID.search(folded) or _QUOTED.match(text.strip()):
        return True
    return _is_verse(text) or (bool(lyrics) and _is_in(folded, lyrics))


def _is_verse(text: str) -> bool:
    """Three short lines or more, set off by line ends or slashes and without punctuation: how lyrics are quoted."""
    lines = [line.strip() for line in re.split(r"\n|\s*/\s*", text) if line.strip()]
    return len(lines) >= 3 and all(len(line) <= 40 and not re.search(r"[,，。.!！?？:：;；]", line) for line in lines)


def _is_in(folded: str, lyrics: str) -> bool:
    """Whether most of a comment is copied from the lyrics, clause by clause."""
    words = "".join(_CLAUSE.split(unicodedata.normalize("NFKC", lyrics).casefold()))
    clauses = [clause for clause in _CLAUSE.split(folded) if clause]
    copied = sum(len(clause) for clause in clauses if clause in words)
    return copied >= 0.8 * sum(map(len, clauses))


def copy_key(text: str) -> str:
    """A comment without case, punctuation, digits and repeated letters: texts that spread by copying share it."""
    letters = "".join(char for char in unicodedata.normalize("NFKC", text).casefold() if char.isalpha())
    return re.sub(r"(.)\1+", r"\1", letters)
