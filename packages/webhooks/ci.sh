#!/bin/bash
# Runs every receiver that ../../docs/webhooks.md shows, and sends it what the real server signs, and forgeries.
# What ../node.sh says of GOODWORD and GOODWORD_CI_CACHE holds.
set -euo pipefail
cd "$(dirname "$0")"
source ../node.sh
source ../serve.sh

debian php-cli ruby ruby-sinatra ruby-webrick golang-go
installed webhooks .
ln -sfn "$INSTALLED/node_modules" node_modules
python_venv webhooks requirements.txt
export PATH=$VENV/bin:$PATH

serve
export SCRATCH
say "JavaScript, Python, PHP, Ruby, Go"
node --test --test-timeout=120000 --test-reporter=spec guide.test.mjs
say "done"
