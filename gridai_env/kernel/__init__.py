"""Compiled functions: a traced graph of tensor operations becomes one C++ function, built once and kept."""
