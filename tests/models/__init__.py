"""What needs torch: run with the interpreter of `.venv-models`."""
