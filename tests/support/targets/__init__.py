"""Targets by formula, in workers and behind pipes; a machine whose files are made up."""
