"""Agents that compute a policy from the decisions' curves, play it, and improve it locally; and evolution."""
