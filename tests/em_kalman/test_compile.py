"""Compilation of model and loss as one graph, with the same value and gradients."""

from dataclasses import replace

import pytest
import torch

from _helpers.em_kalman_windows import make_window
from em_kalman import EMKalmanLoss, NeuralKalmanFilter


@pytest.mark.parametrize("options", [{"learn_noise": True}, {"dustbin": False, "layout": "joint"}])
def test_whole_graph_compiles(options):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, loss = NeuralKalmanFilter(num_iters=3, **options), EMKalmanLoss()
    batch = make_window(frames=3, objects=3, batch=2, dtype=torch.float32)
    if model.dustbin is not None:  # with padding
        batch = replace(batch, valid=batch.valid & (torch.arange(3) < torch.tensor([[2], [3]])[:, None]))

    def run(function):
        model.zero_grad()
        value = function(batch)
        value.backward()
        return [value.detach(), *(one.grad.clone() for one in model.parameters() if one.grad is not None)]

    def plain(batch):
        return loss(model(batch), batch)["loss"]

    wanted = run(plain)
    for one, other in zip(run(torch.compile(plain, fullgraph=True, backend="aot_eager")), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
