"""Sound in and out: decoding, encoding, loudness and mastering.

Arrays of sound are float32 of shape ``(channels, n)`` with a nominal range of -1 to 1; where a function takes
mono it takes ``(n,)`` and says so.
"""


class AudioError(Exception):
    """A fault of the sound itself: trying again cannot help, and the user should be told.

    Parameters
    ----------
    code : str
        Stable and machine readable; one of `CODES`.
    detail : str
        One sentence for the person who sent the file.
    """

    CODES = (
        "not_audio",  # an archive, a picture, a document: by its first bytes
        "undecodable",  # not a supported format, or too damaged to decode
        "no_audio",  # a supported container without a sound track
        "empty_audio",  # no samples at all
        "too_short",
        "too_long",
        "too_many_channels",
        "unsupported_rate",
        "invalid_samples",  # NaN, infinite or absurdly large floating point samples
        "too_complex",  # decoding takes more memory or time than a file is given
    )

    def __init__(self, code: str, detail: str) -> None:
        if code not in self.CODES:
            raise ValueError(f"unknown audio error code {code!r}")
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"
