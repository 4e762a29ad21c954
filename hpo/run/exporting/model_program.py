"""Model program: a prediction graph as ``torch.export`` and ONNX save it, and checks of both."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from hpo.errors import HpoError
from hpo.run.exporting.graph_inputs import GraphInputs
from hpo.run.exporting.prediction_graph import PredictionGraph
from hpo.run.files.prediction import TrainedModel

# A size that models hardly have inside, and others to compare at.
_N_TRACED: Final = 7
_N_COMPARED: Final = (1, 2, 7, 12)
_ABSOLUTE: Final = 1e-6
_RELATIVE: Final = 1e-5
_ONNX_PACKAGES: Final = ("onnx", "onnxscript")


class NotExportableError(ValueError):
    """A model that has no program; its text says why."""


@dataclass(frozen=True)
class ModelProgram:
    """A model as a program.

    Attributes:
        program: As ``torch.export`` has made it.
        is_any_size: Whether it takes any number of samples at once; else one.
    """

    program: Any
    is_any_size: bool

    def save(self, path: Path) -> None:
        """Writes the program; ``torch.export.load`` reads it."""
        with _quiet():
            torch.export.save(self.program, path)

    def predict(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Returns the predictions of samples."""
        module = self.program.module()
        n = len(inputs[0]) if self.is_any_size else 1
        with torch.inference_mode():
            chunks = zip(*(torch.split(one, n) for one in inputs), strict=True)
            return torch.cat([module(*chunk) for chunk in chunks])


def program_of(graph: PredictionGraph, inputs: GraphInputs) -> ModelProgram:
    """Makes the program of a graph, for any number of samples if that can be.

    Raises:
        NotExportableError: ``torch.export`` refuses the model.
    """
    reasons = []
    for n, is_any_size in ((_N_TRACED, True), (1, False)):
        sizes = {0: torch.export.Dim("rows")} if is_any_size else {}
        example = inputs.probe(n).inputs
        try:
            with _quiet(), torch.no_grad():
                program = torch.export.export(
                    graph, example, dynamic_shapes=(tuple(sizes for _ in example),), strict=False
                )
        except Exception as error:  # noqa: BLE001 - the models are code of users
            reasons.append(_reason(error))
            continue
        return ModelProgram(program, is_any_size)
    raise NotExportableError(reasons[-1])


def require_equal(made: ModelProgram, model: TrainedModel, inputs: GraphInputs) -> None:
    """Compares a program with hpo's own predictions.

    Raises:
        NotExportableError: They differ.
    """
    for n in _N_COMPARED:
        probe = inputs.probe(n)
        if probe.samples is not None:
            expected = model.predict_rows(probe.samples)
            _require_close(made.predict(probe.inputs), expected, "torch.export")


def write_onnx(made: ModelProgram, inputs: GraphInputs, path: Path) -> None:
    """Writes a program as ONNX, and compares it where ONNX Runtime is installed.

    Raises:
        NotExportableError: The model cannot be converted, or predicts something else.
    """
    if not made.is_any_size:
        raise NotExportableError("the model takes one sample at a time")
    try:
        with _quiet(), torch.no_grad():
            found = torch.onnx.export(
                made.program,
                input_names=list(inputs.names),
                output_names=["predictions"],
                dynamo=True,
                verbose=False,
            )
            assert found is not None
            found.save(str(path))
    except Exception as error:
        raise NotExportableError(_reason(error)) from error
    if find_spec("onnxruntime") is not None:
        _require_onnx_equal(made, inputs, path)


def require_onnx() -> None:
    """Makes sure that ONNX files can be written.

    Raises:
        HpoError: Packages are missing.
    """
    missing = [name for name in _ONNX_PACKAGES if find_spec(name) is None]
    if missing:
        raise HpoError(
            f"--onnx needs {' and '.join(missing)}", hint="install it with: pip install 'hpo[onnx]'"
        )


def _require_onnx_equal(made: ModelProgram, inputs: GraphInputs, path: Path) -> None:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]
        for n in _N_COMPARED:
            probe = inputs.probe(n)
            given = dict(zip(inputs.names, probe.inputs, strict=True))
            (found,) = session.run(None, {name: given[name].numpy() for name in names})
            _require_close(torch.from_numpy(found), made.predict(probe.inputs), "ONNX")
    except NotExportableError:
        raise
    except Exception as error:
        # The file lies in a folder that is renamed.
        raise NotExportableError(_reason(error).replace(str(path), path.name)) from error


def _require_close(found: Tensor, expected: Tensor, what: str) -> None:
    if found.shape != expected.shape:
        raise NotExportableError(
            f"the program of {what} returns {list(found.shape)} for {list(expected.shape)}"
        )
    found, expected = found.double(), expected.double()
    if torch.allclose(found, expected, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True):
        return
    furthest = float((found - expected).abs().max())
    raise NotExportableError(f"the program of {what} differs from the model by {furthest:.3g}")


def _reason(error: BaseException) -> str:
    """Returns the first line of an exception that says something."""
    causes: Sequence[BaseException | None] = (error, error.__cause__)
    lines = [line.strip() for one in causes for line in str(one or "").splitlines()]
    line = next((line for line in lines if line), "")
    return f"{type(error).__name__}: {line}".rstrip(": ")


@contextmanager
def _quiet() -> Iterator[None]:
    """Leaves out what PyTorch prints, warns and logs of while it exports."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
