"""PyTorch's own test databases, run against dtorch: `python -m tests.conformance --help`."""
