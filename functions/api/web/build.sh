#!/bin/sh
# Makes the page's one script, and the licences of what is in it, in a folder: build.sh FOLDER.
# The tools and packages are those of package-lock.json, in build/page/node_modules.
set -eu
folder=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../../../build/page"
# esbuild looks for packages beside what imports them.
rm -rf web && mkdir web && cp "$here"/*.js web
node_modules/.bin/esbuild web/main.js --bundle --minify --format=esm --target=es2022 --legal-comments=none \
    --log-level=warning --outfile="$folder/page.js"
for package in htm preact wavesurfer.js; do
    printf '%s\n\n' "$package"
    cat "node_modules/$package/LICENSE"
    printf '\n\n'
done > "$folder/licenses.txt"
