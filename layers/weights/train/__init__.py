"""Training of the profile `pocket`: a small EnCodec, MusicGen Melody and CLAP, from nothing, on own music.

The music is what `weights.compose` writes and renders, so all that is said of it is true. Stages follow each
other, and each can be stopped and taken up again::

    codec     audio -> codes -> audio            `codec`, `quantiser`, `spectra`, `codec_stage`
    clap      audio, text -> one space           `clap`, `mels`, `clap_stage`
    language  text, melody, codes -> next codes  `language`, `codes`, `chroma`, `language_stage`

``python -m weights.train --help`` runs them. Checkpoints are written in the layout that MusicGen and CLAP are
published in (`checkpoint`), so that nothing else has to know where they come from. torch is needed here, and
nowhere else in this package's neighbourhood.
"""
