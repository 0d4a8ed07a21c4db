"""No word is read inside another or in another sense: ten thousand everyday words a language, and common phrases."""

import re

import pytest
from wordfreq import top_n_list

from fairseq_meloformer.words.stated import default_reader
from fairseq_meloformer.words.wishes import read

COUNT = 10_000
# What asks in words that stand in no list: "strong and great", "very long" and the like, each looked at.
COMPOUND = "强大 加快 赶快 最长 快点 最快 很长 长久 狠狠 悲哀 高低 生日快乐 着急 不高 最小 最大 更快 更慢"
# Words that are wishes themselves.
WISHES = "singer singers lyrics vocal vocals beatles stems compression grave 录音 歌词 演唱"
MANNERS = "repeat repeated repeating loop 循环 重复 重覆 反复 反覆 洗脑"
STYLES = "blues jazz gospel celtic disco 爵士 摇滚"
MUSIC = """
ballad anthem chorale overture prelude fugue sonata sonatina symphony concerto nocturne etude rondo scherzo minuet
suite rhapsody serenade toccata fantasia bagatelle impromptu ostinato cadence motif riff lick groove shuffle
swing bebop ragtime boogie gospel soul funk disco techno trance ambient dubstep reggae ska salsa samba bossa rumba
mambo tango flamenco fado klezmer polka bluegrass country folk blues jazz rock metal punk indie trap drill grime
hymn chant madrigal motet oratorio cantata requiem opera aria
前奏曲 赋格 奏鸣曲 交响曲 协奏曲 夜曲 练习曲 回旋曲 谐谑曲 组曲 狂想曲 小夜曲 托卡塔 幻想曲 动机 乐句 节拍 拍子 音程
爵士 摇滚 民谣 电子 古典 蓝调 布鲁斯 雷鬼 朋克 放克 灵魂乐 福音 歌剧 咏叹调 京剧 昆曲 民歌 童谣 国风 古风 流行
"""
PHRASES = """the rest of the song|the rest of us|rest in peace|a wedding held in june|dry season|a patient in a hospital
the patients wait|ten pounds|spare parts|bare feet|volume two of the diary|the gap year|mind the gap|a race car
the human race|a running joke|in the long run|the short story|a short walk|low budget film|low tide|deep house
the deep sea|a tight budget|strong coffee|a strong wind|soft drink|soft toys|loud shirt|quiet street|bright future
dark chocolate|dark matter|light bulb|heavy metal|heavy traffic|empty bottle|thin air|thin ice|fast food|slow cooker
rapid transit|gold rush|rush hour|good hope|lowest price|kitchen sink|leap year|jump rope|skip school|long hair
long distance call|short hair|social network|packed lunch|hard rock|hard bop|cool jazz|hot jazz|smooth jazz|free jazz
big band|rhythm and blues|death metal|soft rock|light music|hip hop|trip hop|low-fi beats|high fidelity|jump blues
easy listening|new wave|power ballad|marching band|major label|a major road|a minor accident|sharp knife|bass fishing
high school|high noon|lead the way|pipe dream|bar at night|at the bar|overcoat|over the hills|a second thought
高中|高考|高铁|高山流水|高速公路|高楼大厦|高贵|最高法院|低碳|低头思故乡|低调|深圳|快餐|快递|凉快|慢慢长大|轻松|年轻|重庆
重要|重逢|大海|大树|小雨|强国|勉强|响应|影响|静态|鼓励|鼓楼|长城|长江|成长|校长|短信|短裤|跳高|密码|茂密|稀饭|连续剧|光明
暗恋|悲欢离合|喜欢|欢迎|急诊|号角|弦外之音|低音炮|高音喇叭|主音|节奏布鲁斯|轻音乐|进行曲|圆舞曲|低吟浅唱|长恨歌|小桥流水
夜深人静|轻舟已过万重山|春眠不觉晓|高处不胜寒|拍照|拍卖|一拍即合|和平|调查|空调|强调"""


def everyday(lang, letters):
    return [word for word in top_n_list(lang, 2 * COUNT) if re.fullmatch(letters, word)][:COUNT]


@pytest.mark.parametrize(("lang", "letters"), [("en", r"[a-z']+"), ("zh", r"[一-鿿]{2,}")])
def test_what_is_read_of_an_everyday_word_is_the_whole_word(lang, letters):
    reader, words = default_reader(), everyday(lang, letters)
    assert len(words) > 0.9 * COUNT
    inside = {word for word in words if reader.read(word).values and not reader.knows(word)}
    assert inside <= set(COMPOUND.split())
    for word in words:
        wishes = read(word)
        length = wishes.seconds is not None and word.endswith(("分钟", "小时"))  # 十分钟, 半小时
        assert (
            word in WISHES.split()
            or length
            or not (wishes.understood() or wishes.not_honoured)
            or wishes.instruments
            or (wishes.style is not None and word in STYLES.split())
            or (wishes.moving and word in MANNERS.split())
        ), word
        assert {one.name for one in wishes.instruments} <= {word, word.removesuffix("s")}


@pytest.mark.parametrize("word", MUSIC.split())
def test_kinds_of_music_are_no_words_for_how_it_sounds(word):
    assert not default_reader().read(word).values
    assert not read(word).not_honoured
    assert not read(word).instruments
    assert read(word).tempo is read(word).key is read(word).bars is read(word).seconds is None


@pytest.mark.parametrize("phrase", PHRASES.replace("\n", "|").split("|"))
def test_other_senses_ask_for_nothing(phrase):
    assert not default_reader().read(phrase).values
