import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairseq_meloformer.corpus.sources import musiccaps
from fairseq_meloformer.corpus.sources.cleaning import LONGEST, copy_key, fault

KEPT = [
    "前奏的钢琴像雨滴落在窗台上，安静又温柔。",
    "深夜一个人开车听，弦乐一进来就哭了[流泪]",
    "节奏轻快，适合早上跑步",
    "It sounds like a rainy night in an empty station.",
    "The bass line is so groovy, perfect for driving.",
    "20180512 我们在雨里听这首歌",
    "钢琴好温柔",
    "慢慢地走",
    "sad piano",
    "副歌部分的鼓点让人热血沸腾！！！",
    "第一次听到这首歌是在高三的晚自习",
]
DROPPED = {
    "personal data: @name": ["@小明 这首歌好适合你"],
    "personal data: QQ id": ["加QQ群 123456789 一起听歌"],
    "advertisement": [
        "求关注，关注我必回关",
        "我的主页有完整版翻唱哦",
        "check out my channel for piano covers",
        "本店全场包邮下单立减",
    ],
    "check-in": ["打卡第一百天继续听下去", "2023年还在听的举手", "Who's listening in 2024?", "前排围观这首好歌"],
    "one word": ["好听", "哈哈哈哈哈哈", "666", "❤️❤️❤️", "[大哭][大哭]", "nice!!!", "", "哭了 哭了"],
    "praise and nothing else": ["太好听了真的喜欢", "This is so beautiful, I love it!", "真的好好听啊，太喜欢了！！"],
    "other language": ["この曲はとても美しいですね", "이 노래 정말 좋아요", "Очень красивая песня"],
    "lyrics": [
        "“后来我总算学会了如何去爱”",
        "歌词：后来终于在眼泪中明白",
        "后来\n我总算学会了如何去爱\n可惜你早已远去",
        "有些人 / 一旦错过 / 就不在",
        "[00:12.34]后来我总算学会了",
        "♪ and I will always wait for you ♪",
    ],
    "too long": ["这首歌让我想起了那年夏天的海边和晚风。" * 30],
}


@pytest.mark.parametrize("text", KEPT)
def test_what_describes_music_is_kept(text):
    assert fault(text) is None


@pytest.mark.parametrize(("reason", "text"), [(reason, text) for reason, texts in DROPPED.items() for text in texts])
def test_what_does_not_is_dropped_for_its_reason(reason, text):
    assert fault(text) == reason


def test_lyrics_are_known_where_the_export_has_them():
    lyrics = "[00:01.00]槐花盛开的夏天\n[00:05.00]栀子花开在窗前"
    assert fault("栀子花开在窗前，槐花盛开的夏天", lyrics) == "lyrics"
    assert fault("栀子花开在窗前，一听就想起毕业那年", lyrics) is None


@given(st.text(max_size=200), st.text(max_size=50))
def test_no_text_breaks_it(text, lyrics):
    assert fault(text, lyrics) is None or fault(text, lyrics)


def test_copies_are_known_through_decoration():
    assert copy_key("听哭了啊啊啊！！ 2019") == copy_key("听哭了啊")
    assert copy_key("听哭了") != copy_key("听笑了")


def test_nothing_that_musicians_wrote_is_dropped(shared):
    clips = musiccaps.read(shared / "data" / "musiccaps-public.csv")
    texts = [*(clip.text for clip in clips), *(", ".join(clip.aspects) for clip in clips)]
    assert {fault(text) for text in texts if len(text) <= LONGEST} == {None}
