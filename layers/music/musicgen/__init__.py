"""MusicGen (Copet et al. 2023): its networks, each readable from top to bottom, and the loop that runs them.

`t5`, `transformer` and `encodec` are the networks on the CPU engine, `networks` says what is asked of them.
`delay`, `sampling` and `decoding` make codes, `melody` finds what the melody model hears, and `generator`
makes candidates with all of it.
"""
