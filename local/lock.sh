#!/bin/sh
# Writes every requirements.txt: exact versions with hashes, one set of versions for Python 3.11 (a laptop) and
# 3.13 (the images), so that what the tests ran is what deploys. The wanted packages stand in pyproject.toml,
# each lock's extras below; SAM CLI has a lock and an environment of its own because its pins contradict ours.
# Existing pins are kept while they satisfy the wishes: `make lock UPGRADE=1` takes the newest releases.
set -eu
cd "$(dirname "$0")/.."

lock() { # lock FILE ARGUMENT...
    target=$1
    shift
    .venv/bin/uv pip compile --quiet --no-config ${UPGRADE:+--upgrade} \
        --universal --fork-strategy fewest --python-version 3.11 --generate-hashes --no-strip-extras \
        --custom-compile-command "make lock" --output-file "$target" "$@"
    echo "$target: $(grep -c '^[a-z]' "$target") packages"
}

for function in authorizer upload api sweeper dispatch; do
    lock "functions/$function/requirements.txt" --extra backend pyproject.toml
done
lock functions/search/requirements.txt --extra backend --extra arrays pyproject.toml
for function in embed encode; do
    lock "functions/$function/requirements.txt" --extra backend --extra arrays --extra audio pyproject.toml
done
for function in generate endpoint; do
    lock "functions/$function/requirements.txt" --extra backend --extra arrays --extra audio --extra signal pyproject.toml
done
lock functions/endpoint/torch/requirements.txt --extra arrays --extra neural pyproject.toml functions/endpoint/torch/requirements.in
# `tokenizers` asks for the hub's client, which only fetching checkpoints needs.
lock local/requirements.txt --excludes local/hub/requirements.in \
    --extra backend --extra arrays --extra audio --extra signal --extra neural --extra client --extra local \
    pyproject.toml
lock local/hub/requirements.txt local/hub/requirements.in
lock tests/requirements.txt --extra backend --extra arrays --extra audio --extra signal --extra neural --extra client \
    --extra local --extra dev --overrides tests/overrides.txt pyproject.toml local/hub/requirements.in
lock tests/models/requirements.txt --extra arrays --extra audio --extra signal --extra neural \
    pyproject.toml tests/models/requirements.in
# What tinysoundfont declares besides, PyAudio, is for live playing and wants a compiler.
lock layers/weights/compose/requirements.txt --no-deps layers/weights/compose/requirements.in
lock tests/sam/requirements.txt tests/sam/requirements.in
lock tests/clients/requirements.txt tests/clients/requirements.in
lock tests/deployed/requirements.txt tests/deployed/requirements.in
lock local/base_image/requirements.txt local/base_image/requirements.in
lock layers/music/engine/requirements.txt layers/music/engine/requirements.in
lock layers/music/requirements.txt --excludes local/hub/requirements.in --extra neural pyproject.toml
