"""Train the probe on the lexicon, outright requests and captions: a few minutes on a CPU once the texts are encoded."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from tqdm import tqdm

from fairseq_meloformer.bridge import encoders
from fairseq_meloformer.bridge.embeddings import EmbeddingCache, TextEncoder, TextStates
from fairseq_meloformer.bridge.probe import Probe, ProbeConfig
from fairseq_meloformer.bridge.probe_texts import Example, captions, modified_words, outright, plain_words
from fairseq_meloformer.music.lexicon import Lexicon, default_lexicon

logger = logging.getLogger(__name__)

_MOMENTS: Final = 2000  # texts that the standardisation is taken from
_POOL: Final = 16  # batches that are sorted by length together
_CHUNK: Final = 256  # texts between two steps of the progress bar


def examples(lexicon: Lexicon, requests: int, described: int, modified: int) -> list[Example]:
    """Training texts, each once: all plain words, and so many requests, captions and modified words."""
    sources = (
        plain_words(lexicon),
        outright(requests),
        captions(lexicon, described),
        modified_words(lexicon, modified),
    )
    return list({example.text: example for source in sources for example in source}.values())


def train(
    data: Sequence[Example],
    encoder: TextEncoder,
    config: ProbeConfig,
    *,
    epochs: int = 12,
    batch: int = 64,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.1,
    seed: int = 0,
) -> Probe:
    """Fit a probe by weighted squared error; the same arguments give the same probe.

    Args:
        data: at least two texts with their targets.
        encoder: frozen; asked once for each text.
        config: shape; what it says of the encoder is overwritten with the facts.
        epochs: passes over the data, the learning rate going to zero along a cosine.
        batch: texts in a step.
        learning_rate: of AdamW, at the start.
        weight_decay: of AdamW.
        seed: of weights, order and dropout.
    """
    texts = _encoded(data, encoder)
    targets, weights = (torch.stack(rows) for rows in zip(*(example.target() for example in data), strict=True))
    lengths = torch.tensor([text.states.shape[1] for text in texts])
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        probe = Probe(replace(config, text_dim=encoder.dim, encoder_identity=encoder.identity), encoder)
        probe.text.fit(TextStates.pad([texts[index] for index in torch.randperm(len(data))[:_MOMENTS]]))
        optimiser = torch.optim.AdamW(probe.parameters(), learning_rate, weight_decay=weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
        for epoch in range(1, epochs + 1):
            losses = []
            for chosen in _batches(lengths, batch):
                text = TextStates.pad([texts[index] for index in chosen])
                losses.append(_step(probe, optimiser, text, targets[chosen], weights[chosen]))
            schedule.step()
            logger.info("epoch %d of %d: weighted squared error %.4f", epoch, epochs, sum(losses) / len(losses))
    return probe.eval()


def _encoded(data: Sequence[Example], encoder: TextEncoder) -> list[TextStates]:
    texts: list[TextStates] = []
    for start in tqdm(range(0, len(data), _CHUNK), desc="encoding texts", mininterval=10):
        texts += encoder.encode([example.text for example in data[start : start + _CHUNK]]).texts()
    return texts


def _batches(lengths: Tensor, batch: int) -> list[Tensor]:
    """Indices of batches of texts of like length, in random order, since padding costs as much as tokens do."""
    shuffled = torch.randperm(len(lengths))
    batches = [
        part
        for pool in shuffled.split(_POOL * batch)  # type: ignore[no-untyped-call]
        for part in pool[lengths[pool].argsort()].split(batch)
    ]
    return [batches[index] for index in torch.randperm(len(batches))]


def _step(probe: Probe, optimiser: torch.optim.Optimizer, text: TextStates, target: Tensor, weight: Tensor) -> float:
    loss = (weight * (probe.train()(text) - target).square()).sum() / weight.sum()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return float(loss.detach())


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of the training."""
    parser = argparse.ArgumentParser(prog="python -m fairseq_meloformer.bridge.probe_training", description=__doc__)
    parser.add_argument("out", type=Path, help="directory to write the probe to")
    parser.add_argument("--encoder", default="e5-small", help="frozen text encoder: e5-small or hf:<id or directory>")
    parser.add_argument("--cache", type=Path, required=True, help="directory for encoded texts, kept between runs")
    parser.add_argument("--requests", type=int, default=4000, help="outright requests to draw")
    parser.add_argument("--captions", type=int, default=1500, help="captions to draw")
    parser.add_argument("--modified", type=int, default=1000, help="words with modifiers to draw")
    parser.add_argument("--epochs", type=int, default=12, help="passes over the texts")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and dropout")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    encoder = EmbeddingCache(encoders.load(args.encoder), args.cache)
    data = examples(default_lexicon(), args.requests, args.captions, args.modified)
    logger.info("%d texts", len(data))
    probe = train(data, encoder, ProbeConfig(encoder=args.encoder), epochs=args.epochs, seed=args.seed)
    probe.save_pretrained(args.out)


if __name__ == "__main__":
    main()
