"""Progressions that several styles share."""

from weights.compose.chance import lines

POP_MAJOR = lines("""
    I | V | vi | IV
    vi | IV | I | V
    I | vi | IV | V
    I | IV | vi | V
    IV | V | iii | vi
    I | iii | IV | V
    I | V/1 | vi | IV
    IV | I | V | vi
    Iadd9 | IVadd9 | vi7 | Vsus4 V
    I | ii7 | IV | V
""")
POP_MINOR = lines("""
    i | bVI | bIII | bVII
    i | bVII | bVI | bVII
    i | iv | bVI | V
    bVI | bVII | i | i
    i | v | bVI | bVII
    i | bIII | bVII | iv
    i | bVII | iv | bVI
    i | bVI | iv | V
""")
