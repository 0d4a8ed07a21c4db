from fairseq_meloformer.render import fonts


def test_what_no_font_has_is_left_out():
    assert fonts.printable("A storm\n🎵 \U00012345 at  night") == "A storm at night"


def test_chinese_is_kept_when_there_is_a_font_for_it_and_only_then(monkeypatch):
    kept = "暴风雨 storm" if len(fonts.typefaces()) > 1 else "storm"
    assert fonts.printable("暴风雨 storm") == kept
    monkeypatch.setattr(fonts, "typefaces", lambda: [fonts.LATIN])
    assert fonts.printable("暴风雨 storm") == "storm"
