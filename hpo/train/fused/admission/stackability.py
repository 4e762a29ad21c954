"""Stackability check: from a trial's model to a stack template, or to the reason against one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from hpo.spec.space.params import Params
from hpo.tracebacks import text_of
from hpo.train.checks.signature import Signature, changed, describe, kept_params
from hpo.train.criteria import Criterion
from hpo.train.data.batch import Tensors, mapped
from hpo.train.data.loading.loaded_splits import AnySplits
from hpo.train.epoch_scores import Score
from hpo.train.fused.kernels.flat_params import ParamLayout, fixed_tensors, own_names
from hpo.train.fused.kernels.functional_call import FunctionalCall
from hpo.train.fused.kernels.networks import Network, networks_of, set_active
from hpo.train.fused.kernels.stacked_losses import LaneLoss, minimised, reported
from hpo.train.fused.kernels.step_checks import RngGuard, are_close, repeated
from hpo.train.fused.stack.folds import Folds
from hpo.train.fused.stack.stack_template import StackTemplate
from hpo.train.loop.training import trainable
from hpo.train.recipe.counter_based_dropout import DropoutRng, step_keys
from hpo.train.recipe.random_streams import seeded
from hpo.train.recipe.solo_hyperparameters import solo_choices
from hpo.train.recipe.weight_averaging import averages
from hpo.train.task import Task

# Two lanes show what one would hide.
_N_LANES: Final = 2
_KEY: Final = int(step_keys(1, 1)[0])


@dataclass(frozen=True)
class PreparedModel:
    """A trial's model before it is admitted to a stack.

    Attributes:
        fold: Of its data.
        params: With defaults filled in.
        model: Lifted, on the device, with its initial weights.
        dropout_rng: Random numbers of its dropout layers.
        signature: Of the stacks that could take it.
        batch_size: Samples that a lane of these stacks computes with at once.
    """

    fold: int
    params: Params
    model: nn.Module
    dropout_rng: DropoutRng
    signature: Signature
    batch_size: int


@dataclass(frozen=True)
class _ProbeTrial:
    """A step on a few samples, to be taken alone and stacked.

    Attributes:
        model: Lifted, on the device; its own tensors stay as they are.
        dropout_rng: What its dropout draws from.
        layout: Of its parameters.
        x: Inputs [B, ...]: a tensor, or a tuple or dict of tensors.
        y: Targets [B, ...], likewise.
        device: Where they are.
    """

    model: nn.Module
    dropout_rng: DropoutRng
    layout: ParamLayout
    x: Tensors
    y: Tensors
    device: torch.device


@dataclass(frozen=True)
class _Step:
    """What a step of one model comes to.

    Attributes:
        gradients: The loss, then a row of gradients: [1 + P].
        buffers: After it.
    """

    gradients: Tensor
    buffers: Mapping[str, Tensor]


def plan(task: Task, folds: Folds, score: Score, prepared: PreparedModel) -> StackTemplate | str:
    """Finds out by one step on a few samples how a model can be stacked.

    Args:
        task: The task.
        folds: Its data, on the device.
        score: What trials are compared by.
        prepared: Of a trial.

    Returns:
        What a stack needs, or in words why such trials train alone.

    Raises:
        Exception: Whatever the task raises with one model alone.
    """
    params, model, fold = prepared.params, prepared.model, prepared.fold
    reason = _obstacle(task, model, params)
    if reason:
        return reason
    splits = folds[fold]
    probe = splits.train.head(prepared.batch_size)
    x = task.prepare(probe.inputs) if folds.is_loaded else probe.inputs
    trial = _ProbeTrial(
        model, prepared.dropout_rng, ParamLayout(model), x, probe.targets, folds.device
    )
    criterion = Criterion.of(task, splits, score.metrics)
    expected = _alone(trial, criterion.minimised(params, _targets(splits, params)))
    if isinstance(expected, str):
        return expected
    make_loss = _loss_maker(criterion, folds)
    loss = make_loss([params] * _N_LANES, [fold] * _N_LANES)
    network = _network(trial, loss, expected, params["precision"])
    if isinstance(network, str):
        return network
    return StackTemplate(
        signature=prepared.signature,
        criterion=criterion,
        folds=folds,
        probe=probe,
        samples=x if isinstance(x, Tensor) else None,
        n_train=len(splits.train),
        score=score,
        model=model,
        network=network,
        layout=trial.layout,
        loss=make_loss,
        reported=lambda params: reported(criterion, params, folds.device),
        params=params,
        fold=fold,
        optimizer=params["optimizer"],
        batch_size=prepared.batch_size,
        averages=averages(params),
    )


def _network(trial: _ProbeTrial, loss: LaneLoss, expected: _Step, precision: str) -> Network | str:
    """Returns the fastest network that is equal to a model, or why there is none."""
    kept, reason = _renew_params(trial.model), ""
    for network in networks_of(trial.model, trial.dropout_rng):
        # In float32, which shows wrong formulas; another precision is only another rounding.
        found = _stacked(trial, network, loss)
        reason = found if isinstance(found, str) else _differs(found, expected)
        read = sorted(name for values in kept for name in values.read)
        if read:
            return f"its forward pass reads the param {read[0]}; its constructor should keep it"
        if reason or not network.use(precision):
            continue
        again = found if precision == "float32" else _stacked(trial, network, loss)
        if not isinstance(again, str):
            return network
        reason = again
    return reason


def _obstacle(task: Task, model: nn.Module, params: Params) -> str:
    """Returns why trials cannot be stacked whatever the model computes, or nothing."""
    if alone := solo_choices(params):
        return f"trials with {' and '.join(alone)} train alone"
    if task.has_own("augment"):
        return "the task brings its own augment()"
    if task.has_own("optimizer"):
        return "the task brings its own optimizer"
    kinds = {parameter.dtype for parameter in trainable(model)}
    if kinds != {torch.float32}:
        names = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        return f"its parameters are {names}; stacks are of float32"
    for name, parameter in model.named_parameters():
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            return f"a hook sees the gradient of its parameter {name}"
    for name in set(model.state_dict()) - set(own_names(model)):
        return f"its state dict has {name}, which is no parameter or buffer"
    return ""


def _renew_params(model: nn.Module) -> list[Params]:
    """Gives a model's modules params of which nothing was read yet, for those that they keep."""
    kept = list(kept_params(model))
    found = [Params(params.asdict()) for _, _, params in kept]
    for (module, name, _), fresh in zip(kept, found, strict=True):
        setattr(module, name, fresh)
    return found


def _alone(trial: _ProbeTrial, loss: Callable[[Tensor, Tensor], Tensor]) -> _Step | str:
    """Returns a step of one model, or an obstacle."""
    model, device = trial.model.train(), trial.device
    leaves = {
        name: p.detach().clone().requires_grad_(p.requires_grad)
        for name, p in model.named_parameters()
    }
    buffers = {name: b.clone() for name, b in model.named_buffers()}
    trained = [leaves[slot.name] for slot in trial.layout.slots]
    before = describe(model)
    with seeded(0, device):
        rng_guard = RngGuard(device)
        trial.dropout_rng.begin(_KEY)
        value = loss(
            FunctionalCall(model)({**leaves, **buffers}, mapped(torch.clone, trial.x)), trial.y
        )
        found = torch.autograd.grad(value, trained, allow_unused=True)
        if rng_guard.has_drawn:
            return f"it draws random numbers beside those of nn.Dropout{_who_draws(model)}"
    what = changed(before, describe(model))
    if what is not None:
        return f"its forward pass changes {what}"
    grads: dict[str, Tensor | None]
    grads = {slot.name: grad for slot, grad in zip(trial.layout.slots, found, strict=True)}
    for name, grad in grads.items():
        if grad is None:
            return f"it does not use its parameter {name}"
    row = trial.layout.flatten({name: grad for name, grad in grads.items() if grad is not None})
    return _Step(torch.cat([value.detach().view(1), row]), buffers)


def _who_draws(model: nn.Module) -> str:
    for name, module in model.named_modules():
        # As attention and recurrent layers have it.
        rate = vars(module).get("dropout")
        if isinstance(rate, float) and rate > 0:
            return f": {name or 'it'} has dropout={rate} of its own"
    return ""


def _stacked(trial: _ProbeTrial, network: Network, loss: LaneLoss) -> _Step | str:
    """Returns a step of some lanes at once, gradients [K, 1 + P]; or why there is none."""
    layout, model = trial.layout, trial.model
    grads = torch.zeros(_N_LANES, layout.size, device=trial.device)
    network.bind(layout.views(grads))
    # Other lanes may drop where this one does not; with a rate of 0 it keeps all.
    set_active(model, lambda name: True)
    parameters = dict(model.named_parameters())
    own = repeated({slot.name: parameters[slot.name] for slot in layout.slots}, _N_LANES)
    fixed = repeated(fixed_tensors(model), _N_LANES)
    keys = torch.full((_N_LANES,), _KEY, dtype=torch.int32, device=trial.device)
    try:
        losses = network.train(own, fixed, *_both(trial), keys, loss)
        network.predict(own, repeated(fixed_tensors(model), _N_LANES), trial.x)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever it is, one model alone does not raise
        # What follows the first sentence is advice for those who call vmap themselves.
        said = text_of(error).strip().partition("\n")[0].partition(". ")[0].removesuffix(".")
        return f"it cannot be stacked: {type(error).__name__}: {said}"
    return _Step(torch.cat([losses.view(-1, 1), grads], dim=1), fixed)


def _differs(found: _Step, expected: _Step) -> str:
    """Returns what is wrong with a stacked step, or nothing."""
    if not are_close(found.gradients, expected.gradients):
        return "stacked it computes other gradients than alone"
    for name, buffer in expected.buffers.items():
        if not are_close(found.buffers[name].double(), buffer.double()):
            return f"stacked its buffer {name} gets other values than alone"
    return ""


def _loss_maker(
    criterion: Criterion, folds: Folds
) -> Callable[[Sequence[Params], Sequence[int]], LaneLoss]:
    def make(params: Sequence[Params], of_folds: Sequence[int]) -> LaneLoss:
        pairs = zip(params, of_folds, strict=True)
        weights = [criterion.class_weights(one, _targets(folds[fold], one)) for one, fold in pairs]
        return minimised(criterion, params, weights, folds.device)

    return make


def _targets(splits: AnySplits, params: Params) -> Tensor:
    """Returns the targets that class weights balance: those of all samples, where there are any."""
    is_balanced = params.get("class_weights") == "balanced"
    return splits.train.y if is_balanced else splits.known_targets


def _both(trial: _ProbeTrial) -> tuple[Tensors, Tensors]:
    """Returns inputs and targets for all lanes."""

    def of_lanes(tensor: Tensor) -> Tensor:
        return repeated({"": tensor}, _N_LANES)[""]

    return mapped(of_lanes, trial.x), mapped(of_lanes, trial.y)
