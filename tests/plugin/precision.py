"""What holds of every training step: products in bfloat16 where that is faster, and all else in float32."""

import pytest
import torch


def check_products(monkeypatch, model, module, step):
    """Take a step, which returns its loss, without and with a processor that is made for bfloat16.

    A module of the model tells in which precision products are.
    """
    losses = []
    for dtype, pays in ((torch.float32, False), (torch.bfloat16, True)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda pays=pays: {"avx512_bf16": pays})
        seen = []
        spy = module.register_forward_hook(lambda *_, seen=seen: seen.append(_[2].dtype))
        torch.manual_seed(0)
        model.zero_grad()
        loss = step()
        spy.remove()
        assert set(seen) == {dtype}
        assert loss.dtype == torch.float32
        assert {parameter.grad.dtype for parameter in model.parameters() if parameter.grad is not None} == {
            torch.float32
        }
        losses.append(float(loss.detach()))
    assert losses[1] == pytest.approx(losses[0], rel=0.01)
    assert losses[1] != losses[0]
