#!/bin/sh
# As in AWS's base image: Lambda itself (and SAM CLI) name a runtime API to serve; without one, serve the emulator's,
# which listens on port 8080 for POST /2015-03-31/functions/function/invocations.
if [ -n "${AWS_LAMBDA_RUNTIME_API:-}" ]; then
    exec python3 -m awslambdaric "$@"
fi
exec /usr/local/bin/aws-lambda-rie python3 -m awslambdaric "$@"
