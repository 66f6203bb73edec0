"""Patterns by groups that hardware makes: banks of a row, slices of a column, blocks of groups, kernels, filters."""
