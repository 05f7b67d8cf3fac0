#!/bin/sh
# Builds a stand-in for AWS's Lambda Python 3.13 image on a machine that reaches no container registry:
# Debian trixie by debootstrap, the runtime client from PyPI, the emulator from SAM CLI's wheel.
# The client is fetched here, with this machine's own settings of pip: a credential in them gets into no image. The
# functions' own builds ask the same index, without the credential.
# Prints the image's name; the name carries a digest of its parts, so a second run finds it and does nothing.
# Needs root, debootstrap, a Debian host (its mirror and certificate authorities are used) and a running Docker.
#
#   local/base_image/build.sh SAM_ENVIRONMENT      e.g. .venv-sam
set -eu
emulator=$(find "$(realpath "$1")"/lib/python3*/site-packages/samcli/local/rapid -name aws-lambda-rie-x86_64)
here=$(realpath "$(dirname "$0")")
digest=$(cd "$here" && cat build.sh Dockerfile entrypoint.sh requirements.txt "$emulator" | sha256sum | cut -c1-12)
image="lambda-python-3.13:$digest"
if docker image inspect "$image" >/dev/null 2>&1; then
    echo "$image"
    exit 0
fi

authorities=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
mirror=$(apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' \
    | sed -n 's/^Debian //p' | head -n 1)
python="$(realpath "$1")/bin/python"
index=$("$python" -m pip config get global.index-url 2>/dev/null | sed -E 's|^([a-z]+://)[^/]*@|\1|' || true)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{
    rootfs="$work/rootfs"
    debootstrap --variant=minbase --include=python3,python3-pip,ca-certificates trixie "$rootfs" "$mirror"
    rm -rf "$rootfs"/var/cache/apt/* "$rootfs"/var/lib/apt/lists/* "$rootfs"/var/log/* \
        "$rootfs"/usr/share/doc "$rootfs"/usr/share/man "$rootfs"/usr/share/locale \
        "$rootfs"/usr/lib/python3*/EXTERNALLY-MANAGED
    cp "$authorities" "$rootfs/etc/ssl/certs/ca-certificates.crt"
    printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\ndisable-pip-version-check = true\n' \
        >"$rootfs/etc/pip.conf"
    [ -z "$index" ] || echo "index-url = $index" >>"$rootfs/etc/pip.conf"
    ln -s python3 "$rootfs/usr/bin/python"
    tar -C "$rootfs" --one-file-system -c . | docker import - "lambda-python-3.13-rootfs:$digest"
    mkdir "$work/context"
    cp "$here/Dockerfile" "$here/entrypoint.sh" "$here/requirements.txt" "$work/context"
    cp "$emulator" "$work/context/aws-lambda-rie"
    "$python" -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: \
        --implementation cp --python-version 3.13 --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 \
        --dest "$work/context/wheels" --requirement "$here/requirements.txt"
    docker build --build-arg "ROOTFS=lambda-python-3.13-rootfs:$digest" --tag "$image" "$work/context"
    docker image rm "lambda-python-3.13-rootfs:$digest"
} >&2
echo "$image"
