"""Train the probe on the lexicon, moments of life and outright requests: seconds on a CPU once they are encoded."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from tqdm import tqdm

from fairseq_meloformer.encoders import registry
from fairseq_meloformer.encoders.embeddings import EmbeddingCache, TextEncoder
from fairseq_meloformer.jobs import sole_writer
from fairseq_meloformer.words.lexicon import Lexicon, default_lexicon
from fairseq_meloformer.words.probe import Probe, ProbeConfig
from fairseq_meloformer.words.probe_texts import Example, lived, outright, plain_words

logger = logging.getLogger(__name__)

_CHUNK: Final = 256  # texts between two steps of the progress bar


def examples(lexicon: Lexicon, requests: int) -> list[Example]:
    """Training texts, each once: all plain words of the lexicon, all moments, and so many requests."""
    sources = (plain_words(lexicon), outright(requests), lived())
    return list({example.text: example for source in sources for example in source}.values())


def train(
    data: Sequence[Example],
    encoder: TextEncoder,
    config: ProbeConfig,
    *,
    epochs: int = 30,
    batch: int = 256,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.3,
    seed: int = 0,
) -> Probe:
    """Fit a probe by weighted cross-entropy; the same arguments give the same probe.

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
    pooled = _encoded(data, encoder)
    targets, weights = (torch.stack(rows) for rows in zip(*(example.target() for example in data), strict=True))
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        probe = Probe(replace(config, text_dim=encoder.dim, encoder_identity=encoder.identity), encoder)
        probe.standardise(pooled)
        optimiser = torch.optim.AdamW(probe.parameters(), learning_rate, weight_decay=weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
        for epoch in range(1, epochs + 1):
            batches = torch.randperm(len(data)).split(batch)  # type: ignore[no-untyped-call]
            losses = [_step(probe, optimiser, pooled[part], targets[part], weights[part]) for part in batches]
            schedule.step()
            logger.info("epoch %d of %d: weighted cross-entropy %.4f", epoch, epochs, sum(losses) / len(losses))
    return probe.eval()


def _encoded(data: Sequence[Example], encoder: TextEncoder) -> Tensor:
    """Pooled texts, (texts, dim)."""
    chunks = range(0, len(data), _CHUNK)
    return torch.cat(
        [
            encoder.encode([example.text for example in data[start : start + _CHUNK]]).pooled
            for start in tqdm(chunks, desc="encoding texts", mininterval=10)
        ]
    )


def _step(probe: Probe, optimiser: torch.optim.Optimizer, pooled: Tensor, target: Tensor, weight: Tensor) -> float:
    # A value of 0.8 is a positive side that is 0.8 probable.
    sides = torch.stack([(-target).relu(), 1 - target.abs(), target.relu()], -1)
    entropies = -(sides * probe.train().logits(pooled).log_softmax(-1)).sum(-1)
    loss = (weight * entropies).sum() / weight.sum()
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    optimiser.step()
    return float(loss.detach())


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of the training."""
    parser = argparse.ArgumentParser(prog="python -m fairseq_meloformer.words.probe_training", description=__doc__)
    parser.add_argument("out", type=Path, help="directory to write the probe to")
    parser.add_argument("--encoder", default="e5-small", help="frozen text encoder: e5-small or hf:<id or directory>")
    parser.add_argument("--cache", type=Path, required=True, help="directory for encoded texts, kept between runs")
    parser.add_argument("--requests", type=int, default=1400, help="outright requests to draw")
    parser.add_argument("--epochs", type=int, default=30, help="passes over the texts")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and dropout")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with sole_writer(args.out):
        encoder = EmbeddingCache(registry.load(args.encoder), args.cache)
        data = examples(default_lexicon(), args.requests)
        logger.info("%d texts", len(data))
        probe = train(data, encoder, ProbeConfig(encoder=args.encoder), epochs=args.epochs, seed=args.seed)
        probe.save_pretrained(args.out)


if __name__ == "__main__":
    main()
