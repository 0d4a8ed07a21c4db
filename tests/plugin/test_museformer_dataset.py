"""Samples and batches of songs."""

import argparse

import numpy as np
import pytest
import torch
from fairseq.data.data_utils import numpy_seed

from fairseq_meloformer.errors import InputError
from fairseq_meloformer.plugin.museformer_dataset import MuseFormerDataset
from fairseq_meloformer.plugin.museformer_task import MuseFormerLanguageModelingTask
from fairseq_meloformer.tokens.vocabulary import published

SONGS = [torch.tensor(ids) for ids in ([500, 5, 2], [2], [500, 6, 70, 90, 340, 470, 5, 2], [501, 5, 500, 5, 2])]


def dataset(**options):
    return MuseFormerDataset(SONGS, [len(song) for song in SONGS], chunking="infer", **options)


@pytest.fixture
def task(corpus):
    parser = argparse.ArgumentParser()
    MuseFormerLanguageModelingTask.add_args(parser)

    def setup(*arguments):
        return MuseFormerLanguageModelingTask.setup_task(parser.parse_args([str(corpus.data), *arguments]))

    return setup


def test_source_begins_with_the_end_and_target_ends_with_it():
    sample = dataset()[2]
    assert sample["source"].tolist() == [2, 500, 6, 70, 90, 340, 470, 5]
    assert sample["target"].tolist() == [500, 6, 70, 90, 340, 470, 5, 2]


def test_truncation_keeps_the_first_of_both():
    cut = dataset(truncate=3)
    assert cut[2]["source"].tolist() == [2, 500, 6]
    assert cut[2]["target"].tolist() == [500, 6, 70]
    assert cut.sizes.tolist() == [3, 1, 3, 3]
    assert cut.num_tokens(2) == cut.size(2) == 3


def test_batches_are_padded_on_the_right_with_pad():
    songs = dataset()
    batch = songs.collater([songs[0], songs[3]])
    assert batch["net_input"]["src_tokens"].tolist() == [[2, 500, 5, 1, 1], [2, 501, 5, 500, 5]]
    assert batch["target"].tolist() == [[500, 5, 2, 1, 1], [501, 5, 500, 5, 2]]
    assert batch["net_input"]["src_lengths"].tolist() == [3, 5]
    assert (batch["ntokens"], batch["nsentences"], batch["id"].tolist()) == (8, 2, [0, 3])
    assert batch["net_input"]["chunking"] == "infer"
    assert batch["net_input"]["bars"] == 2
    assert songs.collater([]) == {}


def test_songs_outside_the_limits_are_left_out():
    assert dataset().ordered_indices().tolist() == [1, 0, 3, 2]
    assert dataset(shortest=2, longest=5).ordered_indices().tolist() == [0, 3]


def test_training_order_is_by_length_and_drawn_by_fairseqs_seed():
    songs = MuseFormerDataset([SONGS[0]] * 50, [3] * 50, chunking="infer", shuffle=True)
    orders = []
    for seed in (1, 1, 2):
        with numpy_seed(seed):
            orders.append(songs.ordered_indices().tolist())
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(50))
    assert not songs.can_reuse_epoch_itr_across_epochs


def test_a_split_is_what_was_binarised(task, corpus):
    songs = task().load_dataset("valid")
    assert [task().dictionary.string(songs[i]["target"]) for i in range(len(songs))] == corpus.songs["valid"]


def test_limits_depend_on_the_split(task):
    arguments = ["--truncate-train", "20", "--truncate-test", "9", "--max-size-valid", "1"]
    limited = task(*arguments)
    assert limited.load_dataset("train").sizes.max() == 20
    assert limited.load_dataset("test").sizes.max() == 9
    assert len(limited.load_dataset("valid").ordered_indices()) == 0


def test_empty_prompts_are_kept_and_unknown_tokens_refused(task):
    assert task().load_dataset("test").ordered_indices().tolist() == [0, 1, 2]
    known = task().dictionary.encode_line("t-30 o-1 x-9", add_if_not_exist=False).long()
    with pytest.raises(InputError, match="token 2 of prompt 1 is not"):
        task().build_dataset_for_inference([torch.tensor([2]), known], [1, len(known)])


def test_a_missing_split_says_which_there_are(task):
    with pytest.raises(InputError, match=r"'dev' .*but has \['test', 'train', 'valid'\]"):
        task().load_dataset("dev")


def test_chunking_is_a_flag(task):
    assert task().chunking == "infer"
    assert task("--chunking", "train").chunking == "train"
    assert task("--take-bos-as-bar", "True").chunking == "bosbar"


def test_every_song_is_in_one_batch_of_an_epoch(task):
    training = task()
    songs = training.load_dataset("train")
    batches = training.get_batch_iterator(songs, max_tokens=600, required_batch_size_multiple=8)
    seen = [index for batch in batches.next_epoch_itr(shuffle=True) for index in batch["id"].tolist()]
    assert sorted(seen) == list(range(30))
    assert max(len(batch) * songs.sizes[batch].max() for batch in batches.frozen_batches) <= 600
    assert len(published()) == len(training.dictionary)
    assert isinstance(songs.num_tokens_vec(np.array([0, 1])), np.ndarray)


def test_songs_are_varied_by_epoch_and_measured_as_they_then_are():
    def vary(song, epoch, index):
        return torch.cat([song[: epoch + index], song[-1:]])

    songs = dataset(vary=vary, measure=lambda song: song[song == 5].float()[:, None], truncate=7)
    batch = songs.collater([songs[2], songs[3]])
    assert batch["target"].tolist() == [[500, 6, 70, 2, 1], [501, 5, 500, 5, 2]]
    assert batch["positions"].nan_to_num(-1).tolist() == [[[-1], [-1]], [[5], [5]]]
    songs.set_epoch(5)
    assert songs[2]["target"].tolist() == [500, 6, 70, 90, 340, 470, 5]
    outside = MuseFormerDataset(
        [SONGS[0]], [3], chunking="bosbar", measure=lambda song: song[song == 5].float()[:, None]
    )
    assert outside[0]["positions"].nan_to_num(-1).tolist() == [[-1], [5]]  # first the begin-of-song token's own bar


def test_what_training_songs_become_is_asked_for_by_flags(task):
    plain, whole = task(), task().load_dataset("train")
    assert torch.equal(whole[0]["target"], plain.load_dataset("train")[0]["target"])
    arguments = ["--truncate-train", "40", "--crop-train", "--vary-train", "0.5"]
    varying = task(*arguments).load_dataset("train")
    again = task(*arguments).load_dataset("train")
    outcomes = []
    for epoch in range(1, 30):
        varying.set_epoch(epoch)
        again.set_epoch(epoch)
        index = int(np.argmax(whole.sizes))
        assert torch.equal(varying[index]["target"], again[index]["target"])
        outcomes.append(varying[index]["target"])
    assert len({tuple(target.tolist()) for target in outcomes}) > 10
    assert all(len(target) <= 40 for target in outcomes)
    held = task(*arguments).load_dataset("valid")
    assert torch.equal(held[0]["target"], plain.load_dataset("valid")[0]["target"])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["--vary-train", "2"], r"--vary-train must be in \[0, 1\]"), (["--crop-train"], "needs --truncate-train")],
)
def test_variations_that_cannot_be_are_refused(task, arguments, reason):
    with pytest.raises(InputError, match=reason):
        task(*arguments).load_dataset("train")
