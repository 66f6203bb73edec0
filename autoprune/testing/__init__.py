"""Conformance kits: the tests that every implementation of a contract must pass, ours and other packages'."""
