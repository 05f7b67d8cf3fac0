"""Run by Python at the start of every process of the stack under test, before anything of the backend."""

import os
import sys

# Only in the processes of functions and of the endpoint; what they start, such as the decoder, is left alone.
if any(argument.endswith(("worker.py", "functions.endpoint")) for argument in sys.orig_argv):
    sys.path.append(os.environ["FAULTS_ROOT"])
    from tests.faults import process

    sys.path.remove(os.environ["FAULTS_ROOT"])
    process.install(os.environ)
