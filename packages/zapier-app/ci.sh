#!/bin/bash
# Validates and builds the integration with Zapier's own tool, and runs every trigger, action and
# search of it in Zapier's own engine against the real Goodword server, on the Node that Zapier runs.
# What ../node.sh says of GOODWORD and GOODWORD_CI_CACHE holds.
set -euo pipefail
cd "$(dirname "$0")"
source ../node.sh
source ../serve.sh

installed zapier-tools test/tools
TOOLS=$INSTALLED/node_modules
installed zapier-app .
ln -sfn "$INSTALLED/node_modules" node_modules
use_node 22
export PATH=$TOOLS/.bin:$PATH ZAPIER_AUTH_LOCATION=/nonexistent

say "validate"
# The checks of style are done by zapier.com, for those who have an account there.
zapier-platform validate --without-style --skip-build

# The limit is one that a test can reach.
serve --rate-limit-per-minute 600

# What is pushed to Zapier is this archive; the tool tries whether everything is in it.
say "build"
cp -rL . "$SCRATCH/app"
(cd "$SCRATCH/app" && zapier-platform build --skip-validation --skip-npm-install)

say "every trigger, action and search against $GOODWORD_URL, on Node $(node --version)"
# Only under this name the engine's own checks are errors.
NODE_ENV=test node --test --test-timeout=120000 --test-force-exit --test-reporter=spec test/app.test.js
say "done"
