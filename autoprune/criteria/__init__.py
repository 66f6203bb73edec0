"""Importance criteria: which units a layer can spare."""
