"""The templates: how a kind of accelerator computes a layer, and what that costs."""
