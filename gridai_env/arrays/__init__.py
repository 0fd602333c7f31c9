"""Array helpers: the only room that may ask whether an array is of NumPy or of torch."""
