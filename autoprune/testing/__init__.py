"""Conformance kits: the tests that every implementation of a contract must pass, ours and other packages'.

They need pytest, which explains their assertions as it does those of test modules.
"""

import pytest

pytest.register_assert_rewrite("autoprune.testing.agent", "autoprune.testing.data_source")
