"""The quickstart in a notebook: each cell as a kernel runs it, without Jupyter itself."""

from __future__ import annotations

import pytest

from tests.promises.blocks import Block
from tests.promises.conftest import Installed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]
# What IPython does with the last expression of a cell.
_CELL = """
import ast, sys
tree = ast.parse(open("cell.py").read())
names = {}
exec(compile(ast.Module(tree.body[:-1], []), "cell", "exec"), names)
print(eval(compile(ast.Expression(tree.body[-1].value), "cell", "eval"), names)._repr_html_())
"""


@pytest.mark.shows("docs/quickstart.md#In a notebook")
def test_a_cell_shows_a_study(installed: Installed, block: Block) -> None:
    installed.hpo("run", "digits-mlp", "--trials", "4", "-j", "1")
    installed.write("cell.py", block.text)
    printed = installed.python(_CELL)
    assert printed.startswith("<div")
    assert "digits-mlp" in printed
    assert "best val_accuracy" in printed
    assert "<svg" in printed
