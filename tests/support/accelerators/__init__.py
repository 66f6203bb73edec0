"""What tests of accelerators share: a machine that is run one cycle at a time, and small layers."""
