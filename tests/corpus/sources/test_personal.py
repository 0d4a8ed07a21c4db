import pytest

from fairseq_meloformer.corpus.sources.personal import personal_data

PERSONAL = [
    ("e-mail", "写信给我 someone.else@163.com 聊聊这首歌"),
    ("e-mail", "mail me: a.b+c@example.co.uk about the chords"),
    ("URL", "完整版在 https://example.com/x?y=1"),
    ("URL", "more at www.example.org please"),
    ("URL", "翻唱在example.cn可以听"),
    ("@name", "@小明 这首歌好适合你"),
    ("@name", "回复＠小红: 我也觉得钢琴很温柔"),
    ("@name", "hey @John Smith listen to the bass"),
    ("WeChat id", "喜欢的加微信：abc_12345 一起聊"),
    ("WeChat id", "vx abc12345 交流编曲"),
    ("WeChat id", "add me on WeChat: melody_fan88"),
    ("WeChat id", "我的微信号是music2008欢迎来"),
    ("QQ id", "加QQ群 123456789 一起听歌"),
    ("QQ id", "扣扣１２３４５６７ 找我"),
    ("QQ id", "q群:87654321"),
    ("account", "抖音号 piano_boy99 关注一下"),
    ("account", "Instagram: melodyfan"),
    ("phone number", "打我电话13812345678"),
    ("phone number", "138 1234 5678 等你"),
    ("phone number", "+86 13912345678"),
    ("phone number", "座机010-62345678"),
    ("phone number", "call 555-123-4567 now"),
    ("phone number", "call +1 (555) 123-4567 now"),
    ("number", "我的号码是 87654321987"),
    ("number", "身份证11010119900307123x"),
]
HARMLESS = [
    "20180512 我们在雨里听这首歌",
    "2019年的第一场雪，钢琴声一响就哭了",
    "2015-09-12 我们分手了",
    "1:30开始的吉他solo太美了",
    "120 bpm and 4/4, the drums are great",
    "微信里他再也没有回我消息，听着这首歌很难过",
    "高三那年QQ空间里放的就是这首歌",
    "循环了1000000遍还是觉得好听",
    "I first heard it at 3 a.m. in 1999, it is calm and slow.",
    "评论999+，每一条都是故事",
    "这首歌的编曲层次很丰富，弦乐像海浪",
    "一群人的狂欢，是一个人的孤单",
    "the line: I will wait, makes me cry",
]


@pytest.mark.parametrize(("kind", "text"), PERSONAL)
def test_personal_data_is_found(kind, text):
    assert personal_data(text) == kind


@pytest.mark.parametrize("text", HARMLESS)
def test_dates_times_and_tempi_are_no_personal_data(text):
    assert personal_data(text) is None
