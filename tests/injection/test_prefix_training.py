import dataclasses

import torch
from injection.models import bridge, museformer

from fairseq_meloformer.bridge import Bridge
from fairseq_meloformer.bridge.objective import Batch, Weights
from fairseq_meloformer.injection import prefix_training
from fairseq_meloformer.tokens.vocabulary import BAR_END, BOS, END, PAD


def songs(*lengths, bars=2):
    """Songs of `bars` bars with so many tokens in each."""
    generator = torch.Generator().manual_seed(0)
    made = [torch.randint(BAR_END + 1, 500, (bars, length), generator=generator) for length in lengths]
    for song in made:
        song[:, -1] = BAR_END
    rows = [song.flatten() for song in made]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


def prefix(scope="history", plan_layers=None):
    torch.manual_seed(0)
    config = dataclasses.replace(bridge().config, method="prefix", scope=scope, plan_layers=plan_layers)
    made = Bridge(config)
    with torch.no_grad():
        made.endpoint.write.bias.fill_(0.1)
    return made


def test_nats_are_those_of_each_song_alone_with_its_end():
    model, tokens = museformer(), songs(4, 7)
    with torch.no_grad():
        both = prefix_training.cross_entropy(model, tokens, None, None, "plan")
        for row, length in enumerate((8, 14)):
            song = [BOS, *tokens[row, :length].tolist()]
            chances = model(torch.tensor([song]))[0].log_softmax(-1)
            wanted = torch.tensor([*song[1:], END])
            torch.testing.assert_close(both[row], -chances[torch.arange(len(wanted)), wanted].mean())


def test_a_plan_is_injected_in_the_scope_and_layers_of_the_prefix():
    model, tokens = museformer(), songs(4, 7)
    made = prefix(plan_layers=(1,))
    batch = Batch(torch.zeros(2, 2, 2, 32), torch.tensor([2, 2]), made.encoder.encode(["a", "b"]), [0, 1])
    with torch.no_grad():
        part = prefix_training.loss(made, model, batch, tokens, Weights()).parts["tokens"]
        text = made.told(batch.text, None)
        mask = torch.ones(2, 2, dtype=torch.bool)
        plan = made.summaries.denormalise(made.ends(text, mask)[0])
        own, elsewhere, everywhere = (
            prefix_training.cross_entropy(model, tokens, plan, mask, scope, layers).sum()
            for scope, layers in (("history", (1,)), ("plan", (1,)), ("history", None))
        )
    torch.testing.assert_close(part, own)
    assert not torch.isclose(own, elsewhere)
    assert not torch.isclose(own, everywhere)


def test_the_gradient_reaches_the_prefix_and_not_the_museformer():
    model, made = museformer().requires_grad_(requires_grad=False), prefix()
    batch = Batch(torch.zeros(2, 2, 2, 32), torch.tensor([2, 1]), made.encoder.encode(["a", "b"]), [0, 1])
    result = prefix_training.loss(made, model, batch, songs(4, 7), Weights(bars=0.0))
    result.total.backward()
    assert result.songs == 2
    assert float(made.endpoint.write.weight.grad.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in model.parameters())
