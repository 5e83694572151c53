"""Compiled kernels for training in bf16 and fp32: attention, norms, SwiGLU, the head's losses and the matrix products,
forward and backward.

They are built with the package where there is a C++ compiler, and used where the processor has AVX-512 and its bf16
products; elsewhere the same functions run in PyTorch.
"""
