"""Conformance suites: pytest classes for implementations of hpo's interfaces, to be subclassed.

They need pytest, which the extra ``testing`` installs.
"""

import pytest

# So that a failing assertion says what it compared, as one of a test module does.
pytest.register_assert_rewrite(
    "hpo.testing.engines", "hpo.testing.engine_samples", "hpo.testing.executors"
)
