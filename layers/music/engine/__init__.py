"""The CPU engine: the networks' operations in C, and the files that their weights are read from.

`ops` runs operations on numpy arrays, `weights` packs matrices for them, `bundle` reads a folder of weights,
`build` compiles `kernels.c`.
"""
