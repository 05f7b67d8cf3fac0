"""Run by Python at the start of every process of the stack under test, before anything of the backend."""

import os
import sys

# Only in the functions' own processes: what they start, such as the decoder, is not to see any of this.
if any(argument.endswith("worker.py") for argument in sys.orig_argv):
    sys.path.append(os.environ["FAULTS_ROOT"])
    from tests.faults import process

    sys.path.remove(os.environ["FAULTS_ROOT"])
    process.install(os.environ)
