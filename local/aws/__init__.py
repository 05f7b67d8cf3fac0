"""The local AWS: moto's server behind a front that adds what moto leaves out."""
