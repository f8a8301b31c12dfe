"""Tensors and automatic differentiation; README.md is a page on the life of an op."""
