"""The ready-made models: what they build, against PyTorch's own, and many of them as one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional

from hpo.errors import TaskError
from hpo.spec.space.params import Params
from hpo.tasks.models import MODELS, build, build_binary
from hpo.tasks.models.blocks import ACTIVATIONS, INITIALIZATIONS, NORMALIZATIONS, Residual
from hpo.tasks.models.cnn import POOLINGS
from hpo.tasks.models.mlp import MLP_DEFAULTS, WIDTHS, hidden_widths, mlp
from hpo.tasks.models.recurrent import Cell, Recurrent
from hpo.tasks.models.transformer import SelfAttention

IMAGE = (2, 8, 8)
SMALL = {"width": 8}


def make(name: str, in_shape: tuple[int, ...] = IMAGE, **values: Any) -> nn.Module:
    torch.manual_seed(0)
    return build(name, in_shape, 3, Params({**SMALL, **values}))


def make_mlp(**values: Any) -> nn.Sequential:
    return mlp(5, 3, Params({**MLP_DEFAULTS, **values}))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_takes_images(name: str) -> None:
    model = make(name)
    assert model(torch.rand(4, *IMAGE)).shape == (4, 3)


@pytest.mark.parametrize("name", ["linear", "mlp", "rnn", "gru", "lstm", "transformer"])
def test_models_of_sequences_and_of_features(name: str) -> None:
    shape = (7, 5) if name not in ("linear", "mlp") else (5,)
    assert make(name, shape)(torch.rand(4, *shape)).shape == (4, 3)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (name, {key: value})
        for name in ("mlp", "cnn", "gru", "transformer")
        for key, choices in (
            ("normalization", NORMALIZATIONS),
            ("initialization", INITIALIZATIONS),
            ("activation", ACTIVATIONS),
            ("depth", (1, 3)),
        )
        if key in MODELS[name].defaults
        for value in choices
    ]
    + [("mlp", {"widths": widths, "depth": 3}) for widths in WIDTHS]
    + [("cnn", {"pooling": pooling}) for pooling in POOLINGS]
    + [("cnn", {"kernel_size": 5, "depth": 0}), ("cnn", {"residual": True, "depth": 3})],
)
def test_every_choice_builds(name: str, values: dict[str, Any]) -> None:
    model = make(name, **values)
    outputs = model(torch.rand(4, *IMAGE))
    assert outputs.shape == (4, 3)
    assert outputs.isfinite().all()
    # An engine finds out on the meta device what can be stacked.
    with torch.device("meta"):
        shapes = [p.shape for p in make(name, **values).parameters()]
    assert shapes == [p.shape for p in model.parameters()]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_many_models_train_as_one(name: str, normalization: str) -> None:
    """As the fused engine trains them: no model knows of the others."""
    n_models, values = 3, {"depth": 2, "normalization": normalization, "residual": True}
    models = [build(name, IMAGE, 3, Params({**SMALL, **values})) for _ in range(n_models)]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n_models, 6, *IMAGE, generator=generator)
    y = torch.randint(3, (n_models, 6), generator=generator)
    parameters, buffers = stack_module_state(models)

    def loss(parameters: Any, buffers: Any, x: Tensor, y: Tensor) -> Tensor:
        outputs = functional_call(models[0], (parameters, buffers), (x,))
        return functional.cross_entropy(outputs, y)

    together = vmap(grad(loss), randomness="different")(parameters, buffers, x, y)
    for number, model in enumerate(models):
        functional.cross_entropy(model(x[number]), y[number]).backward()
        for key, parameter in model.named_parameters():
            torch.testing.assert_close(
                together[key][number], parameter.grad, atol=1e-5, rtol=1e-3, msg=key
            )


@pytest.mark.parametrize("name", [name for name in MODELS if name != "linear"])
def test_the_rate_of_dropout_does_not_change_the_structure(name: str) -> None:
    plain, dropped = make(name), make(name, dropout=0.5)
    assert [type(layer) for layer in plain.modules()] == [type(m) for m in dropped.modules()]
    rates = [layer.p for layer in dropped.modules() if isinstance(layer, nn.Dropout)]
    assert rates
    assert set(rates) == {0.5}


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_read(name: str) -> None:
    params = Params({**SMALL, "learning_rate": 1.0})
    build(name, IMAGE, 3, params)
    assert params.read == set(MODELS[name].defaults)


def test_free_widths_are_read_for_the_layers_that_there_are() -> None:
    params = Params({"widths": "free", "depth": 2, "width_1": 9, "width_3": 5})
    widths = hidden_widths(3, params.with_defaults(MLP_DEFAULTS))
    assert widths == [9, 64]
    assert {"width_1", "width_2"} <= params.read
    assert "width_3" not in params.read


def test_funnels_halve_down_to_the_outputs() -> None:
    params = Params({**MLP_DEFAULTS, "widths": "funnel", "depth": 5, "width": 64})
    assert hidden_widths(10, params) == [64, 32, 16, 10, 10]
    assert hidden_widths(100, params) == [64] * 5


def test_the_weights_of_the_plain_mlp_never_change() -> None:
    """Trials that go on with a later version must find their model."""
    torch.manual_seed(0)
    model = make_mlp(normalization="batch", depth=2, width=4)
    assert [type(layer).__name__ for layer in model] == [
        *("Linear", "BatchNorm1d", "ReLU", "Dropout") * 2,
        "Linear",
    ]
    torch.manual_seed(0)
    expected = [nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 3)]
    found = [layer for layer in model if isinstance(layer, nn.Linear)]
    for layer, other in zip(found, expected, strict=True):
        assert torch.equal(layer.weight, other.weight)
        assert torch.equal(layer.bias, other.bias)


def test_layers_that_keep_their_width_are_residual() -> None:
    model = make_mlp(residual=True, depth=3, width=5)
    assert [isinstance(layer, Residual) for layer in model] == [True] * 3 + [False]
    assert not any(isinstance(layer, Residual) for layer in make_mlp(residual=True, depth=1))
    block = model[0]
    assert isinstance(block, Residual)
    x = torch.randn(2, 5)
    torch.testing.assert_close(block(x), x + nn.Sequential(*block)(x))


@pytest.mark.parametrize(("cell", "theirs"), [("rnn", nn.RNN), ("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_recurrent_layers_are_those_of_pytorch(cell: Cell, theirs: Any) -> None:
    ours, other = Recurrent(cell, 3, 5), theirs(3, 5, batch_first=True)
    for mine, name in ((ours.of_input, "ih"), (ours.of_state, "hh")):
        mine.load_state_dict(
            {
                "weight": getattr(other, f"weight_{name}_l0"),
                "bias": getattr(other, f"bias_{name}_l0"),
            }
        )
    x = torch.randn(4, 7, 3)
    torch.testing.assert_close(ours(x), other(x)[0])
    bound = 1 / math.sqrt(5)
    assert max(p.abs().max() for p in Recurrent(cell, 3, 5).parameters()) <= bound


def test_attention_is_that_of_pytorch() -> None:
    ours, other = SelfAttention(8, 2, 0.0), nn.MultiheadAttention(8, 2, batch_first=True)
    assert other.in_proj_bias is not None
    with torch.no_grad():
        other.in_proj_weight.copy_(ours.inputs.weight)
        other.in_proj_bias.copy_(ours.inputs.bias)
        other.out_proj.load_state_dict(ours.output.state_dict())
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(ours(x), other(x, x, x)[0], atol=1e-5, rtol=1e-4)


def test_a_transformer_knows_the_order_of_the_steps() -> None:
    model, x = make("transformer", (5, 4)), torch.randn(2, 5, 4)
    assert not torch.allclose(model(x), model(x.flip(1)))


def test_images_become_rows_from_top_to_bottom() -> None:
    model = make("gru", (2, 3, 4))
    assert isinstance(model, nn.Sequential)
    x = torch.arange(24.0).reshape(1, 2, 3, 4)
    rows = model[0](x)
    assert rows.shape == (1, 3, 8)
    assert rows[0, 0].tolist() == [0, 1, 2, 3, 12, 13, 14, 15]


def test_two_classes_from_one_output() -> None:
    model, x = build_binary("mlp", (5,), Params(SMALL)), torch.randn(6, 5)
    assert isinstance(model, nn.Sequential)
    y = torch.tensor([0, 1, 0, 1, 1, 0])
    one = model[0](x).squeeze(1)
    torch.testing.assert_close(model(x).softmax(-1)[:, 1], one.sigmoid())
    torch.testing.assert_close(
        functional.cross_entropy(model(x), y),
        functional.binary_cross_entropy_with_logits(one, y.float()),
    )


@pytest.mark.parametrize(
    ("name", "in_shape", "values", "message"),
    [
        ("mpl", (5,), {}, "found 'mpl'; did you mean mlp?"),
        ("mlp", (5,), {"depth": 1.5}, "depth must be a whole number from 0; found 1.5"),
        ("mlp", (5,), {"depth": True}, "depth must be a whole number"),
        ("mlp", (5,), {"width": 0}, "width must be a whole number from 1; found 0"),
        ("mlp", (5,), {"widths": "funel"}, "did you mean funnel?"),
        ("mlp", (5,), {"widths": "free", "width_2": 0.5}, "width_2 must be a whole number"),
        ("cnn", (5,), {}, "a cnn takes images [C, H, W]; the samples are [5]"),
        ("cnn", IMAGE, {"kernel_size": 4}, "kernel_size must be odd; found 4"),
        ("gru", (5,), {}, "a model of sequences takes [T, F], or images [C, H, W]"),
        ("gru", IMAGE, {"depth": 0}, "depth must be a whole number from 1; found 0"),
        ("transformer", IMAGE, {"heads": 3}, "width must be a multiple of heads; found 8 and 3"),
    ],
)
def test_impossible_values(
    name: str, in_shape: tuple[int, ...], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskError) as caught:
        make(name, in_shape, **values)
    assert message in str(caught.value)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_convolutions_have_a_bias_unless_batch_normalisation_removes_it(normalization: str) -> None:
    model = make("cnn", normalization=normalization)
    biases = [layer.bias for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert [bias is None for bias in biases] == [normalization == "batch"] * 2
