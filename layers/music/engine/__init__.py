"""The CPU engine: the networks' operations in C, and the files that their weights are read from.

`ops` runs operations on numpy arrays, `packing` packs matrices for them, `safetensors` is the format of the
files, `memory` allocates what is used at each step, `bundle` opens a folder of weights, `library` finds the
compiled kernels; `build` compiles `kernels.c`.
"""
