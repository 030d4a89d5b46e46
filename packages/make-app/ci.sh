#!/bin/bash
# Lints the Make app, and runs every module, hook and blueprint of it against a real Goodword server.
# What ../node.sh says of GOODWORD and GOODWORD_CI_CACHE holds.
set -euo pipefail
cd "$(dirname "$0")"
source ../node.sh

# Ajv, for Make's own schemas where they are: see test/schemas.test.mjs.
installed make-app .
ln -sfn "$INSTALLED/node_modules" node_modules

say "app/ is what src/ makes of this server's answers and events"
node src/build.mjs --check
say "lint, modules, hooks, blueprints"
# Each file has a server of its own. A test that hangs is a failure.
timeout 300 node --test test/*.test.mjs
say "done"
