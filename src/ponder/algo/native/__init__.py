"""Compiled kernels for training in bf16 and fp32: attention, norms, SwiGLU and cross-entropy, forward and backward, and
the matrix products of bf16.

They are built with the package where there is a C++ compiler, and used where the processor has AVX-512 and its bf16
products; elsewhere the same functions run in PyTorch.
"""
