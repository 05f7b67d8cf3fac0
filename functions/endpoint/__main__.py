"""``python -m functions.endpoint serve``: what SageMaker's ``docker run IMAGE serve`` runs."""

from __future__ import annotations

import os
import sys

# Before the AWS clients are made: there is no X-Ray daemon here, and SageMaker names the region once.
os.environ.setdefault("POWERTOOLS_TRACE_DISABLED", "true")
if region := os.environ.get("AWS_REGION"):
    os.environ.setdefault("AWS_DEFAULT_REGION", region)

from functions.endpoint.serve import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
