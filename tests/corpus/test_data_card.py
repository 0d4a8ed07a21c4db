"""The card of prepared data: its counts add up, and it says what is wrong with a folder."""

from pathlib import Path

import numpy as np
import pytest

from fairseq_meloformer import cli
from fairseq_meloformer.corpus import data_card
from fairseq_meloformer.jobs import dumps, write_json
from fairseq_meloformer.measures.attributes import AXES
from fairseq_meloformer.measures.quantiles import Quantiles


def passage(index: int, title: str) -> dict[str, object]:
    attributes = {axis: float(np.random.default_rng(index).normal()) for axis in AXES} | {"drums": 0.0}
    captions = [{"text": "x", "lang": "zh" if index % 2 else "en", "style": "labels", "source": "measured"}]
    return {"path": f"{title}.mid", "title": title, "attributes": attributes, "captions": captions, "licence": "MIT"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Forty passages of corpus, every fourth of them to train on, one song valid under a title that also trains."""
    corpus = [passage(index, f"song {index % 10}") for index in range(40)]
    splits = {"train": corpus[::4], "valid": [passage(99, "Song 4!")]}
    Quantiles.fit([row["attributes"] for row in corpus]).save(tmp_path / "quantiles.json")  # type: ignore[misc]
    for split, rows in splits.items():
        (tmp_path / f"{split}.items.jsonl").write_text("".join(f"{dumps(row)}\n" for row in rows), encoding="utf-8")
    (tmp_path / "songs.jsonl").write_text(f"{dumps({'id': 'a', 'windows': corpus})}\n", encoding="utf-8")
    reasons = [{"id": "b", "reason": "It must be in 4/4, but bar 3 is not"}, {"id": "c", "reason": "Damaged: x"}]
    (tmp_path / "rejected.jsonl").write_text("".join(f"{dumps(row)}\n" for row in reasons), encoding="utf-8")
    counts = {split: {"songs": 1, "passages": len(rows)} for split, rows in splits.items()}
    prepared = {"settings": {"seed": 0}, "describe": 1}
    write_json(
        tmp_path / "prepare.json", prepared | {"counts": {"files": 3, "rejected": 2, "duplicate_songs": 0} | counts}
    )
    return tmp_path


def test_the_card_has_counts_shares_corners_and_a_picture(data: Path) -> None:
    assert cli.main(["card", str(data)]) == 0
    card = (data / "data_card.md").read_text(encoding="utf-8")
    assert "| train | 1 | 10 |" in card
    assert "| en | 10 | 90.9% |" in card
    assert "| zh | 1 | 9.1% |" in card
    assert "| labels | 11 | 100.0% |" in card
    assert "1 titles stand on both sides" in card
    assert "| It must be in 4/4 | 1 | 50.0% |" in card
    assert "| slow, sparse, low, loud | 0.00% | 0.00% | 1.23% |" in card
    assert card.count("%") > len(data_card._CORNERS) * 3
    assert (data / "data_card.png").read_bytes()[:4] == b"\x89PNG"


def test_a_folder_that_is_not_finished_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "quantiles.json").unlink()
    assert cli.main(["card", str(data)]) == 2
    assert "quantiles.json is missing" in capsys.readouterr().err


def test_a_folder_whose_preparing_was_stopped_is_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(data / "prepare.json", {"settings": {"seed": 0}})
    assert cli.main(["card", str(data)]) == 2
    assert "prepare.json has no counts yet" in capsys.readouterr().err
