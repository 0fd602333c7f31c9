"""Array helpers: the only package that distinguishes NumPy arrays from torch tensors."""
