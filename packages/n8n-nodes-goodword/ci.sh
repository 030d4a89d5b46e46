#!/bin/bash
# Builds, lints and scans the package, and tests it end to end in the real n8n against the real Goodword server.
#
#     ci.sh           in n8n 2.4.8 on Node 20
#     ci.sh 2.40.7    in the newest one on Node 24
#
# What ../node.sh says of GOODWORD and GOODWORD_CI_CACHE holds; n8n takes 1.3 GB of the cache for each version.
set -euo pipefail
cd "$(dirname "$0")"
source ../node.sh
VERSION=${1:-2.4.8}

installed n8n-tools test/tools
TOOLS=$INSTALLED
ln -sfn "$TOOLS/node_modules" node_modules

say "lint"
node_modules/.bin/n8n-node lint
say "build"
rm -rf dist
node_modules/.bin/n8n-node build >"$CACHE/build.log" || { cat "$CACHE/build.log"; exit 1; }
say "scan"
cp test/tools/scan.mjs "$TOOLS/"
node "$TOOLS/scan.mjs" "$PWD"
say "signatures, templates, fields"
node test/unit.mjs

PACKED=$(mktemp -d)
trap 'rm -rf "$PACKED"' EXIT
npm pack --ignore-scripts --loglevel=error --pack-destination "$PACKED" >/dev/null
export TARBALL
TARBALL=$(ls "$PACKED"/*.tgz)

# sqlite3 is compiled.
debian g++ make python3
use_node "$([ "$VERSION" = 2.4.8 ] && echo 20 || echo 24)"
installed "n8n-$VERSION" "test/n8n-$VERSION" "npm rebuild --loglevel=error sqlite3"
say "end to end in n8n $VERSION on Node $(node --version)"
N8N=$INSTALLED/node_modules/n8n/bin/n8n node test/e2e.mjs
say "done"
