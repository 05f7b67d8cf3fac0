"""Training of the profile `pocket`: a small EnCodec, MusicGen Melody and CLAP, from nothing, on our own music.

The music is what `weights.compose` writes and renders, so all that is said of it is true. Four stages follow
each other, and each can be stopped and taken up again::

    codec     audio -> codes -> audio           `codec`, `quantiser`, `spectra`, `codec_stage`
    codes     every piece as codes and chroma   `codes`
    language  text, chroma, codes -> next codes `language`, `language_stage`
    clap      audio, text -> one space          `clap`, `clap_stage`

``python -m weights.train --help`` runs them. Checkpoints are written in the layout that MusicGen and CLAP are
published in (`checkpoint`), so that nothing else has to know where they come from. torch is needed here, and
nowhere else in this package's neighbourhood.
"""
