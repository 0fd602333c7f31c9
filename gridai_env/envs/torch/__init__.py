"""The batched world on torch: the same equations on tensors, on one device, without a round trip to the host.

Imported only where a device is given; needs torch (the extra ``rl``).
"""
