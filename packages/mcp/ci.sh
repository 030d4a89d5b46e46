#!/bin/bash
# Tests the server's MCP with the official client library, over HTTP and by `goodword mcp`.
# What ../node.sh says of GOODWORD and GOODWORD_CI_CACHE holds.
set -euo pipefail
cd "$(dirname "$0")"
source ../node.sh

installed mcp-client .
ln -sfn "$INSTALLED/node_modules" node_modules
say "with the official client on Node $(node --version)"
node --test --test-reporter=spec mcp.test.mjs
