"""Places of failures, read from tracebacks as events keep them."""

from __future__ import annotations

import pytest

from hpo.report.trials.failure_places import place_in
from hpo.tracebacks import report_of

HEAD = "Traceback (most recent call last):\n"
OWN = '  File "/home/a/mine.py", line 12, in model\n    nn.Linear(8, width)(x)\n    ^^^^^^\n'
HPO = (
    '  File "/venv/lib/python3.12/site-packages/hpo/train/loop/solo.py", line 9, in step\n    f()\n'
)
CHECKOUT = '  File "/src/hpo/hpo/train/loop/solo.py", line 9, in step\n    f()\n'
TORCH = (
    '  File "/venv/lib/python3.12/site-packages/torch/nn/linear.py", line 1, in forward\n    x\n'
)
STDLIB = '  File "/usr/lib/python3.11/json/decoder.py", line 355, in raw_decode\n    raise\n'


@pytest.mark.parametrize(
    ("message", "exception", "place"),
    [
        (f"{HEAD}{HPO}{OWN}{TORCH}RuntimeError: size\n", "RuntimeError", "mine.py:12 in model"),
        (f"{HEAD}{CHECKOUT}{OWN}{STDLIB}KeyError: 'a'\n", "KeyError", "mine.py:12 in model"),
        (
            f"{HEAD}{OWN}mine.TooWide: 9\n\nDuring handling of the above exception, another "
            f'exception occurred:\n\n{HEAD}  File "b.py", line 3, in <lambda>\nOSError: disk\n',
            "OSError",
            "b.py:3 in <lambda>",
        ),
        (
            f"{HEAD}{OWN}RuntimeError: Error(s) in loading state_dict for Net:\n\tsize mismatch\n",
            "RuntimeError",
            "mine.py:12 in model",
        ),
        (f"{HEAD}{OWN}KeyboardInterrupt\n", "KeyboardInterrupt", "mine.py:12 in model"),
        # The beginning was not read.
        (f"ine 3, in x\n{OWN}{TORCH}ValueError: no\n", "ValueError", "mine.py:12 in model"),
        (f"{HEAD}{HPO}{TORCH}ValueError: no\n", "ValueError", "linear.py:1 in forward"),
        (
            f"{HEAD}{HPO}TypeError: x at hpo/train/loop/solo.py:9 in step; a fault of hpo, not",
            "TypeError",
            "hpo/train/loop/solo.py:9 in step",
        ),
        ("ValueError: no traceback", "ValueError", ""),
        ("exit code 2: Usage: train.py", "", ""),
        ("CUDA: out of memory", "", ""),
        ("", "", ""),
    ],
)
def test_a_traceback_has_its_exception_and_place(message: str, exception: str, place: str) -> None:
    assert place_in(message) == (exception, place)


def test_what_hpo_stores_of_an_exception_is_read() -> None:
    def fails() -> None:
        raise ZeroDivisionError("by zero\nin two lines")

    try:
        fails()
    except ZeroDivisionError as error:
        found = place_in(report_of(error))
    assert found.exception == "ZeroDivisionError"
    assert found.place.startswith("test_failure_places.py:")
    assert found.place.endswith(" in fails")
