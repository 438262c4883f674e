from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from symphony2vec.errors import UserError
from symphony2vec.models.classifiers.networks import LSTM, cnn, fair_cnn, feed_forward, split_into_chunks, vote

SHAPES = {"mel": (64, 431), "mfcc": (13, 431), "chroma": (12, 431)}
SIZES = {
    "chroma": ["5x12x429", "5x12x214", "10x12x108", "10x12x54", "10x12x27", "10x12x27"],
    "mfcc": ["5x12x429", "5x12x214", "10x12x108", "10x12x54", "10x12x27", "10x12x27"],
    "mel": ["5x32x216", "5x32x108", "10x16x54", "10x16x27", "10x8x13", "10x4x6"],
}
# Of each convolution: maps in and out, kernel, stride, padding, and the max pooling after it; (bins, frames) each.
TABLE_2 = {
    "chroma": [
        (1, 5, (2, 5), (2, 1), (6, 1), (1, 2)),
        (5, 10, (2, 4), (2, 2), (6, 2), (1, 2)),
        (10, 10, (2, 4), (2, 2), (6, 1), None),
    ],
    "mfcc": [
        (1, 5, (4, 5), (1, 1), (1, 1), (1, 2)),
        (5, 10, (2, 4), (2, 2), (6, 2), (1, 2)),
        (10, 10, (2, 4), (2, 2), (6, 1), None),
    ],
    "mel": [
        (1, 5, (4, 3), (2, 2), (1, 1), (1, 2)),
        (5, 10, (4, 4), (2, 2), (1, 1), (1, 2)),
        (10, 10, (3, 4), (2, 2), (1, 1), (2, 2)),
    ],
}
FULLY_CONNECTED = (120, 84, 5)


def sizes(network: nn.Sequential, shape: tuple[int, int]) -> list[str]:
    """Channels x bins x frames after every convolution and every pooling."""
    seen: list[str] = []
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
            layer.register_forward_hook(lambda _, __, out: seen.append("x".join(map(str, out.shape[1:]))))
    network.eval()(torch.zeros(1, *shape))
    return seen


def share_with_input(network: nn.Sequential, shape: tuple[int, int]) -> float:
    """Share of the final positions that any real value reaches: all weights 1, no bias, ones in."""
    h = torch.ones(1, *shape)
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, nn.AdaptiveAvgPool2d | nn.Flatten):
                break
            if isinstance(layer, nn.Conv2d):
                layer.weight.fill_(1.0)
                layer.bias.zero_()
            if not isinstance(layer, nn.BatchNorm2d):
                h = layer(h)
    return float((h[0, 0] > 0).float().mean())


def printed(layer: nn.Module) -> tuple[object, ...]:
    """A layer in the words of Table 2."""
    match layer:
        case nn.Conv2d():
            shape = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
            return ("convolution", *shape, layer.dilation, layer.groups, layer.padding_mode)
        case nn.BatchNorm2d():
            return ("batch norm", layer.num_features)
        case nn.MaxPool2d():
            return ("max pooling", layer.kernel_size, layer.stride, layer.padding, layer.dilation)
        case nn.Linear():
            return ("linear", layer.in_features, layer.out_features)
    return (type(layer).__name__,)


def does_nothing(layer: nn.Module) -> bool:
    return isinstance(layer, nn.MaxPool2d) and layer.kernel_size == layer.stride == (1, 1)


@pytest.mark.parametrize("name", SHAPES)
def test_the_cnns_are_table_2_layer_by_layer(name):
    expected: list[tuple[object, ...]] = [("Unflatten",)]
    for before, after, kernel, stride, padding, pool in TABLE_2[name]:
        expected.append(("convolution", before, after, kernel, stride, padding, (1, 1), 1, "zeros"))
        expected.append(("batch norm", after))
        expected += [("max pooling", pool, pool, 0, 1)] if pool else []
        expected.append(("ReLU",))
    expected.append(("Flatten",))
    values = 10 * 4 * 6 if name == "mel" else 10 * 12 * 27  # what SIZES says is left
    for before, after in pairwise((values, *FULLY_CONNECTED)):
        expected += [("linear", before, after), ("ReLU",)]
    assert [printed(layer) for layer in cnn(name, SHAPES[name], 5) if not does_nothing(layer)] == expected[:-1]


@pytest.mark.parametrize("name", SHAPES)
def test_the_cnns_have_the_sizes_of_table_2(name):
    network = cnn(name, SHAPES[name], 5)
    assert sizes(network, SHAPES[name]) == SIZES[name]
    linear = [(layer.in_features, layer.out_features) for layer in network if isinstance(layer, nn.Linear)]
    assert linear == [(240 if name == "mel" else 3240, 120), (120, 84), (84, 5)]


@pytest.mark.parametrize(("name", "share"), [("chroma", 2 / 12), ("mfcc", 4 / 12), ("mel", 1.0)])
def test_the_padding_of_table_2_hides_the_input_from_most_of_the_net(name, share):
    assert share_with_input(cnn(name, SHAPES[name], 5), SHAPES[name]) == pytest.approx(share)


@pytest.mark.parametrize("shape", [*SHAPES.values(), (12, 32), (32, 32), (33, 32), (33, 431), (128, 50)])
def test_the_fair_cnn_sees_its_input_everywhere(shape):
    network = fair_cnn(shape, 7)
    assert network(torch.randn(2, *shape)).shape == (2, 7)
    assert share_with_input(network, shape) == 1.0


@pytest.mark.parametrize("shape", SHAPES.values())
def test_every_bin_and_frame_that_pooling_keeps_moves_the_fair_cnn(shape):
    torch.manual_seed(0)
    network = fair_cnn(shape, 5).eval()
    x = torch.randn(4, *shape, requires_grad=True)
    network(x).square().sum().backward()
    moved = x.grad.abs().sum(dim=0) > 0
    assert moved.any(dim=0).float().mean() > 0.95
    assert moved.any(dim=1).all()


@pytest.mark.parametrize("network", [lambda shape: cnn("mel", shape, 5), lambda shape: fair_cnn(shape, 5)])
def test_a_shape_too_small_is_named(network):
    with pytest.raises(UserError, match="3 bins x 20 frames are too few"):
        network((3, 20))


def test_the_cnn_takes_other_shapes_that_fit():
    assert cnn("mel", (128, 300), 3)(torch.zeros(2, 128, 300)).shape == (2, 3)
    with pytest.raises(UserError, match="the output of convolution 3 is empty"):
        cnn("mel", (64, 40), 3)
    with pytest.raises(UserError, match="no CNN for 'wave'; expected one of chroma, mfcc, mel"):
        cnn("wave", (64, 431), 3)


def test_the_feed_forward_net_normalises_after_each_relu():
    network = feed_forward((13, 431), 5)
    kinds = [type(layer) for layer in network]
    assert kinds == [nn.Flatten, *[nn.Linear, nn.ReLU, nn.BatchNorm1d] * 4, nn.Linear]
    assert [layer.out_features for layer in network if isinstance(layer, nn.Linear)] == [1024, 512, 256, 64, 5]
    assert network(torch.randn(3, 13, 431)).shape == (3, 5)


def test_chunks_run_along_time_and_leave_the_rest_out():
    x = torch.arange(2 * 3 * 11).reshape(2, 3, 11)  # clip, bin, frame
    cut = split_into_chunks(x, 4)
    assert cut.shape == (2, 2, 4, 3)
    for clip in range(2):
        for chunk in range(2):
            for step in range(4):
                assert torch.equal(cut[clip, chunk, step], x[clip, :, 4 * chunk + step])
    assert split_into_chunks(torch.zeros(1, 64, 431), 36).shape == (1, 11, 36, 64)
    with pytest.raises(UserError, match="clips of 11 frames are shorter than a chunk of 12 frames"):
        split_into_chunks(x, 12)


def test_the_lstm_reads_its_last_step_which_all_steps_reach():
    torch.manual_seed(0)
    network = LSTM(6, 4)
    assert (network.recurrent.hidden_size, network.recurrent.num_layers) == (5, 2)
    x = torch.randn(3, 9, 6, requires_grad=True)
    logits = network(x)
    assert logits.shape == (3, 4)
    top = network.recurrent(x)[1][0][-1]
    torch.testing.assert_close(logits, network.output(top))
    logits[1].sum().backward()
    reached = x.grad.abs().sum(dim=2) > 0
    assert reached[1].all()
    assert not reached[[0, 2]].any()


def test_votes_come_before_means():
    one_sure = torch.tensor([[[0.0, 1.0], [0.51, 0.49], [0.51, 0.49]]])  # mean: the second; votes: the first
    shares = vote(one_sure)
    assert shares.argmax() == 0
    assert shares.dtype == torch.float64
    np.testing.assert_allclose(shares, [[(2 + 0.34) / 4, (1 + 0.66) / 4]], rtol=1e-6)


def test_tied_votes_go_to_the_higher_mean():
    tied = torch.tensor([[[0.6, 0.4, 0.0], [0.1, 0.9, 0.0]], [[0.9, 0.1, 0.0], [0.4, 0.6, 0.0]]])
    assert vote(tied).argmax(dim=1).tolist() == [1, 0]


def test_the_vote_of_an_undecided_chunk_goes_to_the_first_of_equals():
    undecided = torch.tensor([[[0.25, 0.375, 0.375]], [[0.5, 0.0, 0.5]]])
    assert vote(undecided).argmax(dim=1).tolist() == [1, 0]


def test_no_mean_outweighs_a_vote():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.full(4, 0.3), size=(2000, 5))
    votes = np.stack([(probabilities.argmax(axis=2) == k).sum(axis=1) for k in range(4)], axis=1)
    shares = vote(torch.from_numpy(probabilities)).numpy()
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    rows = np.arange(len(votes))
    assert (votes[rows, shares.argmax(axis=1)] == votes.max(axis=1)).all()
