"""What models are built of: activations, normalisations, initialisations."""

from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from hpo.errors import TaskError
from hpo.tasks.models import blocks
from hpo.tasks.models.blocks import INITIALIZATIONS, NORMALIZATIONS, Gates, Layout

Layer = TypeVar("Layer", bound=nn.Module)
SHAPES: dict[Layout, tuple[int, ...]] = {
    "features": (6, 12),
    "images": (6, 12, 3, 3),
    "sequences": (6, 5, 12),
}


@pytest.mark.parametrize("layout", SHAPES)
@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_normalisations_keep_the_shape(name: str, layout: Layout) -> None:
    x = torch.randn(SHAPES[layout])
    assert blocks.normalization(name, 12, layout)(x).shape == x.shape


def test_batch_normalisation_is_over_samples_and_places() -> None:
    for layout, shape in SHAPES.items():
        x = 3 + 2 * torch.randn(shape)
        normalized = blocks.normalization("batch", 12, layout)(x)
        channels = normalized.movedim(-1 if layout != "images" else 1, 0).flatten(1)
        torch.testing.assert_close(channels.mean(1), torch.zeros(12), atol=1e-5, rtol=0)
        torch.testing.assert_close(channels.std(1), torch.ones(12), atol=0.1, rtol=0)


@pytest.mark.parametrize("name", ["layer", "group"])
def test_other_normalisations_look_at_one_sample_only(name: str) -> None:
    for layout, shape in SHAPES.items():
        x = torch.randn(shape)
        layer = blocks.normalization(name, 12, layout)
        torch.testing.assert_close(layer(x)[:1], layer(x[:1]))


@pytest.mark.parametrize("n", [1, 7, 12, 64])
def test_groups_share_any_number_of_channels(n: int) -> None:
    assert blocks.normalization("group", n, "images")(torch.randn(2, n, 3, 3)).shape[1] == n


def drawn(name: str, layer: Layer) -> Layer:
    torch.manual_seed(0)
    blocks.initialize(layer, name)
    return layer


def test_initialisations_are_those_of_pytorch() -> None:
    theirs = {
        "xavier": nn.init.xavier_uniform_,
        "kaiming": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
        "orthogonal": nn.init.orthogonal_,
        "normal": lambda w: nn.init.normal_(w, std=0.05),
    }
    assert {"default", *theirs} == set(INITIALIZATIONS)
    for name, draw in theirs.items():
        for layer in (nn.Linear(6, 4), nn.Conv2d(3, 4, 3)):
            assert isinstance(drawn(name, layer).weight, Tensor)
            expected = torch.empty_like(layer.weight)
            torch.manual_seed(0)
            draw(expected)
            assert torch.equal(layer.weight, expected)
            assert layer.bias is not None
            assert not layer.bias.any()
            assert layer.weight.requires_grad


def test_the_default_leaves_the_weights_alone() -> None:
    layer = nn.Linear(6, 4)
    before = layer.weight.clone()
    assert torch.equal(drawn("default", layer).weight, before)
    assert layer.bias.any()


def test_each_gate_is_initialised_by_itself() -> None:
    layer = Gates(8, 8, 3)
    drawn("orthogonal", layer)
    for gate in layer.weight.detach().chunk(3):
        torch.testing.assert_close(gate @ gate.T, torch.eye(8), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", INITIALIZATIONS)
def test_initialisations_need_no_values(name: str) -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(6, 4))
    blocks.initialize(model, name)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: blocks.activation("rleu"), "found 'rleu'; did you mean relu?"),
        (
            lambda: blocks.normalization(3, 4, "images"),
            "normalization must be none, batch, layer, group; found 3",
        ),
        (lambda: blocks.initialize(nn.Linear(1, 1), "he"), "initialization must be default"),
    ],
)
def test_unknown_names(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(TaskError) as caught:
        make()
    assert message in str(caught.value)
