"""The seam for the user's own checkout."""

import os
import sys

import pytest

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.plugin import native


def test_without_the_flag_nothing_happens(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fairseq-train", "data", "--lr", "1"])
    monkeypatch.delenv(native.VARIABLE, raising=False)
    native.register()
    assert sys.argv == ["fairseq-train", "data", "--lr", "1"]
    assert native.VARIABLE not in os.environ
    assert not native.in_use()


@pytest.mark.parametrize("form", ["{flag}={path}", "{flag} {path}"])
def test_a_directory_without_the_package_is_refused(monkeypatch, tmp_path, form):
    (tmp_path / "something").mkdir()
    monkeypatch.setattr(sys, "argv", ["x", *form.format(flag=native.FLAG, path=tmp_path).split()])
    with pytest.raises(InputError, match=r"holds upstream's package museformer/ .* holds something"):
        native.register()


def test_the_environment_names_it_too(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["x"])
    monkeypatch.setenv(native.VARIABLE, str(tmp_path / "none"))
    with pytest.raises(InputError, match="holds nothing"):
        native.register()
