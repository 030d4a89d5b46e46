#!/bin/bash
# Asks axe-core, in Chromium, whether everybody can use the pages.
# What ../packages/node.sh says of GOODWORD and GOODWORD_CI_CACHE holds.
set -euo pipefail
cd "$(dirname "$0")"
source ../packages/node.sh

command -v chromium >/dev/null || debian chromium
installed e2e .
ln -sfn "$INSTALLED/node_modules" node_modules
say "every page, light and dark, wide and narrow"
node --test --test-timeout=300000 --test-reporter=spec accessibility.test.mjs
say "done"
