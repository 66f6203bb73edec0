"""Commands that inspect, measure and compare."""
